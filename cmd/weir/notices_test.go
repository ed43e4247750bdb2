package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/cli"
)

func TestNoticesAreTried(t *testing.T) {
	told := 0
	good := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told++ }))
	defer good.Close()
	bad := httptest.NewServer(http.NotFoundHandler())
	defer bad.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "notices.yaml")
	for name, text := range map[string]string{
		"secret":       "a secret of the tests",
		"notices.yaml": "channels:\n  - {id: good, webhook: {url: '" + good.URL + "', secret_file: secret}}\n  - {id: bad, webhook: {url: '" + bad.URL + "', secret_file: secret}}\n",
		"wrong.yaml":   "channels:\n  - {id: good, carrier_pigeon: {}}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		args []string
		code int
		says string
		told int
	}{
		{[]string{"-notices.file", file}, cli.Failed, "bad                  failed: the receiver answers 404", 1},
		{[]string{"-notices.file", file, "-channel", "good"}, 0, "good                 took notice test-", 2},
		{[]string{"-notices.file", file, "-channel", "gone"}, cli.Usage, "has no such channel", 2},
		{[]string{"-notices.file", filepath.Join(dir, "wrong.yaml")}, cli.Usage, "wrong.yaml:2:16", 2},
		{nil, cli.Usage, "notices.file is not set", 2},
	} {
		var stdout, stderr bytes.Buffer
		cmd := command()
		cmd.SetOut(&stdout)
		cmd.SetErr(&stderr)
		code := cli.Main(cmd, append([]string{"notices", "test"}, tc.args...), &stderr)
		out, errs := stdout.String(), stderr.String()
		if code != tc.code || !strings.Contains(out+errs, tc.says) || told != tc.told {
			t.Errorf("%v: %d, told %d\n%s%s", tc.args, code, told, out, errs)
		}
	}
}
