package weir_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/weirdev/weir/"

type listed struct {
	ImportPath string
	Imports    []string
}

// packages lists the module's packages.
func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// table is what DESIGN.md says of imports.
type table struct {
	steps map[string][]string // by package of the data path: what it may import
	rooms []string            // packages of internal/, app/ and proof/
}

var (
	named   = regexp.MustCompile("`([^`]+)`")
	stepRow = regexp.MustCompile("(?m)^\\| [0-9]* ?\\| `([a-z0-9/]+)` \\| (nothing|(?:`[a-z0-9/]+`(?:, )?)+) \\| .*\\|$")
	holds   = regexp.MustCompile("(?m)^\\| `((?:internal/|proof/|app)[a-z0-9/]*)` \\| .*\\|$")
)

func design(t *testing.T) table {
	t.Helper()
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	d := table{steps: map[string][]string{}}
	for _, row := range stepRow.FindAllStringSubmatch(string(text), -1) {
		d.steps[row[1]] = []string{}
		for _, name := range named.FindAllStringSubmatch(row[2], -1) {
			d.steps[row[1]] = append(d.steps[row[1]], name[1])
		}
	}
	for _, row := range holds.FindAllStringSubmatch(string(text), -1) {
		d.rooms = append(d.rooms, row[1])
	}
	if len(d.steps) < 11 || len(d.rooms) < 30 {
		t.Fatalf("the tables do not read: %+v", d)
	}
	return d
}

// refused says why an import is against the tables; "" where it is not.
func (d table) refused(from, to string) string {
	if to == "github.com/segmentio/kafka-go" && from != module+"internal/kafka" {
		return "only internal/kafka speaks to Kafka"
	}
	to, ours := strings.CutPrefix(to, module)
	from = strings.TrimPrefix(from, module)
	switch {
	case !ours, from == "cmd/weir":
		return ""
	case from == "proof/oracle" && to == "internal/state":
		return "the oracle judges it, and takes nothing from it"
	case under(from, "proof") && from != "proof/oracle" && !under(to, "cmd"):
		return ""
	case under(to, "proof") && !(from == "app/stack" && to == "proof/servers"):
		return "what is shipped does not rest on what proves it"
	case under(from, "cmd"), under(from, "app") && !under(to, "cmd"):
		return ""
	case under(from, "internal"):
		if to == "event" || under(to, "internal") {
			return ""
		}
		return "internal packages know nothing above event"
	case under(to, "internal"), slices.Contains(d.steps[from], to):
		return ""
	}
	return "DESIGN.md does not say so"
}

func under(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

func TestPackagesImportWhatDesignSays(t *testing.T) {
	d, seen := design(t), 0
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, module) {
			continue
		}
		seen++
		for _, i := range p.Imports {
			if why := d.refused(p.ImportPath, i); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, why)
			}
		}
	}
	if seen < 15 {
		t.Fatalf("only %d packages were checked", seen)
	}
}

// TestDesignNamesWhatThereIs: the tables have every package, and nothing that is
// not there.
func TestDesignNamesWhatThereIs(t *testing.T) {
	d, is := design(t), table{steps: map[string][]string{}}
	for _, p := range packages(t) {
		path, ours := strings.CutPrefix(p.ImportPath, module)
		switch {
		case !ours:
		case under(path, "internal"), under(path, "app"), under(path, "proof"):
			if strings.Count(path, "/") <= 1 { // what stands below is its own affair
				is.rooms = append(is.rooms, path)
			}
		}
		switch {
		case !ours || under(path, "cmd") || under(path, "internal") || under(path, "app"):
		case under(path, "proof") && path != "proof/oracle": // which alone is kept from some
		default:
			is.steps[path] = []string{}
			for _, i := range p.Imports {
				if to, ours := strings.CutPrefix(i, module); ours && !under(to, "internal") {
					is.steps[path] = append(is.steps[path], to)
				}
			}
		}
	}
	for _, p := range differences(d.rooms, is.rooms) {
		t.Errorf("packages: %s", p)
	}
	for path := range is.steps {
		if _, ok := d.steps[path]; !ok {
			t.Errorf("%s is not in the table", path)
		}
	}
	for path, may := range d.steps {
		does, ok := is.steps[path]
		if !ok {
			t.Errorf("%s is in the table, and not there", path)
			continue
		}
		for _, p := range differences(may, does) {
			t.Errorf("imports of %s: %s", path, p)
		}
	}
}

// differences compares what a table has with what there is.
func differences(table, is []string) (all []string) {
	for _, name := range table {
		if !slices.Contains(is, name) {
			all = append(all, fmt.Sprintf("%s is in the table, and not there", name))
		}
	}
	for _, name := range is {
		if !slices.Contains(table, name) {
			all = append(all, fmt.Sprintf("%s is not in the table", name))
		}
	}
	return all
}

func TestTheImportRuleRefusesWhatItShould(t *testing.T) {
	d := design(t)
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"ingest", "event", true},
		{"event", "ingest", false},
		{"event/format", "event", true},
		{"event", "event/format", false},
		{"event/format", "event/route", false},
		{"ingest", "event/route", true},
		{"rules", "event/format", false},
		{"internal/facet", "event/format", false},
		{"rules", "detectors", false},
		{"engine", "score", true},
		{"sink/redis", "sink/clickhouse", false},
		{"gate", "sink/redis", false},
		{"gate", "rules", true},
		{"cmd/weir", "sink/redis", true},
		{"app", "engine", true},
		{"app/stack", "internal/sandbox", true},
		{"app", "cmd/weir", false},
		{"engine", "app", false},
		{"internal/facet", "app/settings", false},
		{"internal/facet", "event", true},
		{"internal/facet", "rules", false},
		{"internal/telemetry", "internal/watch", true},
		{"score", "internal/facet", true},
		{"proof/oracle", "engine", true},
		{"proof/oracle", "score", true},
		{"proof/oracle", "detectors", true},
		{"proof/oracle", "gate", false},
		{"proof/oracle", "internal/state", false},
		{"proof/oracle", "internal/facet", true},
		{"engine", "proof/oracle", false},
		{"sink/redis", "proof/oracle", false},
		{"cmd/weir", "proof/oracle", true},
		{"cmd/weir-worker", "proof/chaos", false},
		{"app", "proof/servers", false},
		{"app/stack", "proof/servers", true},
		{"app/stack", "proof/oracle", false},
		{"proof/chaos", "app/stack", true},
		{"proof/sim", "proof/oracle", true},
		{"internal/facet", "proof/testkit", false},
		{"ingest", "rules", false},
		{"eventual", "event", false},
	} {
		if got := d.refused(module+c.from, module+c.to) == ""; got != c.allowed {
			t.Errorf("%s imports %s: allowed %v, want %v", c.from, c.to, got, c.allowed)
		}
	}
	if d.refused(module+"ingest", "github.com/segmentio/kafka-go") == "" {
		t.Error("ingest may speak to Kafka by itself")
	}
}
