package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/proof/testkit"
)

// The table has a line for no rules, for each detector, and for all of them.
func TestCostsOfEachDetector(t *testing.T) {
	if testkit.Raced {
		t.Skip("it shares nothing between goroutines")
	}
	c := costTraffic()
	c.Duration = 5 * time.Minute
	var out bytes.Buffer
	if err := costs(t.Context(), &out, c); err != nil {
		t.Fatal(err)
	}
	set, err := builtInRules()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(detectorsOf(set), "none", "all") {
		if !strings.Contains(out.String(), "\n"+name) {
			t.Errorf("no line for %s in\n%s", name, out.String())
		}
	}
}
