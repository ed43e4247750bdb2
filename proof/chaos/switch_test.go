package chaos

import (
	"os"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/rules"
)

// TestTheRulesOfARunAreMade: what a run changes in the built-in rules is still there.
func TestTheRulesOfARunAreMade(t *testing.T) {
	base, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	files, err := hasty.of(base)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(os.DirFS(dir), detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newRulesets(set); err != nil {
		t.Fatal(err)
	}
}
