package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/settings"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/sink/clickhouse"
	"github.com/weirdev/weir/sink/redis"
)

func lists() map[string]settings.Selection {
	all := map[string]settings.Selection{
		"weir check": CheckSettings(), "weir query": QuerySettings(), "weir dead": DeadSettings(), "weir traffic": TrafficSettings(), "weir switch": SwitchSettings(), "weir notices": NoticesSettings(), "weir canary": CanarySettings(), "weir label": LabelSettings(), "weir release": ReleaseSettings(), "weir erase": EraseSettings(),
		"weir try": TrySettings(), "weir rules explain": ReplaySettings(), "weir evaluate": EvaluateSettings(),
	}
	for _, p := range Programs() {
		all[p.Name] = p.Uses
	}
	return all
}

func TestEverySettingIsOneOfAProgram(t *testing.T) {
	c := Defaults()
	for _, s := range settings.Walk(&c) {
		if !slices.ContainsFunc(Programs(), func(p Program) bool { return p.Uses.Has(s.Name) }) {
			t.Errorf("no program uses %s", s.Name)
		}
	}
}

func TestListsNameSettingsThatExist(t *testing.T) {
	c := Defaults()
	all := settings.Walk(&c)
	for program, uses := range lists() {
		for i, name := range uses {
			exists := name == "ingest.mapping" // it stands in files only
			for _, s := range all {
				exists = exists || settings.Selection{name}.Has(s.Name)
			}
			if !exists || slices.Contains(uses[:i], name) {
				t.Errorf("%s: %s does not exist, or is listed twice", program, name)
			}
		}
	}
}

// TestListsHoldWhatTheCodeReads compares the lists with the members of configurations
// that the code selects: a setting that is used, and not listed, could not be set by
// a flag; one that is listed and not used would do nothing.
func TestListsHoldWhatTheCodeReads(t *testing.T) {
	all := lists()
	// Not Produce: from it, names alone would lead to consumer groups.
	unjoined := []string{"New", "CreateTopic", "Describe", "Fetch", "Offsets", "Partitions", "produceTo", "codec"}
	for _, c := range []struct {
		program, section, dir string
		config                any
		from                  []string // functions, and types with all their methods
	}{
		{"weir-gate", "", ".", Config{}, []string{"NewGate", "Gate"}},
		{"weir-worker", "", ".", Config{}, []string{"NewWorker", "Worker"}},
		{"weir migrate", "", ".", Config{}, []string{"Migrate"}},
		{"weir switch", "", ".", Config{}, []string{"SetSwitch", "ListSwitches"}},
		{"weir-gate", "stream", ".", StreamConfig{}, []string{"NewGate", "Gate"}},
		{"weir-worker", "stream", ".", StreamConfig{}, []string{"NewWorker", "Worker"}},
		{"weir migrate", "stream", ".", StreamConfig{}, []string{"Migrate"}},
		{"weir switch", "stream", ".", StreamConfig{}, []string{"SetSwitch", "ListSwitches"}},
		{"weir-gate", "redis", "../sink/redis", redis.Config{}, []string{"NewReader", "Reader"}},
		{"weir switch", "redis", "../sink/redis", redis.Config{}, []string{"NewReader", "Reader"}},
		{"weir-worker", "redis", "../sink/redis", redis.Config{}, []string{"NewWriter", "Writer", "Track"}},
		{"weir-gate", "ingest", "../ingest", ingest.Config{}, []string{"NewEnricher", "Enricher"}},
		{"weir-worker", "ingest", "../ingest", ingest.Config{}, []string{"New", "Stage", "partition"}},
		{"weir try", "ingest", "../ingest", ingest.Config{}, []string{"NewReader", "Reader"}},
		{"weir rules explain", "ingest", "../ingest", ingest.Config{}, []string{"NewOffline", "Offline", "NewReader", "Reader"}},
		{"weir-worker", "kafka", "../internal/kafka", kafka.Config{}, []string{"New", "Client"}},
		{"weir dead", "kafka", "../internal/kafka", kafka.Config{}, unjoined},
		{"weir migrate", "kafka", "../internal/kafka", kafka.Config{}, unjoined},
		{"weir-worker", "clickhouse", "../sink/clickhouse", clickhouse.Config{}, []string{"NewEvents", "NewSignals", "Events", "Signals"}},
		{"weir migrate", "clickhouse", "../sink/clickhouse", clickhouse.Config{}, []string{"Migrate"}},
		{"weir query", "clickhouse", "../sink/clickhouse", clickhouse.Config{}, []string{"OpenToRead"}},
	} {
		t.Run(c.program+" "+c.section, func(t *testing.T) {
			read := readMembers(t, c.dir, reflect.TypeOf(c.config), c.from)
			var listed []string
			for _, name := range members(reflect.TypeOf(c.config)) {
				if name == "log" {
					continue // main functions read it
				}
				if all[c.program].Touches(strings.TrimPrefix(c.section+"."+name, ".")) {
					listed = append(listed, name)
				}
			}
			slices.Sort(read)
			slices.Sort(listed)
			if !slices.Equal(read, listed) {
				t.Errorf("the code reads %v\nlisted are %v", read, listed)
			}
		})
	}
}

