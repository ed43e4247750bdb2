package dashboards

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the JSON files")

// TestDashboardsUpToDate compares the files with the Go values that they are made of.
func TestDashboardsUpToDate(t *testing.T) {
	texts, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, text := range texts {
		names = append(names, name)
		if *update {
			if err := os.WriteFile(name, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s is not what the code says (%v); make generate rewrites it", name, err)
		}
	}
	slices.Sort(names)
	if have, err := filepath.Glob("*.json"); err != nil || !slices.Equal(have, names) {
		t.Errorf("there are the files %v (%v), and dashboards %v", have, err, names)
	}
}
