package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/cli"
)

func TestRulesRoutes(t *testing.T) {
	t.Setenv("WEIR_CONFIG", "")
	own := inFolders(t, ruleFile+"\nroutes:\n  - class: boarding\n    routes: [PUT /gates]\n")[0]
	dir := t.TempDir()
	var lines strings.Builder
	for i, request := range []string{"POST /api/v2/identity/sessions", "GET /gates", "PUT /gates", "POST /a/b/c/d/e", "PUT /gates", "PUT /gates", "PATCH /menus/4711", "POST /oauth/token"} {
		method, path, _ := strings.Cut(request, " ")
		fmt.Fprintf(&lines, `{"id":"%d","time":"2026-01-01T00:00:0%dZ","ip":"203.0.113.9","method":"%s","path":"%s"}`+"\n", i, i, method, path)
	}
	events, other := filepath.Join(dir, "events.jsonl"), filepath.Join(dir, "other.jsonl")
	for name, text := range map[string]string{events: lines.String() + "{}\n", other: "{}\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string // parts of them; blanks in a row count as one
	}{
		{"a path", []string{"POST", "/de/api/v2/identity/sessions"}, cli.OK, "POST /de/api/v2/identity/sessions /{locale}/api/v2/identity/sessions login login\n", ""},
		{"a word that is not known", []string{"put", "/gates/{gate}/in"}, cli.OK, "PUT /gates/{gate}/in /~33/{id}/… - -\n", ""},
		{"a route of the gateway's own", []string{"POST", "/grub/{id}/pay", "POST", "/v1/bills/{id}/pay"}, cli.OK, "POST /v1/bills/{id}/pay /v1/payments/{id} payment payment\n", ""},
		{"rules of one's own", []string{"PUT", "/gates", "-rules", own}, cli.OK, "PUT /gates /~33 - boarding\n", ""},
		{"events", []string{"-events", events}, cli.OK, "8 events with a route, 1 records without\n\nclass events method route\nlogin 1 POST /api/v2/identity/sessions\nrefresh 1 POST /oauth/token\n\n" +
			"Requests that write, and have no class:\n\nevents method route\n3 PUT /~33\n1 POST /{id}/{id}/…\n1 PATCH /~76/{id}\n", ""},
		{"events, with templates", []string{"-events", events, "-rules", own, "-ingest.routes", "/gates,/menus/{menu}"}, cli.OK, "boarding 3 PUT /gates\n", ""},
		{"no event", []string{"-events", other}, cli.Failed, "", "no record is an event with a route"},
		{"nothing", nil, cli.Usage, "", "name a method and a path"},
		{"half", []string{"POST"}, cli.Usage, "", "name a method and a path"},
	} {
		code, stdout, stderr := runRules(append([]string{"routes"}, c.args...)...)
		var shown strings.Builder
		for line := range strings.Lines(stdout) {
			shown.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
		}
		if code != c.code || !strings.Contains(shown.String(), c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: %d, %q, %q", c.name, code, shown.String(), stderr)
		}
	}
}