// members lists the keys of a configuration's own members. Those of an inline struct
// are the members of the struct around it.
func members(of reflect.Type) (names []string) {
	for _, keys := range fields(of) {
		names = append(names, keys...)
	}
	return names
}

// fields returns the keys of each field.
func fields(of reflect.Type) map[string][]string {
	all := map[string][]string{}
	for i := range of.NumField() {
		f := of.Field(i)
		switch key, options, _ := strings.Cut(f.Tag.Get("yaml"), ","); {
		case options == "inline":
			all[f.Name] = members(f.Type)
		default:
			all[f.Name] = []string{key}
		}
	}
	return all
}

// readMembers returns the keys of the members of a configuration that functions of a
// package select, and the functions and methods that they name in turn.
func readMembers(t *testing.T, dir string, config reflect.Type, from []string) (found []string) {
	t.Helper()
	r := &reach{named: map[string]bool{}, selected: map[string]bool{}, functions: map[string][]*ast.FuncDecl{}, types: map[string]*ast.TypeSpec{}, byField: fields(config), config: config.Name()}
	r.parse(t, dir)
	for _, name := range from {
		r.named[name], r.selected[name] = true, true
	}
	for known := 0; known < len(r.named)+len(r.selected); {
		known, r.found = len(r.named)+len(r.selected), nil
		for name, all := range r.functions {
			for _, f := range all {
				if of := receiver(f); of == "" && r.named[name] || r.named[of] && (r.selected[name] || slices.Contains(from, of)) {
					ast.Inspect(f, r.visit)
				}
			}
		}
		for name, spec := range r.types {
			if r.named[name] {
				ast.Inspect(spec.Type, r.visit)
			}
		}
	}
	slices.Sort(r.found)
	return slices.Compact(r.found)
}

// reach follows names from function to function. It goes by names alone: x.Addrs is a
// member of a configuration if x is called cfg or c. So it rather finds too much.
type reach struct {
	functions map[string][]*ast.FuncDecl
	types     map[string]*ast.TypeSpec
	named     map[string]bool // functions and types
	selected  map[string]bool // methods
	byField   map[string][]string
	config    string // name of the configuration's type
	found     []string
}

// parse reads a package. Functions that only check or make a configuration do not
// count.
func (r *reach) parse(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if name := d.Name.Name; !strings.HasPrefix(strings.ToLower(name), "validate") && !strings.HasSuffix(name, "Defaults") {
					r.functions[name] = append(r.functions[name], d)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					if one, ok := spec.(*ast.TypeSpec); ok {
						r.types[one.Name.Name] = one
					}
				}
			}
		}
	}
}

func (r *reach) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.Field: // its name may be that of a type
		ast.Inspect(n.Type, r.visit)
		return false
	case *ast.SelectorExpr:
		r.selected[n.Sel.Name] = true
		if keys, ok := r.byField[n.Sel.Name]; ok && r.isConfig(n.X) {
			r.found = append(r.found, keys...)
		}
	case *ast.Ident:
		r.named[n.Name] = true
	}
	return true
}

func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// isConfig reports whether an expression is called as configurations are.
func (r *reach) isConfig(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	names := []string{"cfg", "c", "settings"}
	switch r.config {
	case "StreamConfig":
		names = []string{"Stream", "stream", "s", "c"}
	}
	return slices.Contains(names, name)
}
