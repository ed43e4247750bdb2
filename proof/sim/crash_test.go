package sim

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/rules"
)

var (
	crashAt = flag.String("sim.crash", "", "with TestEverySingleCrash and TestPairsOfCrashes: crash at these effects alone, such as 17,40; after a minus: behind them")
	pairs   = flag.Int("sim.pairs", 200, "how many pairs of crashes to run; 0: every pair")
)

// crashes runs a plan with crashes at some effects. Its outcome must be that of the
// plan without crashes.
type crashes struct {
	sets []*rules.Set
	plan Plan
	calm Outcome
}

func newCrashes(t *testing.T, events, epochs int) *crashes {
	c := &crashes{sets: loadRules(t), plan: Crashes(events)}
	c.plan.Epochs = epochs
	c.calm = run(t, c.plan, c.sets)
	report(t, c.calm, "-run "+t.Name())
	return c
}

func (c *crashes) run(t *testing.T, after bool, at ...int) Outcome {
	t.Helper()
	plan := c.plan
	plan.CrashAt, plan.CrashAfter = at, after
	o := run(t, plan, c.sets)
	if o.Counts["crash"] == 0 {
		o.Problems = append(o.Problems, "there was no crash")
	}
	if !slices.Equal(o.Signals, c.calm.Signals) || !slices.Equal(o.Scores, c.calm.Scores) {
		o.Problems = append(o.Problems, "signals or scores are not those without the crash")
	}
	again := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(at)), ","), "[]")
	if after {
		again = "-" + again
	}
	report(t, o, fmt.Sprintf("-run %s -sim.crash=%s", t.Name(), again))
	return o
}

// one performs the run requested with -sim.crash, if any.
func (c *crashes) one(t *testing.T) bool {
	list, after := strings.CutPrefix(*crashAt, "-")
	if list == "" {
		return false
	}
	var at []int
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, n)
	}
	c.run(t, after, at...)
	return true
}

// TestEverySingleCrash kills a worker before and after each single effect of a
// history of 200 events. There are no other faults.
func TestEverySingleCrash(t *testing.T) {
	c, started := newCrashes(t, 200, 1), time.Now()
	if c.calm.Effects < 100 || c.calm.Counts["signal"] < 20 {
		t.Fatalf("only %d effects and %d signals", c.calm.Effects, c.calm.Counts["signal"])
	}
	if c.one(t) {
		return
	}
	step := stride()
	for at := 1; at <= c.calm.Effects && !t.Failed(); at += step {
		c.run(t, false, at)
		c.run(t, true, at)
	}
	t.Logf("%d effects, %d runs in %v", c.calm.Effects, 2*((c.calm.Effects+step-1)/step), time.Since(started).Round(time.Millisecond))
}

// TestCrashesAmidChangesOfEpoch kills a worker before and after each single effect,
// with successors that have other rules or data.
func TestCrashesAmidChangesOfEpoch(t *testing.T) {
	c, started := newCrashes(t, 80, epochsAll), time.Now()
	if c.one(t) {
		return
	}
	step := stride()
	changes, loads := 0, 0
	for at := 1; at <= c.calm.Effects && !t.Failed(); at += step {
		for _, after := range []bool{false, true} {
			o := c.run(t, after, at)
			changes += o.Counts["epoch change"]
			loads += o.Counts["epoch loaded"]
		}
	}
	if changes < c.calm.Effects/step/2 || loads < c.calm.Effects/step/8 {
		t.Errorf("only %d changes of epoch, %d of them after what was read under the old one was read again", changes, loads)
	}
	t.Logf("%d effects, %d changes of epoch, %d epochs loaded, in %v", c.calm.Effects, changes, loads, time.Since(started).Round(time.Millisecond))
}

// TestPairsOfCrashes kills a worker at two effects of a history of 40 events. The
// second crash hits the worker that is active by then, often during a recovery.
func TestPairsOfCrashes(t *testing.T) {
	c, started := newCrashes(t, 40, 1), time.Now()
	if c.one(t) {
		return
	}
	var all [][2]int
	for a := 1; a <= c.calm.Effects; a++ {
		for b := a + 1; b <= c.calm.Effects; b++ {
			all = append(all, [2]int{a, b})
		}
	}
	if *pairs > 0 {
		r := rand.New(rand.NewPCG(1, 4))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:min(share(*pairs), len(all))]
	}
	for i, p := range all {
		if c.run(t, i%2 == 0, p[0], p[1]); t.Failed() {
			return
		}
	}
	t.Logf("%d effects, %d runs in %v", c.calm.Effects, len(all), time.Since(started).Round(time.Millisecond))
}
