package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/cli"
)

func TestRulesExplain(t *testing.T) {
	t.Setenv("WEIR_CONFIG", "")
	dirs := inFolders(t, ruleFile, strings.Replace(ruleFile, "auth ==", "auht ==", 1))
	right, wrong := dirs[0], dirs[1]
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	failure := func(n int) string {
		return fmt.Sprintf(`{"id":"%d","time":"2026-01-01T00:00:0%dZ","ip":"203.0.113.9","account":"ann","auth":"failure"}`+"\n", n, n)
	}
	events := write("events.jsonl", failure(1)+"\n"+failure(2)+`{"id":"3"}`+"\n")
	combined := write("access.log", `203.0.113.9 - - [15/Sep/2026:16:13:46 +0000] "GET / HTTP/1.1" 200 8 "-" "x"`+"\n")
	empty := write("empty.log", "\n")
	for _, c := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // parts of them
	}{
		{"a firing", []string{right, "-events", events}, cli.OK, "two-failures (soft) FIRED for account:ann: two failures\n  record 2, ", ""},
		{"a record that is no event", []string{right, "-events", events}, cli.OK, "record 3\n  DEAD: missing_field in time at byte 10: the record ", ""},
		{"an entity", []string{right, "-events", events, "-entity", "account:ann"}, cli.OK, "account:ann: 2 events\n", ""},
		{"one that is not there", []string{right, "-events", events, "-entity", "account:bob"}, cli.OK, "no event is about it; of its kind there are ann", ""},
		{"the built-in rules", []string{"-events", events}, cli.OK, "login-brute-force-account (soft) did not fire for account:ann", ""},
		{"the built-in rules by name", []string{"default", "-events", events}, cli.OK, "login-brute-force-account (soft) did not fire for account:ann", ""},
		{"another format", []string{"-events", combined, "-format", "combined"}, cli.OK, "1 event from 2026-09-15", ""},
		{"in several partitions", []string{right, "-events", events, "-partitions", "8"}, cli.OK, "two-failures (soft) FIRED for account:ann", ""},
		{"in none", []string{right, "-events", events, "-partitions", "0"}, cli.Usage, "", "-partitions is 1 to 1024, not 0"},
		{"no events named", []string{right}, cli.Usage, "", "Name a file with -events"},
		{"a file that is not there", []string{right, "-events", dir + "/none"}, cli.Runtime, "", "no such file"},
		{"the wrong format", []string{"-events", combined}, cli.Failed, "1 dead", "no record is an event of format weir; try -format combined"},
		{"no lines", []string{"-events", empty}, cli.Failed, "0 events", "there is no line in them"},
		{"a format that is not known", []string{"-events", events, "-format", "x"}, cli.Usage, "", "ingest.format"},
		{"an entity of no kind", []string{"-events", events, "-entity", "ann"}, cli.Usage, "", "such as account:ann"},
		{"one that no rule looks at", []string{right, "-events", events, "-entity", "net:192.0.2.0/24"}, cli.Usage, "", "no rule looks at entities of kind net"},
		{"a stretch of time", []string{right, "-events", events, "-from", "2026-01-01 00:00:02", "-to", "2026-01-01T00:00:03Z"}, cli.OK, "FIRED for account:ann: two failures\n  record 2, ", ""},
		{"one in which nothing happens", []string{right, "-events", events, "-from", "2026-01-02"}, cli.OK, "no event meets the condition of any rule in that time", ""},
		{"a time that is none", []string{right, "-events", events, "-from", "noon"}, cli.Usage, "", `-from "noon" is no time: write it like 2026-01-01T10:00:00Z`},
		{"a stretch that is empty", []string{right, "-events", events, "-from", "2026-01-02", "-to", "2026-01-02"}, cli.Usage, "", "nothing is in between"},
		{"rules that look at others", []string{"-events", events, "-entity", "account:ann"}, cli.OK, "other rules; -all names them", ""},
		{"all of them", []string{"-events", events, "-entity", "account:ann", "-all"}, cli.OK, "  none of its events meets the condition (when)\n", ""},
		{"rules that are not right", []string{wrong, "-events", events}, cli.Failed, "", `there is no field "auht"`},
		{"lateness as it is set", []string{right, "-events", events, "-detect.lateness", "48h"}, cli.Usage, "", "detect.lateness"},
	} {
		code, stdout, stderr := runRules(append([]string{"explain"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: %d, %q, %q", c.name, code, stdout, stderr)
		}
	}
	code, stdout, stderr := runRules("explain", right, "-events", events, "-json")
	var r struct {
		V        int
		Findings []struct{ Rule string }
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != cli.OK || r.V != 1 || len(r.Findings) != 1 || r.Findings[0].Rule != "two-failures" {
		t.Errorf("JSON: %d, %v, %s, %s", code, err, stdout, stderr)
	}
}

func TestRulesDraft(t *testing.T) {
	t.Setenv("WEIR_CONFIG", "")
	dir := t.TempDir()
	var lines strings.Builder
	for n := range 120 {
		for i, route := range []string{"/cart", "/payments"} {
			fmt.Fprintf(&lines, `{"id":"%d-%d","time":"2026-01-01T00:%02d:%02dZ","account":"u%d","method":"POST","path":"/x","route":%q,"status":200}`+"\n", n, i, n/2, n%2*30+i, n, route)
		}
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	events := write("events.jsonl", lines.String())
	for _, c := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // parts of them
	}{
		{"a flow", []string{"-events", events}, cli.OK, "  # Learned: of 120 sessions with POST /payments, 120 had POST /cart before it,\n", ""},
		{"more sessions than there are", []string{"-events", events, "-least", "500"}, cli.OK, "500 sessions", ""},
		{"no events named", nil, cli.Usage, "", "Name a file with -events"},
		{"too few sessions", []string{"-events", events, "-least", "3"}, cli.Usage, "", "-least is 10 or more"},
		{"no gap", []string{"-events", events, "-session-gap", "1ms"}, cli.Usage, "", "-session-gap is 1s to 24h"},
		{"nothing to learn from", []string{"-events", write("none.jsonl", "x\n")}, cli.Failed, "", "no event names an account"},
		{"a file that is not there", []string{"-events", dir + "/none"}, cli.Runtime, "", "no such file"},
	} {
		code, stdout, stderr := runRules(append([]string{"draft"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: %d, %q, %q", c.name, code, stdout, stderr)
		}
	}
	_, text, _ := runRules("draft", "-events", events)
	made := inFolders(t, text)[0]
	if code, stdout, stderr := runRules("check", made); code != cli.OK || !strings.Contains(stdout, "3 rules are right") {
		t.Errorf("what was drafted is not right: %d, %q, %q", code, stdout, stderr)
	}
}

func TestScenariosInFiles(t *testing.T) {
	dirs := inFolders(t, ruleFile, `scenarios:
  - name: ann fails twice
    events: [{at: 0s, every: 1s, repeat: 2, set: {account: ann, auth: failure}}]
    expect: [{entity: account:ann, signals: [{rule: two-failures, weight: 30}], score: 31}]
`)
	code, stdout, stderr := runRules("test", dirs[0], "-tests", dirs[1])
	if want := "FAIL  scenario: ann fails twice\n        account:ann: the score is 30, want 31\n"; code != cli.Failed || !strings.Contains(stdout, want) {
		t.Errorf("%d, %q, %q", code, stdout, stderr)
	}
}
