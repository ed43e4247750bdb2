package ingest

import (
	"strings"
	"testing"
	"time"
)

func TestWhatDelayedEventsMayBe(t *testing.T) {
	for _, c := range []struct {
		name    string
		delayed string
		maxLate time.Duration
		want    string
	}{
		{"late, after ten minutes", "late", 10 * time.Minute, ""},
		{"of their arrival", "arrival", 10 * time.Minute, ""},
		{"late at once, so that nothing would count", "late", time.Second, "ingest.max_late: 1s is outside 1m0s"},
		{"everything as of its arrival", "arrival", 0, ""},
		{"something else", "now", 10 * time.Minute, `ingest.delayed: "now" is neither late nor arrival`},
		{"nothing", "", 10 * time.Minute, `ingest.delayed: "" is neither`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Defaults()
			cfg.Delayed, cfg.MaxLate = c.delayed, c.maxLate
			err := cfg.Validate()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
