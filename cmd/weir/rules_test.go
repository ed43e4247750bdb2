package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/cli"
)

const ruleFile = `rules:
  - id: two-failures
    title: two failures
    entity: account
    when: auth == "failure"
    sliding_window: {window: 1m, tiers: [{at: 2, weight: 30}]}
    signal: {category: account_takeover, reason: two_failures, half_life: 10m}
    phase: soft
    tests:
      - name: they fire
        events: [{at: 0s, every: 1s, repeat: 2, set: {account: ann, auth: failure, path: "/?x=${jndi:ldap://h/a}"}}]
        expect: [{entity: ann, weight: 30}]
  - id: untested
    title: never tried
    entity: device
    when: auth == "failure"
    sliding_window: {window: 1m, tiers: [{at: 2, weight: 30}]}
    signal: {category: bot, reason: untested, half_life: 10m}
    phase: soft
`

const testFile = `tests:
  - rule: two-failures
    name: one is none
    events: [{at: 0s, set: {account: ann, auth: failure}}]
    expect: [{entity: ann, weight: 30}]
  - rule: elsewhere
    name: it fires
    events: [{at: 0s, set: {account: ann}}]
    expect: []
`

// inFolders writes each file into its own directory.
func inFolders(t *testing.T, texts ...string) (dirs []string) {
	t.Helper()
	for _, text := range texts {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

func runRules(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	cmd := rulesCommand()
	cmd.SetOut(&out)
	code = cli.Main(cmd, args, &err)
	return code, out.String(), err.String()
}

func TestRulesCommands(t *testing.T) {
	dirs := inFolders(t, ruleFile, testFile, strings.Replace(ruleFile, "auth ==", "auht ==", 1), strings.Replace(testFile, "name:", "nmae:", 1))
	right, apart, wrong, wrongTests := dirs[0], dirs[1], dirs[2], dirs[3]
	empty := t.TempDir()
	for _, c := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // parts of them
	}{
		{"rules that are right", []string{"check", right}, cli.OK, "2 rules are right; version ", ""},
		{"what is most likely not meant", []string{"check", right}, cli.OK, "warning: a.yaml:13:9: the rule has few tests: 0 in which it fires, and 0 in which it does not\n", ""},
		{"rules that look back too far", []string{"check", right, "-retention", "30s"}, cli.OK, "the tables keep events for 30s", ""},
		{"the built-in rules", []string{"check"}, cli.OK, " rules are right; version ", ""},
		{"one file of rules", []string{"check", right + "/a.yaml"}, cli.Runtime, "", "/a.yaml is a file; name a directory"},
		{"a directory without rules", []string{"check", empty}, cli.Runtime, "", empty + ": there is no file whose name ends in .yaml"},
		{"rules that are not", []string{"check", wrong}, cli.Failed, "", `there is no field "auht"`},
		{"tests that pass", []string{"test", right}, cli.OK, "without a test: untested\n1 passed, 0 failed, 0 skipped\n", ""},
		{"tests apart, of which one fails", []string{"test", right, "-tests", apart}, cli.Failed, "1 passed, 1 failed, 1 skipped\n", "1 tests of rules fail"},
		{"what fails is named", []string{"test", right, "-tests", apart}, cli.Failed, "FAIL  two-failures: one is none\n        ann: no signal, want one of weight 30\n", ""},
		{"what is skipped is named", []string{"test", right, "-tests", apart}, cli.Failed, "SKIP  elsewhere: it fires\n        there is no rule elsewhere\n", ""},
		{"tests of rules that are not right", []string{"test", wrong}, cli.Failed, "", "1 problem in the rules"},
		{"tests that are not right", []string{"test", right, "-tests", wrongTests}, cli.Failed, "", "in the tests"},
		{"tests that are not there", []string{"test", right, "-tests", right + "/none"}, cli.Usage, "", "no such file"},
		{"the tests of the built-in rules", []string{"test"}, cli.OK, " passed, 0 failed, 0 skipped\n", ""},
		{"a list", []string{"list", right}, cli.OK, "two failures", ""},
		{"a list of rules that are not right", []string{"list", wrong}, cli.Failed, "", "1 problem in the rules"},
	} {
		code, stdout, stderr := runRules(c.args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: %d, %q, %q", c.name, code, stdout, stderr)
		}
	}
}

func TestRulesAsJSON(t *testing.T) {
	dirs := inFolders(t, ruleFile, testFile, strings.Replace(ruleFile, "auth ==", "auht ==", 1))
	outcome := func(want int, args ...string) (r report) {
		t.Helper()
		code, stdout, stderr := runRules(append(args, "-json")...)
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != want || stderr != "" {
			t.Errorf("%q: %d, %q, %q, %v", args, code, stdout, stderr, err)
		}
		return r
	}
	if r := outcome(cli.OK, "check", dirs[0]); !r.OK || r.Rules != 2 || len(r.Version) != 16 || len(r.Problems) != 0 || r.Tests != nil || len(r.Warnings) != 2 || r.Warnings[1].Line != 13 {
		t.Errorf("rules that are right: %+v", r)
	}
	r := outcome(cli.Failed, "check", dirs[2])
	if want := `there is no field "auht"`; r.OK || len(r.Problems) != 1 || r.Problems[0].What != want || r.Problems[0].Line != 5 || r.Problems[0].File != "a.yaml" {
		t.Errorf("rules that are not right: %+v", r)
	}
	r = outcome(cli.Failed, "test", dirs[0], "-tests", dirs[1])
	if n := r.Tests; r.OK || n == nil || n.Passed != 1 || n.Failed != 1 || n.Skipped != 1 || len(n.Results) != 3 || len(n.Untested) != 1 {
		t.Fatalf("tests: %+v", r)
	}
	for i, want := range []testReport{
		{Rule: "two-failures", Name: "they fire", Outcome: "passed"}, {Rule: "two-failures", Name: "one is none", Outcome: "failed"},
		{Rule: "elsewhere", Name: "it fires", Outcome: "skipped"},
	} {
		if got := r.Tests.Results[i]; got.Rule != want.Rule || got.Name != want.Name || got.Outcome != want.Outcome || got.File != "a.yaml" || got.Line == 0 {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestRulesAsJUnit(t *testing.T) {
	dirs := inFolders(t, ruleFile, testFile, strings.Replace(ruleFile, "auth ==", "auht ==", 1))
	type document struct {
		Suites []struct {
			Name     string     `xml:"name,attr"`
			Tests    int        `xml:"tests,attr"`
			Failures int        `xml:"failures,attr"`
			Skipped  int        `xml:"skipped,attr"`
			Cases    []testcase `xml:"testcase"`
		} `xml:"testsuite"`
	}
	outcome := func(args ...string) (d document) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "junit.xml")
		runRules(append(args, "-junit", path)...)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(text, &d); err != nil || !strings.HasPrefix(string(text), "<?xml") {
			t.Errorf("%q: %v in %s", args, err, text)
		}
		return d
	}
	d := outcome("test", dirs[0], "-tests", dirs[1])
	if len(d.Suites) != 2 || d.Suites[0].Name != "elsewhere" || d.Suites[0].Skipped != 1 || d.Suites[1].Tests != 2 || d.Suites[1].Failures != 1 {
		t.Fatalf("tests: %+v", d)
	}
	if f := d.Suites[1].Cases[1].Failure; f == nil || !strings.Contains(f.Body, "want one of weight 30") || d.Suites[1].Cases[0].Failure != nil {
		t.Errorf("failure %+v", f)
	}
	if d := outcome("check", dirs[0]); d.Suites[0].Tests != 2 || d.Suites[0].Failures != 0 || d.Suites[0].Cases[0].Name != "two-failures" {
		t.Errorf("rules that are right: %+v", d)
	}
	for _, command := range []string{"check", "test"} {
		if d := outcome(command, dirs[2]); d.Suites[0].Failures != 1 || d.Suites[0].Cases[0].Line != 5 {
			t.Errorf("%s of rules that are not right: %+v", command, d)
		}
	}
	if code, _, stderr := runRules("check", dirs[0], "-junit", dirs[0]); code != cli.Runtime || !strings.Contains(stderr, "write the outcome") {
		t.Errorf("a file that cannot be written: %d, %q", code, stderr)
	}
}

// The documentation's examples of separate tests and of scenarios pass with the
// built-in rules.
func TestTheDocumentedTestsPass(t *testing.T) {
	text, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	_, before, _ := runRules("test")
	for _, key := range []string{"tests:\n", "scenarios:\n"} {
		_, example, _ := strings.Cut(string(text), "```yaml\n"+key)
		example, _, found := strings.Cut(example, "```")
		if !found {
			t.Fatalf("there is no example of %s", key)
		}
		dirs := inFolders(t, key+example)
		code, after, stderr := runRules("test", "-tests", dirs[0])
		if code != cli.OK || before == after {
			t.Errorf("%d: %q, %q, and %q without it", code, after, stderr, before)
		}
	}
}
