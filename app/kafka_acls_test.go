package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"

	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testkit"
)

// principals are those that deploy/kafka/acls.sh knows.
var principals = []string{"gateway", "weir-worker", "weir-gate", "weir-gate-controls", "weir-analyst", "weir-eraser", "weir-migrate", "weir-check", "weir-console", "weir-canary", "weir-dead", "weir-keda", "weir-rules"}

// aclBroker is an Apache Kafka that lets nobody do anything but the administrator,
// and each principal what the script says.
type aclBroker struct {
	addr  string
	admin *kafkago.Client
}

func startACLBroker(t *testing.T) aclBroker {
	t.Helper()
	jaas := `org.apache.kafka.common.security.plain.PlainLoginModule required username="admin" password="admin" user_admin="admin"`
	for _, p := range principals {
		jaas += fmt.Sprintf(" user_%s=%q", p, p)
	}
	s := testkit.StartKafka(t,
		"listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT", "inter.broker.listener.name=PLAINTEXT",
		"sasl.enabled.mechanisms=PLAIN", "sasl.mechanism.inter.broker.protocol=PLAIN", "listener.name.plaintext.plain.sasl.jaas.config="+jaas+";",
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:admin;User:ANONYMOUS")
	return aclBroker{s.Addr, &kafkago.Client{Addr: kafkago.TCP(s.Addr), Transport: &kafkago.Transport{SASL: plain.Mechanism{Username: "admin", Password: "admin"}}}}
}

// as returns a configuration and a client of a principal, which gives up soon.
func (b aclBroker) as(t *testing.T, principal string) (Config, *kafka.Client) {
	t.Helper()
	cfg := Defaults()
	cfg.Stream.Secret = "an example, never a real secret!"
	cfg.Kafka.Brokers = []string{b.addr}
	cfg.Kafka.SASL = kafka.SASL{Mechanism: "PLAIN", Username: principal, Password: principal}
	c, err := kafka.New(cfg.Kafka, slog.New(slog.DiscardHandler), kafka.WithPatience(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return cfg, c
}

// grant runs the script with a kafka-acls.sh of ours, which writes its arguments down,
// and has the broker add what they say.
func (b aclBroker) grant(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	written := filepath.Join(dir, "acls")
	fake := filepath.Join(dir, "kafka-acls.sh")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho \"$@\" >>"+written+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	script := exec.Command("../deploy/kafka/acls.sh", "--bootstrap-server", b.addr)
	script.Env = append(os.Environ(), "KAFKA_ACLS="+fake)
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(written)
	if err != nil {
		t.Fatal(err)
	}
	var all []kafkago.ACLEntry
	for line := range strings.Lines(string(text)) {
		all = append(all, entries(t, strings.Fields(line))...)
	}
	if len(all) < 30 {
		t.Fatalf("only %d rules were found", len(all))
	}
	res, err := b.admin.CreateACLs(t.Context(), &kafkago.CreateACLsRequest{ACLs: all})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(res.Errors...); err != nil {
		t.Fatal(err)
	}
}

// entries reads the arguments of kafka-acls.sh.
func entries(t *testing.T, args []string) (all []kafkago.ACLEntry) {
	t.Helper()
	var principal string
	var operations []kafkago.ACLOperationType
	var resources []kafkago.ACLEntry
	pattern := kafkago.PatternTypeLiteral
	for i := 0; i < len(args); i++ {
		value := func() string { i++; return args[i] }
		switch args[i] {
		case "--add", "--force":
		case "--bootstrap-server":
			value()
		case "--allow-principal":
			principal = value()
		case "--operation":
			var o kafkago.ACLOperationType
			if err := o.UnmarshalText([]byte(value())); err != nil {
				t.Fatal(err)
			}
			operations = append(operations, o)
		case "--topic":
			resources = append(resources, kafkago.ACLEntry{ResourceType: kafkago.ResourceTypeTopic, ResourceName: value()})
		case "--group":
			resources = append(resources, kafkago.ACLEntry{ResourceType: kafkago.ResourceTypeGroup, ResourceName: value()})
		case "--resource-pattern-type":
			if err := pattern.UnmarshalText([]byte(value())); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("kafka-acls.sh has no argument %s", args[i])
		}
	}
	for _, r := range resources {
		for _, o := range operations {
			r.ResourcePatternType, r.Principal, r.Host, r.Operation, r.PermissionType = pattern, principal, "*", o, kafkago.ACLPermissionTypeAllow
			all = append(all, r)
		}
	}
	return all
}

// TestPrincipalsMayWhatTheyNeedAndNoMore sets a stream up on a Kafka with the rules of
// deploy/kafka/acls.sh, each step as its own principal.
func TestPrincipalsMayWhatTheyNeedAndNoMore(t *testing.T) {
	b := startACLBroker(t)
	cfg, migrator := b.as(t, "weir-migrate")
	if err := migrateTopics(t.Context(), migrator, cfg, TopicDefaults(), slog.New(slog.DiscardHandler)); !errors.Is(err, kafka.ErrDenied) {
		t.Fatalf("without rules: %v", err)
	}
	b.grant(t)
	if err := migrateTopics(t.Context(), migrator, cfg, TopicDefaults(), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("weir-migrate: %v", err)
	}
	for _, p := range []string{"weir-worker", "weir-check"} {
		cfg, c := b.as(t, p)
		found, err := checkStream(t.Context(), c, cfg, cfg.facetRetention())
		if err != nil || refusals(found) != nil {
			t.Errorf("%s: %v, %v", p, err, found)
		}
		for _, f := range found {
			if strings.Contains(f.Problem, "may not be read") {
				t.Errorf("%s: %v", p, f)
			}
		}
	}
	for _, c := range []struct{ principal, reads, writes string }{
		{"gateway", "", "events"},
		{"weir-worker", "events facets signals decisions controls rules incarnations", "facets signals dead"},
		{"weir-gate", "", "events decisions"},
		{"weir-gate-controls", "", "events decisions controls"},
		{"weir-analyst", "rules", "controls"},
		{"weir-eraser", "", "controls"},
		{"weir-migrate", "incarnations", "incarnations"},
		{"weir-check", "events incarnations rules", ""},
		{"weir-console", "dead rules", "controls"},
		{"weir-canary", "signals", "events"},
		{"weir-dead", "dead", "events"},
		{"weir-keda", "", ""},
		{"weir-rules", "rules incarnations", "rules facets"},
	} {
		_, client := b.as(t, c.principal)
		for _, what := range streamTopics {
			topic := cfg.Stream.Topic(what)
			var batch kafka.Batch
			reads := client.Fetch(t.Context(), topic, 0, 0, &batch)
			writes := client.Produce(t.Context(), topic, []kafka.Produce{{Records: []kafka.Outgoing{{Value: []byte("{}")}}}})
			check := func(did string, err error, may bool) {
				// A topic that a principal may not even describe does not exist for it.
				denied := errors.Is(err, kafka.ErrDenied) || errors.Is(err, kafka.ErrUnknownTopic)
				if may && err != nil || !may && !denied {
					t.Errorf("%s %s %s: %v; may it: %v", c.principal, did, what, err, may)
				}
			}
			check("reads", reads, strings.Contains(" "+c.reads+" ", " "+what+" "))
			check("writes", writes, strings.Contains(" "+c.writes+" ", " "+what+" "))
		}
	}
	_, worker := b.as(t, "weir-worker")
	for group, topic := range map[string]string{"ingest": "events", "detect": "facets", "decisions": "decisions", "controls": "controls", "notices": "signals"} {
		if err := joins(t, worker, cfg.Stream.Group(group), cfg.Stream.Topic(topic)); err != nil {
			t.Errorf("a worker in the group %s: %v", group, err)
		}
	}
	for _, p := range []string{"weir-eraser", "weir-keda"} {
		_, c := b.as(t, p)
		if _, err := c.Committed(t.Context(), cfg.Stream.Group("ingest"), cfg.Stream.Topic("events")); err != nil {
			t.Errorf("%s reads how far ingest is: %v", p, err)
		}
	}
	_, pusher := b.as(t, "weir-rules")
	set, err := LoadRules("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := cfg.Stream.IsPresent(ctx, pusher); err != nil {
		t.Errorf("whoever pushes rules reads the incarnation: %v", err)
	}
	_, err = NewPusher(cfg.Stream, pusher, func(string) {}).Push(ctx, push.Request{Rules: set, Who: "ann"})
	if err == nil || !strings.Contains(err.Error(), "nothing has changed: ingest of the raw partitions 0, 1, 2, 3") {
		t.Errorf("a push without workers: %v", err)
	}
	_, gate := b.as(t, "weir-gate")
	if err := joins(t, gate, cfg.Stream.Group("ingest"), cfg.Stream.Topic("events")); err == nil {
		t.Error("a gate joins the group of ingest")
	}
}

// joins takes a partition over in a group, commits, and leaves.
func joins(t *testing.T, c *kafka.Client, group, topic string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	committed := false
	err := c.Join(ctx, group, topic, func(ctx context.Context, l *kafka.Lease) error {
		err := l.Commit(ctx, 0, "")
		if err == nil && l.Partition == 0 {
			committed = true
			cancel()
		}
		<-ctx.Done()
		return err
	})
	if err == nil && !committed {
		err = errors.New("nothing was committed")
	}
	return err
}
