package weir_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/weirdev/weir/"

// steps is the data path. A package may import only what stands before it
// here, its own parents, and internal/. The table is explained in DESIGN.md.
var steps = []string{"event", "ingest", "rules", "detectors", "score", "engine", "sink", "gate", "cmd"}

type listed struct {
	ImportPath string
	Imports    []string
}

// packages lists the module's packages, without those that are not committed
// to the data path (tools).
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

// place splits a package of ours into its step and the rest of its path.
func place(path string) (step, rest string) {
	step, rest, _ = strings.Cut(strings.TrimPrefix(path, module), "/")
	return step, rest
}

func TestPackagesImportOnlyEarlierSteps(t *testing.T) {
	seen := 0
	for _, p := range packages(t) {
		if !strings.HasPrefix(p.ImportPath, module) {
			continue
		}
		seen++
		for _, i := range p.Imports {
			if why := refused(p.ImportPath, i); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, i, why)
			}
		}
	}
	if seen < 15 {
		t.Fatalf("only %d packages were checked", seen)
	}
}

// refused says why an import breaks the rule; "" where it does not.
func refused(from, to string) string {
	if to == "github.com/segmentio/kafka-go" && from != module+"internal/klog" {
		return "only internal/klog speaks to Kafka"
	}
	if !strings.HasPrefix(to, module) {
		return ""
	}
	fromStep, fromRest := place(from)
	toStep, toRest := place(to)
	if from == module+"engine/oracle" && (toStep == "detectors" || to == module+"internal/state") {
		return "the oracle judges them, and takes nothing from them"
	}
	switch {
	case toStep == "internal":
		return ""
	case fromStep == "internal":
		if toStep == "event" {
			return ""
		}
		return "internal packages know nothing above event"
	case fromStep == "cmd":
		return ""
	case fromStep == toStep:
		if toRest == "" || strings.HasPrefix(fromRest, toRest+"/") {
			return "" // a parent
		}
		return "siblings do not import each other"
	case toRest != "" && toStep != "event":
		return "only cmd imports leaves"
	}
	f, g := slices.Index(steps, fromStep), slices.Index(steps, toStep)
	if f < 0 || g < 0 {
		return "not in the table of steps"
	}
	if g >= f {
		return "comes later on the data path"
	}
	return ""
}

func TestTheImportRuleRefusesWhatItShould(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"ingest", "event", true},
		{"event", "ingest", false},
		{"rules", "detectors", false},
		{"engine", "score", true},
		{"sink/redis", "sink/clickhouse", false},
		{"sink/redis", "sink", true},
		{"gate", "sink/redis", false},
		{"cmd/weir", "sink/redis", true},
		{"internal/facet", "event", true},
		{"internal/facet", "rules", false},
		{"score", "internal/facet", true},
		{"engine/oracle", "engine", true},
		{"engine/oracle", "score", true},
		{"engine/oracle", "detectors", false},
		{"engine/oracle", "internal/state", false},
		{"engine", "engine/oracle", false},
		{"sink/redis", "engine/oracle", false},
		{"cmd/weir", "engine/oracle", true},
	} {
		if got := refused(module+c.from, module+c.to) == ""; got != c.allowed {
			t.Errorf("%s imports %s: allowed %v, want %v", c.from, c.to, got, c.allowed)
		}
	}
}
