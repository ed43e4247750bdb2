package engine_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What must be a function of the facet log; where no files are named, all of the
// package but for those that are named as no part of it.
var pure = []struct {
	pkg    string
	files  []string
	except []string
}{
	{"engine", []string{"partition.go", "loopback.go", "entity.go", "ledger.go", "trace.go", "lane.go", "switch.go", "timers.go", "cohorts.go", "control.go"}, nil},
	{"detectors", nil, nil},
	{"internal/state", nil, nil},
	{"internal/sketch", nil, nil},
	{"internal/facet", nil, nil},
	{"internal/greatcircle", nil, nil},
	// The code that proves a value in Redis comes behind everything that follows from
	// the log.
	{"score", nil, []string{"mac.go"}},
}

// refusedImports are packages that bring in the world outside, or chance.
// sync/atomic is none of them: with it the table of entities counts who still
// reads a frozen view, which decides where bytes are written, never what.
var refusedImports = []string{"math/rand", "math/rand/v2", "crypto/rand", "os", "net", "context", "sync", "runtime", "hash/maphash", "log/slog"}

// refusedTime is what package time has of clocks and zones; durations are only
// numbers.
var refusedTime = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep", "Local", "LoadLocation"}

func TestWhatFollowsFromTheLogReadsNothingElse(t *testing.T) {
	packages := listPure(t)
	checked := 0
	for _, p := range pure {
		l, ok := packages["github.com/weirdev/weir/"+p.pkg]
		if !ok {
			t.Fatalf("no package %s", p.pkg)
		}
		fset := token.NewFileSet()
		files := parse(t, fset, l)
		info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
		conf := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(packages[path].Export) })}
		if _, err := conf.Check(l.ImportPath, fset, files, info); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			name := filepath.Base(fset.Position(f.Pos()).Filename)
			if p.files != nil && !slices.Contains(p.files, name) || slices.Contains(p.except, name) {
				continue
			}
			checked++
			for _, v := range impurities(f, info) {
				t.Errorf("%s: %s", fset.Position(v.pos), v.what)
			}
		}
	}
	if checked < 15 {
		t.Errorf("only %d files were checked", checked)
	}
}

type listedPackage struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// listPure lists the pure packages and all that they import, compiled.
func listPure(t *testing.T) map[string]listedPackage {
	t.Helper()
	args := []string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles"}
	for _, p := range pure {
		args = append(args, "github.com/weirdev/weir/"+p.pkg)
	}
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := map[string]listedPackage{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

func parse(t *testing.T, fset *token.FileSet, p listedPackage) (files []*ast.File) {
	t.Helper()
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// impurity is something that may differ from one run to the next.
type impurity struct {
	pos  token.Pos
	what string
}

func impurities(f *ast.File, info *types.Info) (all []impurity) {
	for _, i := range f.Imports {
		if path := strings.Trim(i.Path.Value, `"`); slices.Contains(refusedImports, path) {
			all = append(all, impurity{i.Pos(), "import of " + path})
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt, *ast.SelectStmt:
			all = append(all, impurity{n.Pos(), "concurrency"})
		case *ast.RangeStmt:
			if isMap(info.TypeOf(n.X)) {
				all = append(all, impurity{n.Pos(), "range over a map"})
			}
		case *ast.SelectorExpr:
			if what := outside(info.Uses[n.Sel]); what != "" {
				all = append(all, impurity{n.Pos(), what})
			}
		}
		if x, ok := n.(ast.Expr); ok && isFloat(info.Types[x]) {
			all = append(all, impurity{n.Pos(), "floating point"})
		}
		return true
	})
	return all
}

// outside names what an object of another package looks at; "" if nothing.
func outside(o types.Object) string {
	if o == nil || o.Pkg() == nil {
		return ""
	}
	switch path := o.Pkg().Path(); {
	case path == "time" && slices.Contains(refusedTime, o.Name()):
		return "time." + o.Name()
	case path == "maps":
		return "order of maps." + o.Name()
	}
	return ""
}

func isMap(t types.Type) bool {
	if t == nil {
		return false
	}
	_, ok := t.Underlying().(*types.Map)
	return ok
}

// isFloat reports whether a value is a floating-point number when the program
// runs: constants that become integers are not.
func isFloat(v types.TypeAndValue) bool {
	if v.Type == nil || !v.IsValue() {
		return false
	}
	b, ok := v.Type.Underlying().(*types.Basic)
	return ok && b.Info()&(types.IsFloat|types.IsComplex) != 0 && b.Info()&types.IsUntyped == 0
}

func TestThePurityCheckFindsWhatItShould(t *testing.T) {
	const source = `package p

import (
	"maps"
	"math/rand/v2"
	"time"
)

var m = map[int]int{}

func f() (n int64) {
	for k := range m {
		n += int64(k)
	}
	for k := range maps.Keys(m) {
		n += int64(k)
	}
	go f()
	n += time.Now().UnixMilli() + rand.Int64()
	n += int64(float64(n) * 1.5)
	return n + int64(3*time.Second) + 5e3
}
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
	if _, err := conf.Check("p", fset, []*ast.File{f}, info); err != nil {
		t.Fatal(err)
	}
	lines := map[int]bool{}
	for _, v := range impurities(f, info) {
		lines[fset.Position(v.pos).Line] = true
	}
	for _, line := range []int{5, 12, 15, 18, 19, 20} {
		if !lines[line] {
			t.Errorf("line %d was not found", line)
		}
		delete(lines, line)
	}
	if len(lines) > 0 {
		t.Errorf("found what is no fault, in lines %v", lines)
	}
}
