package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/internal/kafka"
)

func TestSwitchCommands(t *testing.T) {
	addr, client := startServers(t)
	if err := client.CreateTopic(t.Context(), kafka.TopicSpec{Name: "weir.rules", Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	pushed := inFolders(t, strings.Replace(ruleFile, "id: untested", "id: freshly-pushed", 1))[0]
	target := []string{"-redis.addrs", addr.Redis, "-kafka.brokers", addr.Kafka, "-stream.secret", "an example, never a real secret!"}
	for _, tc := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"a rule", []string{"set", "rule", "scraping-breadth-token", "-for", "2h", "-owner", "ann", "-reason", "false signals"}, 0, `"rule:scraping-breadth-token" is set to off until 20`, ""},
		{"a rule that does not exist", []string{"set", "rule", "scraping-bredth-token", "-owner", "ann", "-reason", "why"}, 0, "", `warning: the rules here have no rule "scraping-bredth-token"; did you mean "scraping-breadth-token"?; it was written all the same`},
		{"a detector that does not exist", []string{"set", "detector", "nonesuch", "-owner", "ann", "-reason", "why"}, 0, "", `warning: the rules here have no detector "nonesuch"`},
		{"rules that cannot be read", []string{"set", "rule", "x", "-owner", "ann", "-reason", "why", "-rules", filepath.Join(t.TempDir(), "none")}, 0, "", "warning: names of rules and detectors are not checked"},
		{"a block", []string{"set", "block", "ip", "::ffff:203.0.113.9", "-owner", "ann", "-reason", "incident"}, 0, `"entity:ip:/203.0.113.9" is set to deny until `, ""},
		{"a release", []string{"set", "release", "ip", "203.0.113.9", "-owner", "ann", "-reason", "a mistake"}, 0, "is set to allow until ", ""},
		{"the block again", []string{"set", "block", "ip", "203.0.113.9", "-owner", "ann", "-reason", "incident"}, 0, " on every gate of stream weir, within a second (Redis at " + addr.Redis + ")\n", ""},
		{"all of them", []string{"list"}, 0, `"entity:ip:/203.0.113.9"`, ""},
		{"one is cleared", []string{"clear", "rule", "scraping-breadth-token", "-owner", "ann", "-reason", "fixed"}, 0, `"rule:scraping-breadth-token" holds no longer, on every gate`, ""},
		{"again", []string{"clear", "rule", "scraping-breadth-token", "-owner", "ann", "-reason", "fixed"}, 0, "", `warning: "rule:scraping-breadth-token" was not in force here`},
		{"rules are pushed", nil, 0, "", ""},
		{"a rule that was pushed", []string{"set", "rule", "freshly-pushed", "-owner", "ann", "-reason", "why"}, 0, "", ""},
		{"a rule of the setting", []string{"set", "rule", "scraping-breadth-token", "-owner", "ann", "-reason", "why"}, 0, "", ""},
		{"a typing error, where all names are known", []string{"set", "rule", "freshly-pusht", "-owner", "ann", "-reason", "why"}, cli.Usage, "", `neither push 1, which is in force, nor the rules here have a rule "freshly-pusht"; did you mean "freshly-pushed"?`},
		{"no detector, where all names are known", []string{"set", "detector", "sliding_windo", "-owner", "ann", "-reason", "why"}, cli.Usage, "", `have a detector "sliding_windo"; did you mean "sliding_window"?`},
		{"its end may have any name", []string{"clear", "rule", "x", "-owner", "ann", "-reason", "why"}, 0, "", "warning: "},
		{"without a reason", []string{"set", "global", "-owner", "ann"}, cli.Usage, "", "reason: say why"},
		{"an unknown action", []string{"set", "block", "ip", "203.0.113.9", "-action", "explode", "-owner", "ann", "-reason", "why"}, cli.Usage, "", `action "explode" is none of`},
		{"a block that allows", []string{"set", "block", "ip", "203.0.113.9", "-action", "allow", "-owner", "ann", "-reason", "why"}, cli.Usage, "", "release the entity"},
		{"an unknown subject", []string{"set", "planet", "earth", "-owner", "ann", "-reason", "why"}, cli.Usage, "", `"planet" is none of`},
		{"no entity", []string{"set", "block", "ip", "unknown", "-owner", "ann", "-reason", "why"}, cli.Usage, "", `"ip" "unknown" is no entity`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.args == nil {
				if err := client.Produce(t.Context(), "weir.rules", []kafka.Produce{{Records: pushedRecords(t, 1, pushed, "bob")}}); err != nil {
					t.Fatal(err)
				}
				return
			}
			var stdout, stderr bytes.Buffer
			cmd := command()
			cmd.SetOut(&stdout)
			cmd.SetErr(&stderr)
			code := cli.Main(cmd, append(append([]string{"switch"}, tc.args...), target...), &stderr)
			if code != tc.code || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) || (tc.stderr == "") != (stderr.Len() == 0) {
				t.Errorf("%d\n%s\n%s", code, stdout.String(), stderr.String())
			}
		})
	}
	var b kafka.Batch
	if err := client.Fetch(t.Context(), "weir.controls", 0, 0, &b); err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, one := range b.Records {
		r, err := control.Parse(one.Value)
		if err != nil || r.Who != "ann" || r.Reason == "" || r.Origin != control.FromCommand {
			t.Errorf("%+v, %v", r, err)
		}
		told = append(told, r.Action+" "+r.Kind+" "+r.Key+" "+r.Gate)
	}
	if want := "gate_off rule scraping-breadth-token ,gate_off rule scraping-bredth-token ,gate_off detector nonesuch ,gate_off rule x ,gate_block ip 203.0.113.9 deny,gate_release ip 203.0.113.9 ,gate_block ip 203.0.113.9 deny,gate_on rule scraping-breadth-token ,gate_on rule scraping-breadth-token ,gate_off rule freshly-pushed ,gate_off rule scraping-breadth-token ,gate_on rule x "; strings.Join(told, ",") != want {
		t.Errorf("the audit is told of\n%s, want\n%s", strings.Join(told, ","), want)
	}
}

