package weir_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryDirectDependencyHasItsReason: docs/libraries.md names each one.
func TestEveryDirectDependencyHasItsReason(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/libraries.md")
	if err != nil {
		t.Fatal(err)
	}
	direct := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(string(mod), -1)
	if len(direct) < 20 {
		t.Fatalf("only %d dependencies were found", len(direct))
	}
	version, named := regexp.MustCompile(`/v[0-9]+$`), regexp.MustCompile("`([a-zA-Z0-9_./-]+)`").FindAllStringSubmatch(string(page), -1)
	for _, d := range direct {
		path := strings.TrimPrefix(version.ReplaceAllString(d[1], ""), "github.com/")
		said := slices.ContainsFunc(named, func(n []string) bool {
			return n[1] == path || strings.HasPrefix(path, n[1]+"/service/") || strings.HasSuffix(path, "/"+n[1])
		})
		if !said {
			t.Errorf("docs/libraries.md does not say why %s is there", d[1])
		}
	}
}
