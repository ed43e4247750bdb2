package main

import (
	"strings"
	"testing"
	"time"
)

// TestAReasonThatNoDeadLetterHasIsRefused, with those that there are.
func TestAReasonThatNoDeadLetterHasIsRefused(t *testing.T) {
	for _, reasons := range [][]string{nil, {"syntax", "bad_time"}, {"unreadable", "control", "decoder_failed", "other", "notice"}} {
		if f, err := (&deadFlags{reasons: reasons}).filter(time.Now()); err != nil || len(f.Reasons) != len(reasons) {
			t.Errorf("%v: %v, %v", reasons, f.Reasons, err)
		}
	}
	for _, wrong := range []string{"nosuch", "filtered", ""} {
		_, err := (&deadFlags{reasons: []string{"syntax", wrong}}).filter(time.Now())
		if err == nil || !strings.Contains(err.Error(), `has the reason "`+wrong+`"; there are bad_address, bad_escape, bad_time,`) || !strings.Contains(err.Error(), "notice, other,") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
