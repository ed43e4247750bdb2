package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/testkit"
)

func broker(t *testing.T) string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

var streams atomic.Int64

// newStream returns the configuration of an unused stream, and a client.
func newStream(t *testing.T, addr string) (Config, *kafka.Client) {
	t.Helper()
	cfg := Defaults()
	cfg.Stream.Name = fmt.Sprintf("s%d-%d", time.Now().UnixNano(), streams.Add(1))
	cfg.Stream.Secret = "a secret of the tests"
	cfg.Kafka.Brokers = []string{addr}
	c, err := kafka.New(cfg.Kafka, slog.New(slog.DiscardHandler), kafka.WithPatience(1200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return cfg, c
}

// makeTopics makes the topics of a stream as migrate does, with the changes in
// edit: "facets retention.ms=1000", "events partitions=3", "dead none".
func makeTopics(t *testing.T, c *kafka.Client, cfg Config, topics Topics, edits ...string) {
	t.Helper()
	specs := topics.specs(cfg.Stream)
	for _, e := range edits {
		what, change, _ := strings.Cut(e, " ")
		setting, value, _ := strings.Cut(change, "=")
		at := slices.IndexFunc(specs, func(s kafka.TopicSpec) bool { return s.Name == cfg.Stream.Topic(what) })
		switch setting {
		case "none":
			specs = slices.Delete(specs, at, at+1)
		case "partitions":
			_, _ = fmt.Sscan(value, &specs[at].Partitions)
		default:
			specs[at].Config[setting] = value
		}
	}
	for _, s := range specs {
		if err := c.CreateTopic(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// begin records an incarnation with these topics.
func begin(t *testing.T, c *kafka.Client, cfg Config, topics Topics) {
	t.Helper()
	i, err := cfg.Stream.incarnation(topics.EventPartitions, topics.FacetPartitions)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := record(t.Context(), c, cfg.Stream.Topic("incarnations"), i); err != nil {
		t.Fatal(err)
	}
}

// check expects exactly the given findings.
func check(t *testing.T, c *kafka.Client, cfg Config, retention time.Duration, want ...string) {
	t.Helper()
	found, err := checkStream(t.Context(), c, cfg, retention)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range found {
		got = append(got, strings.ReplaceAll(f.String(), cfg.Stream.Name, "S"))
		if f.Fix == "" {
			t.Errorf("%s: it is not said what to do", f)
		}
	}
	for _, w := range want {
		at := slices.IndexFunc(got, func(g string) bool { return strings.Contains(g, w) })
		if at < 0 {
			t.Errorf("not found: %s", w)
			continue
		}
		got = slices.Delete(got, at, at+1)
	}
	for _, g := range got {
		t.Errorf("found as well: %s", g)
	}
}

func TestWhatAWorkerRefusesToRunOn(t *testing.T) {
	three := TopicDefaults()
	three.Replication = 3
	addr := broker(t)
	for _, c := range []struct {
		name      string
		topics    Topics
		retention time.Duration // required retention of facets
		edits     []string
		want      []string
	}{
		{"what migrate makes", TopicDefaults(), 0, nil, nil},
		{"what migrate makes on a cluster", three, 0, nil, nil},
		{"a topic that is missing", three, 0, []string{"dead none"}, []string{"error: topic S.dead: does not exist; `weir migrate` makes it"}},
		{"compacted topics", three, 0, []string{"events cleanup.policy=compact", "facets cleanup.policy=compact,delete", "signals cleanup.policy=compact"},
			[]string{"error: topic S.events: is compacted", "error: topic S.facets: is compacted (cleanup.policy=compact,delete): state could not be rebuilt; set it: kafka-configs.sh --bootstrap-server " + addr + " --alter --topic S.facets --add-config cleanup.policy=delete"}},
		{"facets that end, without snapshots", three, 0, []string{"facets retention.ms=604800000"}, []string{"error: topic S.facets: keeps facets for 168h0m0s: without snapshots"}},
		{"facets that are cut by size, without snapshots", three, 0, []string{"facets retention.bytes=1000000"}, []string{"error: topic S.facets: is limited: without snapshots"}},
		{"facets that last longer than snapshots need", three, time.Hour, []string{"facets retention.ms=7200000"}, nil},
		{"facets that do not last as long as snapshots need", three, time.Hour, []string{"facets retention.ms=60000"}, []string{"error: topic S.facets: keeps facets for 1m0s: state is rebuilt from a snapshot and what follows, which needs 1h0m0s"}},
		{"facets that are cut by size", three, time.Hour, []string{"facets retention.bytes=1000000"}, []string{"warning: topic S.facets: keeps 1000000 bytes"}},
		{"raw events that vanish within an hour", three, 0, []string{"events retention.ms=60000"}, []string{"error: topic S.events: keeps events for 1m0s"}},
		{"raw events that are cut by size", three, 0, []string{"events retention.bytes=1000000"}, []string{"warning: topic S.events: keeps 1000000 bytes"}},
		{"gateways' clocks", three, 0, []string{"events message.timestamp.type=CreateTime"}, []string{"warning: topic S.events: is CreateTime"}},
		{"one replica that suffices", three, 0, []string{"facets min.insync.replicas=1"}, []string{"error: topic S.facets: has 3 replicas, and acknowledges what only one has"}},
		{"more replicas in sync than there are", TopicDefaults(), 0, []string{"dead min.insync.replicas=2"}, []string{"error: topic S.dead: has 1 replicas, and takes writes only with 2 in sync"}},
		{"batches that are refused", three, 0, []string{"facets max.message.bytes=1048588", "signals max.message.bytes=100000", "dead max.message.bytes=1048588"},
			[]string{"error: topic S.facets: takes batches of 1048588 bytes", "error: topic S.signals: takes batches of 100000 bytes", "error: topic S.dead: takes batches of 1048588 bytes"}},
		{"incarnations that are forgotten", three, 0, []string{"incarnations retention.ms=1000000000", "incarnations cleanup.policy=compact"},
			[]string{"error: topic S.incarnations: is compacted", "error: topic S.incarnations: forgets after 277h46m40s"}},
		{"all at once", three, 0, []string{"events none", "facets retention.ms=1000", "signals min.insync.replicas=1"},
			[]string{"error: topic S.events: does not exist", "error: topic S.facets: keeps facets for 1s", "error: topic S.signals: has 3 replicas"}},
		{"pushed rules that are forgotten", three, 0, []string{"rules partitions=2", "rules retention.ms=1000000000", "rules retention.bytes=1000000", "rules cleanup.policy=compact", "rules max.message.bytes=1048588"},
			[]string{"error: topic S.rules: has 2 partitions: rules that were pushed would have no order", "error: topic S.rules: forgets after 277h46m40s which rules are in force", "error: topic S.rules: is limited",
				"error: topic S.rules: is compacted (cleanup.policy=compact): rules that were pushed would be forgotten", "error: topic S.rules: takes batches of 1048588 bytes"}},
		{"control records out of order, which vanish", three, 0, []string{"controls partitions=2", "controls retention.ms=60000", "controls cleanup.policy=compact"},
			[]string{"error: topic S.controls: has 2 partitions: what is said about one entity could be read out of order", "error: topic S.controls: keeps control records for 1m0s", "error: topic S.controls: is compacted (cleanup.policy=compact): labels and releases would vanish unread"}},
		{"another number of facet partitions", three, 0, []string{"facets partitions=12"}, []string{"error: topic S.facets: has 12 partitions, and had 8 when incarnation 1 began"}},
		{"another number of raw partitions", three, 0, []string{"events partitions=3"}, []string{"error: topic S.events: has 3 partitions, and had 4 when incarnation 1 began"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, log := newStream(t, addr)
			makeTopics(t, log, cfg, c.topics, c.edits...)
			begin(t, log, cfg, c.topics)
			check(t, log, cfg, c.retention, c.want...)
		})
	}
}

func TestHowLongFacetsMustBeKept(t *testing.T) {
	cfg := Defaults()
	if got := cfg.facetRetention(); got != 0 {
		t.Errorf("without snapshots: %v", got)
	}
	cfg.Snapshots.URL = "file:///snapshots"
	if got := cfg.facetRetention(); got != time.Hour+4*time.Minute {
		t.Errorf("with a snapshot each minute: %v", got)
	}
	cfg.Detect.SnapshotInterval, cfg.Detect.SnapshotKeep = time.Hour, 3
	if got := cfg.facetRetention(); got != 5*time.Hour {
		t.Errorf("with three that are an hour apart: %v", got)
	}
}

func TestAnIncarnationKeepsWhatItBeganWith(t *testing.T) {
	cfg, log := newStream(t, broker(t))
	makeTopics(t, log, cfg, TopicDefaults())
	check(t, log, cfg, 0, "error: stream S: has no incarnation 1; `weir migrate` begins it")
	begin(t, log, cfg, TopicDefaults())
	check(t, log, cfg, 0)

	other := cfg
	other.Stream.Secret = "another secret of the tests"
	check(t, log, other, 0, "error: stream.secret: is not the one that incarnation 1 began with")
	next := cfg
	next.Stream.Incarnation = 2
	check(t, log, next, 0, "error: stream S: has no incarnation 2")

	// A second worker finds what the first one wrote.
	i, err := cfg.Stream.incarnation(9, 9)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := record(t.Context(), log, cfg.Stream.Topic("incarnations"), i); err != nil || got.FacetPartitions != 8 {
		t.Errorf("recorded is %+v, %v", got, err)
	}
	if strings.Contains(i.Hash, "secret") || len(i.Hash) != 16 {
		t.Errorf("the name of the key is %q", i.Hash)
	}
}

func TestMigrateSaysWhatIsOtherwiseAndLeavesIt(t *testing.T) {
	for name, addr := range map[string]func(t *testing.T) string{
		"embedded": broker, "apache": func(t *testing.T) string { return testkit.Kafka(t) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg, log := newStream(t, addr(t))
			topics := TopicDefaults()
			topics.EventRetention = 24 * time.Hour
			var text bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))
			for range 2 {
				if err := migrateTopics(t.Context(), log, cfg, topics, logger); err != nil || text.Len() > 0 {
					t.Fatalf("a stream is made: %v\n%s", err, text.String())
				}
			}
			check(t, log, cfg, 0)

			topics.EventRetention, topics.FacetPartitions = 48*time.Hour, 16
			if err := migrateTopics(t.Context(), log, cfg, topics, logger); err != nil {
				t.Errorf("differences that do no harm: %v", err)
			}
			for _, want := range []string{
				"its retention.ms is 86400000; made anew it would be 172800000", "its number of partitions is 8; made anew it would be 16", "it is left as it is",
			} {
				if !strings.Contains(text.String(), want) {
					t.Errorf("it does not say: %s\n%s", want, text.String())
				}
			}
			if spec, err := log.Describe(t.Context(), cfg.Stream.Topic("events")); err != nil || spec.Config["retention.ms"] != "86400000" {
				t.Errorf("the topic was changed: %v, %v", spec, err)
			}
		})
	}
}

// On Apache Kafka, topics have the broker's defaults, which differ.
func TestTopicsThatWereMadeByHandOnApacheKafka(t *testing.T) {
	cfg, log := newStream(t, testkit.Kafka(t))
	for _, what := range streamTopics {
		if err := log.CreateTopic(t.Context(), kafka.TopicSpec{Name: cfg.Stream.Topic(what), Partitions: 1, Replication: 1}); err != nil {
			t.Fatal(err)
		}
	}
	check(t, log, cfg, 0,
		"warning: topic S.events: is CreateTime", "error: topic S.facets: keeps facets for 168h0m0s", "error: topic S.facets: takes batches of 1048588 bytes",
		"error: topic S.dead: takes batches of 1048588 bytes", "error: topic S.rules: forgets after 168h0m0s", "error: topic S.rules: takes batches of 1048588 bytes", "error: topic S.incarnations: forgets after 168h0m0s", "error: stream S: has no incarnation 1")
	if err := migrateTopics(t.Context(), log, cfg, TopicDefaults(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "without snapshots") {
		t.Errorf("migrate says %v", err)
	}
}
