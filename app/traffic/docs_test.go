package traffic

import (
	"os"
	"strings"
	"testing"

	"github.com/weirdev/weir/internal/facet"
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

// TestThePageListsEveryKindOfEntity, with a key that a truth may have.
func TestThePageListsEveryKindOfEntity(t *testing.T) {
	page, err := os.ReadFile("../../docs/evaluation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "These are all kinds")
	for _, k := range facet.Kinds() {
		_, row, found := strings.Cut(table, "\n| `"+k.String()+"` | ")
		row, _, _ = strings.Cut(row, "\n")
		examples := strings.Split(row, "`"+k.String()+":")[1:]
		if !found || len(examples) == 0 {
			t.Errorf("the page has no row with an example of kind %s", k)
		}
		for _, example := range examples {
			key, _, _ := strings.Cut(example, "`")
			if _, normal, err := readEntity(k.String() + ":" + strings.ReplaceAll(key, `\|`, "|")); err != nil || normal != strings.ReplaceAll(key, `\|`, "|") {
				t.Errorf("%s:%s: %v, read as %s", k, key, err, normal)
			}
		}
	}
}
