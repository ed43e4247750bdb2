package event

import "testing"

func TestEveryReasonIsExplained(t *testing.T) {
	for _, r := range Reasons() {
		if r.String() == "" || r.Explain() == "" {
			t.Errorf("reason %d is %q: %q", r, r, r.Explain())
		}
	}
}
