package detectors_test

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// Each measure, written in a rule file, through the engine.
func TestRulesOfEveryForm(t *testing.T) {
	set, err := rules.Load(os.DirFS("testdata"), detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	results, err := dryrun.RunTests(set, set.Cases())
	if err != nil {
		t.Fatal(err)
	}
	if len(results) < 2*len(set.Rules) {
		t.Errorf("%d tests of %d rules", len(results), len(set.Rules))
	}
	for _, r := range results {
		for _, p := range r.Problems {
			t.Errorf("%s, %s: %s", r.Test.Rule, r.Test.Name, p)
		}
	}
}

var update = flag.Bool("update", false, "rewrite testdata/*_errors.txt with what is said now")

// Errors in a rule file about a window are reported with a remedy. The files contain
// rules and, after a mark, the expected messages.
func TestWhatIsWrongInARuleIsShown(t *testing.T) {
	const name, mark = "testdata/sliding_window_errors.txt", "-- errors --\n"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	bad, want, _ := strings.Cut(string(text), mark)
	_, err = rules.Load(fstest.MapFS{"rules.yaml": {Data: []byte(bad)}}, []rules.Kind{detectors.SlidingWindowKind()})
	var problems *rules.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("error is %v", err)
	}
	for _, p := range problems.List {
		if p.What == "" || p.Do == "" {
			t.Errorf("%+v lacks something", p)
		}
	}
	got := err.Error() + "\n"
	if *update {
		if err := os.WriteFile(name, []byte(bad+mark+got), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != want {
		t.Errorf("differs from %s (go test -update rewrites it):\n%s", name, got)
	}
}

func TestALoadedWindowHoldsWhatTheFileSays(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(`rules:
  - id: a
    title: x
    entity: account
    when: auth == "failure"
    sliding_window: {window: 10m, count: status == 401, distinct: object, min_share: 50, tiers: [{at: 5, weight: 50}]}
    signal: {category: bot, reason: x, half_life: 1h}
    phase: soft
`)}}, detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	w := set.Rules[0].Spec.(*detectors.SlidingWindow)
	if w.Window != 10*time.Minute || w.Cooldown != w.Window || w.Distinct != event.Object || w.MinShare != 50 || len(w.Tiers) != 1 || w.Tiers[0] != (detectors.Tier{At: 5, Weight: 50}) {
		t.Errorf("window %+v", w)
	}
	e := new(event.Event)
	e.SetNum(event.Status, 401)
	if !w.Counted.Holds(e) {
		t.Error("the condition does not hold of a status of 401")
	}
}
