package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/evaluate"
)

// said runs a command in this process and returns its output.
func said(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// brief returns arguments for a short run of traffic.
func brief(more ...string) []string {
	return append(more, "--days=0.3", "--rate=1", "--kinds=credential_stuffing,impossible_travel", "--each=1", "--seed=5")
}

// TestGeneratedFilesAreMeasuredAsInventedTrafficIs: events, truth and databases in
// files give the same results.
func TestGeneratedFilesAreMeasuredAsInventedTrafficIs(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if out, err := said(t, brief("generate", "--out="+at("events.jsonl"), "--truth="+at("truth.jsonl"), "--geo="+at("geo"))...); err != nil || out != "" {
		t.Fatal(err, out)
	}
	measure := func(args ...string) evaluate.Result {
		out, err := said(t, append(args, "--json")...)
		if err != nil {
			t.Fatal(err)
		}
		var r evaluate.Report
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		x := r.Results[0]
		x.NanosAnEvent, x.IngestNanos, x.DetectNanos = 0, 0, 0
		return x
	}
	invented := measure(brief("evaluate", "--html="+at("report.html"))...)
	given := measure("evaluate", "--events="+at("events.jsonl"), "--truth="+at("truth.jsonl"), "--geo.city="+at("geo/city.mmdb"),
		"--geo.asn="+at("geo/asn.mmdb"), "--geo.anonymous="+at("geo/anonymous.mmdb"))
	a, _ := json.Marshal(invented)
	b, _ := json.Marshal(given)
	if invented.Caught == 0 || !bytes.Equal(a, b) {
		t.Errorf("invented:\n%s\ngiven:\n%s", a, b)
	}
	if page, err := os.ReadFile(at("report.html")); err != nil || !bytes.Contains(page, []byte("credential_stuffing")) {
		t.Errorf("the page: %v", err)
	}
}

func TestGenerateEndsWhereItIsTold(t *testing.T) {
	out, err := said(t, brief("generate", "--n=300")...)
	if err != nil || strings.Count(out, "\n") != 300 {
		t.Errorf("%v, %d lines", err, strings.Count(out, "\n"))
	}
	if out, err := said(t, "generate", "--list"); err != nil || !strings.Contains(out, "refresh_reuse") || !strings.Contains(out, "slow-distributed-careful") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestEvaluateFails as documented.
func TestEvaluateFails(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	events, truth := write("events", "no event\n"), write("truth", "")
	blind, broken := t.TempDir(), t.TempDir() // rules that find no campaign, and that are none
	if err := os.WriteFile(filepath.Join(broken, "a.yaml"), []byte("rules:\n  - idd: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rule := "rules: [{id: a, title: A, entity: ip, when: status == 418, sliding_window: {window: 1m, tiers: [{at: 1, weight: 1}]}, " +
		"signal: {category: bot, reason: a, half_life: 1m}, phase: observe}]\n"
	if err := os.WriteFile(filepath.Join(blind, "a.yaml"), []byte(rule), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{brief("evaluate", "--min-recall=1", "--rules="+blind), cli.Failed, "recall of credential_stuffing is"},
		{[]string{"evaluate", "--events=" + events}, cli.Usage, "-events without -truth"},
		{[]string{"evaluate", "--truth=" + truth}, cli.Usage, "-truth goes with -events"},
		{[]string{"evaluate", "--events=" + events, "--truth=" + truth}, cli.Failed, "no record is an event of format weir"},
		{[]string{"evaluate", "--events=" + events, "--truth=" + events}, cli.Usage, "line 1"},
		{[]string{"evaluate", "--rules=a,b,c"}, cli.Usage, "name one, or two"},
		{[]string{"evaluate", "--rules=default," + broken}, cli.Failed, "the rules of " + broken + " are not right:"},
		{[]string{"evaluate", "--rules=" + dir + "/absent"}, cli.Usage, "name a directory"},
		{[]string{"evaluate", "--kinds=nonsense"}, cli.Usage, `"nonsense" is none of`},
		{[]string{"evaluate", "--days=0"}, cli.Usage, "duration"},
		{[]string{"evaluate", "--partitions=0"}, cli.Usage, "1 to 1024"},
		{[]string{"generate", "--from=yesterday"}, cli.Usage, "-from"},
		{[]string{"generate", "--variants=loud"}, cli.Usage, `"loud" is none of`},
	} {
		_, err := said(t, c.args...)
		var coded *cli.Error
		if !errors.As(err, &coded) || coded.Code != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q with status %d", c.args, err, c.want, c.code)
		}
	}
}
