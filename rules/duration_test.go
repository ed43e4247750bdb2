package rules

import (
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
	}{
		{"0s", 0}, {"10m", 10 * time.Minute}, {"1h30m", 90 * time.Minute}, {"31d", 31 * 24 * time.Hour}, {"1500ms", 1500 * time.Millisecond},
	} {
		got, err := parseDuration(c.text)
		if err != nil || got != c.want {
			t.Errorf("%s is %s, %v", c.text, got, err)
		}
		if again, err := parseDuration(formatDuration(got)); err != nil || again != got {
			t.Errorf("%s is written as %s, which is %s, %v", c.text, formatDuration(got), again, err)
		}
	}
	for _, bad := range []string{"", "10", "m", "1.5h", "-1s", "10 m", "1w", "401d", "400d1ms", "99999999999999999999s", "1h 2m"} {
		if d, err := parseDuration(bad); err == nil {
			t.Errorf("%q is read as %s", bad, d)
		}
	}
}
