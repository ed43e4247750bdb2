package dashboards_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weirdev/weir/proof/dashboards"
)

var (
	sqlBlock   = regexp.MustCompile("(?s)```sql\n(.*?)```")
	sqlCommand = regexp.MustCompile(`weir query [^\n]*?(?:'(SELECT[^']*)'|"(SELECT[^"]*)")`)
)

// lacking lists pages whose query finds nothing here, and why.
func lacking() map[string]string {
	return map[string]string{"docs/runbooks/WeirDriftFound.md": "drift shows after days"}
}

// runDocumentation runs every query of every page. The pages look for the address
// 203.0.113.9, which is an attacker's here.
func runDocumentation(t *testing.T, w *world) {
	pages, queries := []string{"README.md", "DESIGN.md"}, 0
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, f fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			pages = append(pages, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, m := range sqlBlock.FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1])
		}
		for _, m := range sqlCommand.FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1]+m[2])
		}
		for _, q := range all {
			queries++
			n, err := dashboards.Count(t.Context(), w.runner.ClickHouse, q)
			if lack := lacking()[page]; err != nil || (n == 0) != (lack != "") {
				t.Errorf("%s: %d rows (%v) of\n%s", page, n, err, q)
			}
		}
	}
	if queries < 10 {
		t.Errorf("the pages have %d queries", queries)
	}
}
