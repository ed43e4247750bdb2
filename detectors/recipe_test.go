package detectors_test

import (
	"os"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/rules"
)

// TestEveryDetectorIsWhole checks that each detector has code, test, model, page and
// rules, as CONTRIBUTING.md requires.
func TestEveryDetectorIsWhole(t *testing.T) {
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, r := range set.Rules {
		used[r.Detector] = true
	}
	for _, k := range detectors.All() {
		for _, file := range []string{k.Name + ".go", k.Name + "_test.go", "../proof/oracle/" + k.Name + ".go", "../docs/detectors/" + k.Name + ".md"} {
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", k.Name, err)
			}
		}
		if !used[k.Name] {
			t.Errorf("no built-in rule uses %s", k.Name)
		}
	}
	bugs, err := os.ReadFile("../proof/oracle/controls_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range detectors.All() {
		if n := strings.Count(string(bugs), "detectors/"+k.Name+".go"); n == 0 {
			t.Errorf("%s: no bug of it stands in the controls", k.Name)
		}
	}
}
