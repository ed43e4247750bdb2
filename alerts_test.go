package weir_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/proof/testkit"
)

// ruleFile is a file of rules for Prometheus.
type ruleFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

type rule struct {
	Alert       string            `yaml:"alert"`
	Record      string            `yaml:"record"`
	Expr        string            `yaml:"expr"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

const alertFile = "deploy/prometheus-alerts.yml"

func alerts(t *testing.T) (all []rule) {
	t.Helper()
	var f ruleFile
	if err := yaml.Unmarshal([]byte(read(t, alertFile)), &f); err != nil {
		t.Fatal(err)
	}
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				all = append(all, r)
			}
		}
	}
	if len(all) < 30 {
		t.Fatalf("only %d alerts were found", len(all))
	}
	return all
}

// chapters are what a tired person looks for on a page.
var chapters = []string{"What it means", "What users notice", "Look at this first", "What to do", "It is over when"}

func TestEveryAlertHasARunbook(t *testing.T) {
	const pages = "docs/runbooks/"
	index := read(t, pages+"README.md")
	wanted := []string{"README.md"}
	for _, a := range alerts(t) {
		if s := a.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q is neither page nor ticket", a.Alert, s)
		}
		for _, what := range []string{"summary", "description"} {
			if a.Annotations[what] == "" {
				t.Errorf("%s has no %s", a.Alert, what)
			}
		}
		page := pages + a.Alert + ".md"
		if want := "https://github.com/weirdev/weir/blob/main/" + page; a.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, want %s", a.Alert, a.Annotations["runbook_url"], want)
		}
		wanted = append(wanted, filepath.Base(page))
		text := read(t, page)
		if !strings.HasPrefix(text, "# "+a.Alert+"\n\n"+a.Annotations["summary"]+". Severity: "+a.Labels["severity"]+".\n") {
			t.Errorf("%s does not begin with name, summary and severity of its alert", page)
		}
		var found []string
		for _, m := range regexp.MustCompile(`(?m)^## (.*)$`).FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		if !slices.Equal(found, chapters) {
			t.Errorf("%s has the chapters %q, want %q", page, found, chapters)
		}
		if row := fmt.Sprintf("| [%s](%[1]s.md) | %s | %s |", a.Alert, a.Labels["severity"], a.Annotations["summary"]); !strings.Contains(index, row) {
			t.Errorf("%sREADME.md lacks the row\n%s", pages, row)
		}
	}
	entries, err := os.ReadDir(pages)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(wanted, e.Name()) {
			t.Errorf("%s%s is the page of no alert", pages, e.Name())
		}
	}
}

// TestEveryAlertIsTestedFiringAndQuiet: promtool runs the tests (.ci/run); this one
// looks that none is forgotten.
func TestEveryAlertIsTestedFiringAndQuiet(t *testing.T) {
	fires, quiet := map[string]bool{}, map[string]bool{}
	files, err := filepath.Glob("deploy/prometheus-alerts*_test.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		var f struct {
			Tests []struct {
				Checks []struct {
					Alert  string `yaml:"alertname"`
					Expect []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			} `yaml:"tests"`
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &f); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, test := range f.Tests {
			for _, c := range test.Checks {
				if len(c.Expect) > 0 {
					fires[c.Alert] = true
				} else {
					quiet[c.Alert] = true
				}
			}
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !quiet[a.Alert] {
			t.Errorf("%s: tested firing: %v, and quiet: %v", a.Alert, fires[a.Alert], quiet[a.Alert])
		}
	}
}

// TestQueriesOfRunbooksAreOnes has Prometheus read them.
func TestQueriesOfRunbooksAreOnes(t *testing.T) {
	promtool := testkit.Tool(t, "promtool", "install Prometheus (Debian: apt-get install prometheus)")
	var f strings.Builder
	f.WriteString("groups:\n  - name: runbooks\n    rules:\n")
	queries := 0
	each(t, "docs/runbooks", ".md", func(path, text string) {
		for _, m := range regexp.MustCompile("(?s)```promql\n(.*?)```").FindAllStringSubmatch(text, -1) {
			queries++
			fmt.Fprintf(&f, "      - {record: %q, expr: %q}\n", "weir:"+regexp.MustCompile(`\W`).ReplaceAllString(path, "_")+fmt.Sprint(queries), m[1])
		}
	})
	if queries < 50 {
		t.Errorf("only %d queries were found", queries)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(f.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestKafkaCommandsOfPagesNameTheCluster: without it they end with an error.
func TestKafkaCommandsOfPagesNameTheCluster(t *testing.T) {
	commands := 0
	each(t, "docs", ".md", func(path, text string) {
		for _, c := range regexp.MustCompile(`kafka-[a-z-]+\.sh [^`+"`"+`;|\n]*`).FindAllString(text, -1) {
			if commands++; !strings.Contains(c, ".sh --bootstrap-server ") {
				t.Errorf("%s: %s", path, c)
			}
		}
	})
	if commands < 8 {
		t.Errorf("only %d commands were found", commands)
	}
}