// TestAGateSaysWhatHoldsThere, asked over its admin listener.
func TestAGateSaysWhatHoldsThere(t *testing.T) {
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	defer gate.Close()
	for args, want := range map[string]string{
		"set global":        `"global" is set to off until `,
		"clear tenant shop": `"tenant:shop" holds no longer, at the gate ` + gate.URL + "; other gates have it once that gate reaches Redis\n",
	} {
		var stdout, stderr bytes.Buffer
		cmd := command()
		cmd.SetOut(&stdout)
		code := cli.Main(cmd, append(append([]string{"switch"}, strings.Fields(args)...), "-owner", "ann", "-reason", "why", "-gate", gate.URL), &stderr)
		if code != 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("%s: %d\n%s%s", args, code, &stdout, &stderr)
		}
	}
}

// TestASwitchWithoutKafkaHolds, and the operator hears that the audit lacks it.
func TestASwitchWithoutKafkaHolds(t *testing.T) {
	server := miniredis.RunT(t)
	target := []string{"-redis.addrs", server.Addr(), "-stream.secret", "an example, never a real secret!"}
	var stdout, stderr bytes.Buffer
	cmd := command()
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	code := cli.Main(cmd, append([]string{"switch", "set", "global", "-owner", "ann", "-reason", "why", "-kafka.brokers", "127.0.0.1:1"}, target...), &stderr)
	if code != 0 || !strings.Contains(stderr.String(), "it is not in the audit: ") {
		t.Errorf("%d %s", code, &stderr)
	}
	if code = cli.Main(cmd, append([]string{"switch", "list"}, target...), &stderr); code != 0 || !strings.Contains(stdout.String(), `"global"`) {
		t.Errorf("%d %s", code, &stdout)
	}
}

// TestTheCommandsOfTheDocumentationWork runs those that go to Redis.
func TestTheCommandsOfTheDocumentationWork(t *testing.T) {
	page, err := os.ReadFile("../../docs/switches.md")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := startServers(t)
	ran := 0
	for line := range strings.Lines(string(page)) {
		words, ok := strings.CutPrefix(strings.TrimSpace(line), "weir ")
		if !ok || strings.Contains(words, " -gate ") {
			continue
		}
		subject, reason, quoted := strings.Cut(words, ` -reason "`)
		args := strings.Fields(subject)
		if quoted {
			args = append(args, "-reason", strings.TrimSuffix(reason, `"`))
		}
		var stdout, stderr bytes.Buffer
		cmd := command()
		cmd.SetOut(&stdout)
		cmd.SetErr(&stderr)
		code := cli.Main(cmd, append(args, "-redis.addrs", addr.Redis, "-kafka.brokers", addr.Kafka, "-stream.secret", "an example, never a real secret!"), &stderr)
		if code != 0 || stderr.Len() > 0 {
			t.Errorf("%s%d %s", line, code, &stderr)
		}
		ran++
	}
	if ran < 6 {
		t.Errorf("the page has %d commands", ran)
	}
}
