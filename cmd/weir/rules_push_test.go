package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// pushedRecords are those of a push that every partition has.
func pushedRecords(t *testing.T, number uint64, dir, who string) (all []kafka.Outgoing) {
	t.Helper()
	set, err := rules.Load(os.DirFS(dir), detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := set.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []map[string]any{
		{"v": 1, "incarnation": 1, "step": "proposed", "id": who + set.Version, "lane": "live", "rules": set.Version, "count": len(set.Rules), "time": 1763892000123, "who": who, "source": "./rules", "reason": "case 81", "bundle": bundle},
		{"v": 1, "incarnation": 1, "step": "decided", "number": number},
		{"v": 1, "incarnation": 1, "step": "done", "number": number},
	} {
		value, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, kafka.Outgoing{Value: value})
	}
	return all
}

// TestPushingRules runs the commands against a Kafka without workers. How workers follow
// is tested in app.
func TestPushingRules(t *testing.T) {
	addr, client := startServers(t)
	for _, spec := range []kafka.TopicSpec{{Name: "weir.rules", Partitions: 1}, {Name: "weir.incarnations", Partitions: 1}, {Name: "weir.events", Partitions: 2}, {Name: "weir.facets", Partitions: 2}} {
		spec.Replication = 1
		if err := client.CreateTopic(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Produce(t.Context(), "weir.incarnations", []kafka.Produce{{Records: []kafka.Outgoing{{Value: []byte(`{"incarnation":1}`)}}}}); err != nil {
		t.Fatal(err)
	}
	fails := strings.Replace(ruleFile, "weight: 30}]\n  - id: untested", "weight: 31}]\n  - id: untested", 1)
	dirs := inFolders(t, ruleFile, strings.Replace(ruleFile, "title: never tried", "title: never tried\n    severity: info", 1), fails,
		strings.NewReplacer("id: untested", "id: other", "at: 2, weight: 30", "at: 2, weight: 30}, {at: 9, weight: 40").Replace(ruleFile), strings.Replace(ruleFile, "auth ==", "auht ==", 1))
	right, same, failing, other, wrong := dirs[0], dirs[1], dirs[2], dirs[3], dirs[4]
	for _, tc := range []struct {
		name   string
		args   []string
		code   int
		stdout string // parts, separated by |
		stderr string
	}{
		{"no rules are named", []string{"push"}, cli.Usage, "", "name a directory of rules"},
		{"two ways at once", []string{"push", right, "-previous"}, cli.Usage, "", "name a directory of rules"},
		{"no live rules", []string{"push", "-none"}, cli.Usage, "", "a stream has live rules always"},
		{"rules that are wrong", []string{"push", wrong}, cli.Failed, "", "auht"},
		{"rules that fail their tests", []string{"push", failing}, cli.Failed, "", "1 tests of the rules fail, and nothing is pushed; weir rules test " + failing},
		{"another incarnation", []string{"push", right, "-stream.incarnation", "2"}, cli.Usage, "", "the stream weir is in its incarnation 1"},
		{"nothing to go back to", []string{"push", "-previous"}, cli.Usage, "", "-previous: no way back: no other rules were pushed before"},
		{"a push that is not there", []string{"push", "-number", "3"}, cli.Usage, "", "there is no push 3"},
		{"nothing was pushed", []string{"pushed"}, cli.OK, "no rules were pushed", ""},
		{"no shadow rules to end", []string{"push", "-shadow", "-none"}, cli.Runtime, "", "nothing was pushed to the shadow lane"},
		{"what would change in the setting", []string{"push", other, "-dry-run", "-rules", right}, cli.OK, "compared with the setting rules|  added    other\n|  removed  untested: its state is lost, and its part of every score\n|  changed  two-failures: sliding_window; keeps its state\n|  0 rules behave", ""},
		{"without workers", []string{"push", right, "-timeout", "3s"}, cli.Runtime, "push 1: waits", "nothing has changed: ingest of the raw partitions 0, 1 does not say that it follows (-timeout is over)"},
		{"nothing to go back from", []string{"push", "-previous"}, cli.Usage, "", "push 1 of ann was only proposed, and has changed nothing"},
		{"it is listed", []string{"pushed"}, cli.OK, "1     live   proposed |2 rules| ann  " + right, ""},
		{"and found in force", []string{"", right, "bob"}, 0, "", ""}, // 2 to 4
		{"the same", []string{"push", same, "-dry-run"}, cli.OK, "in force: |push 2 of bob\n|  2 rules behave as before, and keep their state", ""},
		{"others", []string{"", other, "carl"}, 0, "", ""}, // 5 to 7
		{"the way back", []string{"push", "-previous", "-dry-run"}, cli.OK, "push 5 of carl\n|  added    untested\n", ""},
		{"a number", []string{"push", "-number", "5", "-dry-run"}, cli.OK, "  2 rules behave as before", ""},
		{"all are listed, the last first", []string{"pushed"}, cli.OK, "5     live   in force   |2025-11-23T10:00:00Z  carl  ./rules  \"case 81\"\n2     live   replaced   |bob|\n1     live   given up  ", ""},
	} {
		if tc.args[0] == "" {
			number := map[string]uint64{"bob": 2, "carl": 5}[tc.args[2]]
			if err := client.Produce(t.Context(), "weir.rules", []kafka.Produce{{Records: pushedRecords(t, number, tc.args[1], tc.args[2])}}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		args := append(tc.args, "-kafka.brokers", addr.Kafka)
		if tc.args[0] == "push" {
			args = append(args, "-who", "ann")
		}
		code, out, stderr := runRules(args...)
		if code != tc.code || !strings.Contains(stderr, tc.stderr) {
			t.Errorf("%s: %d\n%s", tc.name, code, stderr)
		}
		for part := range strings.SplitSeq(tc.stdout, "|") {
			if !strings.Contains(out, part) {
				t.Errorf("%s: it does not say %q:\n%s", tc.name, part, out)
			}
		}
	}
}

func TestHelpOfPushFitsATerminal(t *testing.T) {
	cmd := rulesPushCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	if err := cmd.Help(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
