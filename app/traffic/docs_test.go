package traffic

import (
	"os"
	"strings"
	"testing"
)

// TestThePageHasEveryKind: docs/evaluation.md has the description of each kind.
func TestThePageHasEveryKind(t *testing.T) {
	page, err := os.ReadFile("../../docs/evaluation.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds() {
		if row := "| `" + k.name + "` | " + k.doc + " |"; !strings.Contains(string(page), row) {
			t.Errorf("docs/evaluation.md does not have the line %s", row)
		}
	}
}
