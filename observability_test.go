package weir_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestAlertsAndDashboardsNameMetricsThatExist: a panel or an alert on a name that
// nobody exports is never wrong, and never right.
func TestAlertsAndDashboardsNameMetricsThatExist(t *testing.T) {
	exported := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(weir_[a-z_]+)` \\|").FindAllStringSubmatch(read(t, "docs/metrics.md"), -1) {
		exported[m[1]] = true
	}
	used := 0
	name := regexp.MustCompile(`\bweir_[a-z_]+\b`)
	for _, dir := range []string{"deploy", "dashboards", "docs/runbooks"} {
		each(t, dir, "", func(path, text string) {
			for _, m := range name.FindAllString(text, -1) {
				if slices.Contains([]string{"weir_migrator", "weir_writer", "weir_reader", "weir_readers", "weir_analyst", "weir_eraser"}, m) {
					continue // users of ClickHouse
				}
				used++
				base := m
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					base = strings.TrimSuffix(base, suffix)
				}
				if !exported[m] && !exported[base] {
					t.Errorf("%s: no metric is called %s", path, m)
				}
			}
		})
	}
	if used < 20 || len(exported) < 20 {
		t.Errorf("only %d uses of %d metrics were found", used, len(exported))
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

// TestEveryServerSaysWhereItLogs: without ErrorLog, net/http writes raw lines to
// standard error, amid JSON.
func TestEveryServerSaysWhereItLogs(t *testing.T) {
	servers := 0
	each(t, ".", ".go", func(path, text string) {
		if strings.HasSuffix(path, "_test.go") || !strings.Contains(text, "http.Server{") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if of, ok := literal.Type.(*ast.SelectorExpr); !ok || of.Sel.Name != "Server" {
				return true
			}
			servers++
			if !slices.ContainsFunc(literal.Elts, func(e ast.Expr) bool {
				pair, ok := e.(*ast.KeyValueExpr)
				return ok && pair.Key.(*ast.Ident).Name == "ErrorLog"
			}) {
				t.Errorf("%s: a server without ErrorLog; telemetry.ErrorLog makes one", path)
			}
			return true
		})
	})
	if servers < 3 {
		t.Errorf("only %d servers were found", servers)
	}
}
