package main

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/sandbox"
)

// startServers starts Kafka, with the topic of controls, and Redis.
func startServers(t *testing.T) (addr sandbox.Addresses, client *kafka.Client) {
	t.Helper()
	s, err := sandbox.New(sandbox.Config{KafkaAddr: "127.0.0.1:0", RedisAddr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg := app.Defaults()
	cfg.Kafka.Brokers = []string{s.Addresses().Kafka}
	if client, err = kafka.New(cfg.Kafka, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if err := client.CreateTopic(t.Context(), kafka.TopicSpec{Name: "weir.controls", Partitions: 1, Replication: 1}); err != nil {
		t.Fatal(err)
	}
	return s.Addresses(), client
}

// TestWhatPeopleSay runs the commands against Kafka and Redis, and reads what they
// have written.
func TestWhatPeopleSay(t *testing.T) {
	addr, client := startServers(t)
	toKafka := []string{"-kafka.brokers", addr.Kafka}
	toRedis := []string{"-redis.addrs", addr.Redis, "-stream.secret", "an example, never a real secret!"}
	written := 0
	for _, tc := range []struct {
		name   string
		args   []string
		code   int
		want   string
		record string // beginning, after the id
	}{
		{"a false positive", []string{"label", "account:alice", "false_positive", "-rule", "r", "-who", "ann", "-reason", "why", "-for", "1h"}, 0,
			"false_positive of account:alice by ann, for rule r\nWithin seconds the score loses that part, and the rule cannot raise it until 20", "false_positive account alice r ann why 3600"},
		{"of all rules, of an address in another form", []string{"label", "ip:::ffff:203.0.113.9", "false-positive", "-tenant", "shop", "-who", "ann", "-reason", "why"}, 0,
			"for every rule that raises its score", "false_positive ip 203.0.113.9  ann why 2592000"},
		{"a rule that is misspelt", []string{"label", "account:alice", "false_positive", "-rule", "credential-stuffing-ipp", "-who", "ann", "-reason", "why", "-for", "1h"}, 0,
			`warning: the rules here have no rule "credential-stuffing-ipp" (did you mean "credential-stuffing-ip"?); the label was written all the same`, "false_positive account alice credential-stuffing-ipp ann why 3600"},
		{"a true positive", []string{"label", "device:d-81", "true_positive", "-rule", "r", "-who", "ann", "-reason", "why"}, 0, "No score changes.", "true_positive device d-81 r ann why 0"},
		{"a release", []string{"release", "account:alice", "-gates", "0", "-who", "ann", "-reason", "why"}, 0, "release of account:alice by ann\nWithin seconds the score is cleared.\n", "release account alice  ann why 0"},
		{"a release at gates too", []string{"release", "account:alice", "-who", "ann", "-reason", "why"}, 0, "Gates let its requests pass for 5m0s.", "release account alice  ann why 0"},
		{"no reason", []string{"label", "account:alice", "false_positive", "-who", "ann"}, cli.Usage, "-reason: say why", ""},
		{"no label", []string{"label", "account:alice", "nonsense", "-reason", "why"}, cli.Usage, `"nonsense" is no label`, ""},
		{"no entity", []string{"label", "alice", "false_positive", "-reason", "why"}, cli.Usage, `"alice" is no entity: write its kind and its key`, ""},
		{"no kind", []string{"release", "planet:earth", "-reason", "why"}, cli.Usage, `"planet" is no kind of entity: one of account, session`, ""},
		{"no address", []string{"release", "ip:here", "-reason", "why"}, cli.Usage, `"here" is no key of an entity of kind ip`, ""},
		{"for too long", []string{"label", "account:alice", "false_positive", "-who", "ann", "-reason", "why", "-for", "9000h"}, cli.Usage, "8784h0m0s later is possible", ""},
		{"a true positive for a time", []string{"label", "account:alice", "true_positive", "-who", "ann", "-reason", "why", "-for", "1h"}, cli.Usage, "holds nothing back", ""},
		{"members since ever", []string{"label", "ip:203.0.113.9", "false_positive", "-members", "-who", "ann", "-reason", "why", "-since", "9000h"}, cli.Usage, "-since: 9000h0m0s is outside", ""},
		{"a list of no members", []string{"label", "ip:203.0.113.9", "false_positive", "-who", "ann", "-reason", "why", "-list"}, cli.Usage, "add -members", ""},
		{"members, and no ClickHouse", []string{"label", "ip:203.0.113.9", "false_positive", "-members", "-who", "ann", "-reason", "why", "-clickhouse.addrs", "127.0.0.1:1"}, cli.Runtime, "127.0.0.1:1", ""},
		{"at gates for ever", []string{"release", "account:alice", "-who", "ann", "-reason", "why", "-gates", "100000h"}, cli.Usage, "-gates: 100000h0m0s is outside", ""},
		{"what is no subject", []string{"erase", "country:DE", "-who", "ann", "-reason", "why"}, cli.Usage, "a country is no subject", ""},
		{"an erasure without a reason", []string{"erase", "account:alice", "-who", "ann"}, cli.Usage, "-reason: say why", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			cmd := command()
			cmd.SetOut(&out)
			cmd.SetErr(&out)
			args := append(tc.args, toKafka...)
			if tc.args[0] != "label" {
				args = append(args, toRedis...)
			}
			if code := cli.Main(cmd, args, &out); code != tc.code || !strings.Contains(out.String(), tc.want) {
				t.Errorf("%d\n%s\nwant %q", code, out.String(), tc.want)
			}
			if tc.record == "" {
				return
			}
			at := written
			written++
			var b kafka.Batch
			for len(b.Records) < written {
				if err := client.Fetch(t.Context(), "weir.controls", 0, 0, &b); err != nil {
					t.Fatal(err)
				}
			}
			r, err := control.Parse(b.Records[at].Value)
			hold := int64(0)
			if r.Expires > 0 {
				hold = (r.Expires - r.Time) / 1000
			}
			got := strings.Join([]string{r.Action, r.Kind, r.Key, r.Rule, r.Who, r.Reason}, " ")
			if want := tc.record[:strings.LastIndex(tc.record, " ")]; err != nil || got != want || !strings.HasSuffix(tc.record, " "+strconv.FormatInt(hold, 10)) {
				t.Errorf("%q for %d s is written (%v), want %q", got, hold, err, tc.record)
			}
			if strings.Contains(out.String(), "Gates let") { // which is a record of its own
				written++
			}
			if r.Origin != control.FromCommand {
				t.Errorf("it comes from %q", r.Origin)
			}
			if !strings.HasPrefix(out.String(), r.ID+"\n") || string(b.Records[at].Key) != r.ID {
				t.Errorf("the id %s is not printed first, or is not the key %s", r.ID, b.Records[at].Key)
			}
		})
	}
	var b kafka.Batch
	if err := client.Fetch(t.Context(), "weir.controls", 0, 0, &b); err != nil || len(b.Records) != written {
		t.Errorf("%d records are written (%v), want %d", len(b.Records), err, written)
	}
}
