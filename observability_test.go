package weir_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestAlertsAndDashboardsNameMetricsThatExist: a panel or an alert on a name that
// nobody exports is never wrong, and never right.
func TestAlertsAndDashboardsNameMetricsThatExist(t *testing.T) {
	declared := map[string]bool{}
	declaration := regexp.MustCompile(`"(weir_[a-z_]+)"`)
	each(t, ".", ".go", func(_ string, text string) {
		for _, m := range declaration.FindAllStringSubmatch(text, -1) {
			declared[m[1]] = true
		}
	})
	used := 0
	name := regexp.MustCompile(`\bweir_[a-z_]+\b`)
	for _, dir := range []string{"deploy", "dashboards"} {
		each(t, dir, "", func(path, text string) {
			for _, m := range name.FindAllString(text, -1) {
				used++
				base := m
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					base = strings.TrimSuffix(base, suffix)
				}
				if !declared[m] && !declared[base] {
					t.Errorf("%s: no metric is called %s", path, m)
				}
			}
		})
	}
	if used < 20 || len(declared) < 20 {
		t.Errorf("only %d uses of %d metrics were found", used, len(declared))
	}
}

func each(t *testing.T, dir, ending string, yield func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ending) {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			yield(path, string(b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
