package edited

import (
	"errors"
	"testing"
)

// TestLook: each look reads one content, or an error (""), and returns what is given
// beside it ("-": an error, "": nothing new).
func TestLook(t *testing.T) {
	now := ""
	f := New([]byte("a"), func() ([]byte, error) {
		if now == "" {
			return nil, errors.New("gone")
		}
		return []byte(now), nil
	})
	for i, step := range []struct{ is, want string }{
		{"a", ""},
		{"ab", ""}, {"abc", ""}, {"abc", "abc"}, {"abc", ""}, // half of it is not used, and all of it once
		{"a", ""}, {"abc", ""}, {"abc", ""}, // back before it counted
		{"", "-"}, {"", "-"}, {"abc", ""}, {"abc", "abc"}, // back after an error
	} {
		now = step.is
		content, changed, err := f.Look()
		got := string(content)
		if err != nil {
			got = "-"
		}
		if got != step.want || changed != (err == nil && step.want != "") {
			t.Errorf("look %d at %q: %q, %v, %v; want %q", i, step.is, content, changed, err, step.want)
		}
	}
}
