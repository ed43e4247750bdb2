package detectors_test

import (
	"os"
	"testing"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/rules"
)

// Each way to measure, as a rule file has it, through the engine.
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
