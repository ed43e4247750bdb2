package sim

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"
)

var crashAt = flag.Int("sim.crash", 0, "with TestEverySingleCrash: crash at this effect alone; negative: behind it")

// TestEverySingleCrash kills a worker before and after each single effect of a
// history of 200 events. Nothing else goes wrong.
func TestEverySingleCrash(t *testing.T) {
	set, plan, started := loadRules(t), SingleCrash(), time.Now()
	calm := run(t, plan, set)
	report(t, calm, "-run TestEverySingleCrash")
	if calm.Effects < 100 || calm.Counts["signal"] < 20 {
		t.Fatalf("only %d effects and %d signals", calm.Effects, calm.Counts["signal"])
	}
	crash := func(at int, after bool) {
		plan.CrashAt, plan.CrashAfter = at, after
		o := run(t, plan, set)
		if o.Counts["crash"] != 1 {
			o.Problems = append(o.Problems, fmt.Sprintf("%d crashes", o.Counts["crash"]))
		}
		if !slices.Equal(o.Signals, calm.Signals) || !slices.Equal(o.Scores, calm.Scores) {
			o.Problems = append(o.Problems, "signals or scores are not those without the crash")
		}
		if after {
			at = -at
		}
		report(t, o, fmt.Sprintf("-run TestEverySingleCrash -sim.crash=%d", at))
	}
	if at := *crashAt; at != 0 {
		crash(max(at, -at), at < 0)
		return
	}
	for at := 1; at <= calm.Effects && !t.Failed(); at++ {
		crash(at, false)
		crash(at, true)
	}
	t.Logf("%d effects, %d runs in %v", calm.Effects, 2*calm.Effects, time.Since(started).Round(time.Millisecond))
}
