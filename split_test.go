package weir_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What tests take from proof/testkit: what a short run (make test) leaves to make
// proof, and what costs next to nothing.
var (
	leftToProof = []string{"Long", "ChDB", "Kafka", "StartKafka", "Redis", "StartRedis", "StartSentinel", "StartPrometheus", "Web", "ClickHouseClients", "Registries", "OpenTab"}
	cheap       = []string{"NewAuthority", "NewDisk", "Offline", "OfPartitions", "Programs", "ReadPage", "Tool", "FetchedTool", "Kustomize"}
)

// TestWhatAShortRunLeavesOutIsProven: a package with a test that make test leaves
// out, or cuts short, is one that make proof runs; and one that shares memory
// between goroutines is watched by the race detector.
func TestWhatAShortRunLeavesOutIsProven(t *testing.T) {
	var proof, race []string
	files := token.NewFileSet()
	each(t, ".", ".go", func(path, text string) {
		file, err := parser.ParseFile(files, path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		if pkg != "." && pkg != "proof/mutants" && strings.HasSuffix(path, "_test.go") && leavesOut(file, pkg) {
			proof = append(proof, pkg)
		}
		if pkg != "." && sharesMemory(file) {
			race = append(race, pkg)
		}
	})
	for name, want := range map[string][]string{"PROOF": proof, "RACE": race} {
		slices.Sort(want)
		want = slices.Compact(want)
		if got := inMakefile(t, name); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("Makefile: %s names, in any order,\n%s\nnot %s", name, strings.Join(want, " "), strings.Join(got, " "))
		}
		if len(want) < 10 {
			t.Errorf("only %d packages of %s were found", len(want), name)
		}
	}
}

// leavesOut reports whether tests of the file ask if a run is short, by themselves or
// through testkit or mutants.
func leavesOut(file *ast.File, pkg string) (yes bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			from, ok := n.X.(*ast.Ident)
			yes = yes || ok && (from.Name == "testing" && n.Sel.Name == "Short" || from.Name == "mutants" && n.Sel.Name == "Suite" ||
				from.Name == "testkit" && slices.Contains(leftToProof, n.Sel.Name))
		case *ast.CallExpr:
			called, ok := n.Fun.(*ast.Ident)
			yes = yes || ok && pkg == "proof/testkit" && slices.Contains(leftToProof, called.Name)
		}
		return true
	})
	return yes
}

// sharesMemory reports whether the file starts goroutines or synchronizes them.
func sharesMemory(file *ast.File) (yes bool) {
	for _, i := range file.Imports {
		yes = yes || slices.Contains([]string{`"sync"`, `"sync/atomic"`, `"golang.org/x/sync/errgroup"`}, i.Path.Value)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		_, starts := n.(*ast.GoStmt)
		yes = yes || starts
		return true
	})
	return yes
}

// inMakefile is a list of packages in the Makefile.
func inMakefile(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^` + name + ` *:= (.*)$`).FindStringSubmatch(strings.ReplaceAll(string(text), "\\\n", " "))
	if line == nil {
		t.Fatalf("the Makefile has no %s", name)
	}
	return strings.Fields(line[1])
}

// TestEveryHelperIsLongOrCheap keeps the lists above whole.
func TestEveryHelperIsLongOrCheap(t *testing.T) {
	seen := map[string]bool{}
	each(t, "proof/testkit", ".go", func(path, text string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !f.Name.IsExported() {
				continue
			}
			seen[f.Name.Name] = true
			if slices.Contains(leftToProof, f.Name.Name) == slices.Contains(cheap, f.Name.Name) {
				t.Errorf("%s: %s is in both lists or in neither", path, f.Name.Name)
			}
		}
	})
	for _, name := range slices.Concat(leftToProof, cheap) {
		if !seen[name] {
			t.Errorf("testkit has no %s", name)
		}
	}
}
