package decision

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func version() RuleVersion {
	return RuleVersion{Record: Version, Time: 1763892000123, Kind: Policies, Version: "0011223344556677", Program: "weir-gate", Instance: "gw-3/17", Who: "weir", Source: "/etc/weir/policy.yaml", Count: 3, Text: "policies: []\n"}
}

func TestAVersionOfRulesGoesThereAndBack(t *testing.T) {
	long := version()
	long.Text = strings.Repeat("é\x00", MaxRulesText) // every byte of it is escaped, or cut within a letter
	for _, r := range []RuleVersion{version(), long} {
		b, err := r.Encode()
		if err != nil || len(b) > MaxBytes {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		got, err := ParseRuleVersion(b)
		if err != nil || !strings.HasPrefix(r.Text, got.Text) || len(got.Text) < min(len(r.Text), MaxRulesText-4) {
			t.Fatalf("%d bytes of text, %v", len(got.Text), err)
		}
		if got.Text = r.Text; got != r {
			t.Errorf("%+v\nis not\n%+v", got, r)
		}
	}
}

// FuzzParseRuleVersion: the bytes are a stranger's. What is accepted is within the
// limits, and is the same when it is written and read again.
func FuzzParseRuleVersion(f *testing.F) {
	b, err := version().Encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(b), `{"v":1,"kind":"rules","version":"a","program":"p","text":"\ud800"}`, `{"v":1e0}`, "null", "[", `{"v":1,"count":1e400}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRuleVersion(b)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("an error that cannot be printed: %q", err)
			}
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRuleVersion(again); err != nil || got != r {
			t.Fatalf("%+v is read as %+v, %v", r, got, err)
		}
	})
}
