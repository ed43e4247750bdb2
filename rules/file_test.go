package rules_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

// TestADirectoryThatIsNoneOfRulesIsRefused: too many files, too many bytes, or too much of
// everything. The same holds for bundles, whose files may be a thousand times as long.
func TestADirectoryThatIsNoneOfRulesIsRefused(t *testing.T) {
	comment := bytes.Repeat([]byte("# nothing\n"), 25<<10)
	many := func(n int, ending string, data []byte) fs.FS {
		files := fstest.MapFS{"a.yaml": {Data: []byte(small("a"))}}
		for i := range n {
			files[fmt.Sprintf("b/%d%s", i, ending)] = &fstest.MapFile{Data: data}
		}
		return files
	}
	for _, tc := range []struct {
		name  string
		files fs.FS
		want  string
	}{
		{"files", many(4000, ".yaml", []byte("tests: []")), "more than 4000 YAML files"},
		{"bytes", many(132, ".yaml", comment), "more than 32 MiB in YAML files"},
		{"other files", many(100_000, "", nil), "more than 100000 files and folders"},
	} {
		for what, read := range map[string]func() error{
			"load":    func() error { _, err := rules.Load(tc.files, testrules.Kinds()); return err },
			"content": func() error { _, err := rules.Content(tc.files); return err },
		} {
			if err := read(); !errors.Is(err, rules.ErrTooMuch) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "name the directory of the rules alone") {
				t.Errorf("%s, %s: %v", tc.name, what, err)
			}
		}
	}
	if _, err := rules.Content(many(1000, ".md", nil)); err != nil {
		t.Error(err)
	}
}
