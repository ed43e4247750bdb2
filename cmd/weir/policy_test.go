package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/cli"
)

const policyFile = `policies:
  - {id: login, when: 'route_class == "enter"', score: {deny: 50}, failure: closed}
  - {id: others, failure: open}
tests:
  - name: it is refused
    request: {method: POST, route: /enter}
    risk: [{category: bot, weight: 60}]
    expect: {policy: login, action: deny}
`

func TestPolicyCommands(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	words := inFolders(t, ruleFile+"routes: [{class: enter, routes: [POST /enter]}]\n")[0]
	right, failing := write("right.yaml", policyFile), write("failing.yaml", strings.Replace(policyFile, "action: deny", "action: tag", 1))
	for _, tc := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"the built-in policies are right", []string{"check"}, 0, "the policies are right: 1, version ", ""},
		{"and pass their tests", []string{"test"}, 0, "9 passed, 0 failed, 0 skipped\n", ""},
		{"route classes of a directory", []string{"check", right, "-rules", words}, 0, "the policies are right: 2, version ", ""},
		{"and tests by them", []string{"test", right, "-rules", words}, 0, "1 passed, 0 failed, 0 skipped\n", ""},
		{"without them, the class is unknown", []string{"check", right}, cli.Failed, "", "right.yaml:2:39: route_class is never \"enter\""},
		{"a test that fails", []string{"test", failing, "-rules", words}, cli.Failed, "the action is deny, want tag (by the policy login)", "1 tests of policies fail"},
		{"a file that is not there", []string{"check", filepath.Join(dir, "none.yaml")}, cli.Usage, "", "none.yaml"},
		{"rules that are not there", []string{"check", "-rules", filepath.Join(dir, "none")}, cli.Usage, "", "none"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := command()
			cmd.SetOut(&stdout)
			code := cli.Main(cmd, append([]string{"policy"}, tc.args...), &stderr)
			if code != tc.code || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
				t.Errorf("%d\n%s\n%s", code, stdout.String(), stderr.String())
			}
		})
	}
	var stdout, stderr bytes.Buffer
	cmd := command()
	cmd.SetOut(&stdout)
	if code := cli.Main(cmd, []string{"policy", "test", "-json", failing, "-rules", words}, &stderr); code != cli.Failed {
		t.Errorf("ends with %d", code)
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.OK || r.Tests.Failed != 1 || r.Tests.Results[0].Line != 5 {
		t.Errorf("%v: %s", err, stdout.String())
	}
}
