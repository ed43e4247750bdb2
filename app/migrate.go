package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/sink/clickhouse"
)

// Topics configures a stream's topics.
type Topics struct {
	EventPartitions int
	FacetPartitions int
	Replication     int
	EventRetention  time.Duration
}

// TopicDefaults suits one machine. The number of facet partitions cannot be changed
// later without a new incarnation, because entities would move.
func TopicDefaults() Topics {
	return Topics{EventPartitions: 4, FacetPartitions: 8, Replication: 1, EventRetention: 7 * 24 * time.Hour}
}

// Validate reports all errors in t.
func (t Topics) Validate() error {
	switch {
	case t.EventPartitions < 1 || t.EventPartitions > 10_000:
		return fmt.Errorf("%d partitions for events: 1 to 10000 are possible", t.EventPartitions)
	case t.FacetPartitions < 1 || t.FacetPartitions > 10_000:
		return fmt.Errorf("%d partitions for facets: 1 to 10000 are possible", t.FacetPartitions)
	case t.Replication < 1 || t.Replication > 15:
		return fmt.Errorf("replication %d: 1 to 15 is possible", t.Replication)
	case t.EventRetention < time.Hour:
		return fmt.Errorf("retention of events %v: at least an hour is needed to survive an outage", t.EventRetention)
	}
	return nil
}

// insyncFor returns how many replicas must have a write before it is acknowledged.
// The topic stays writable if one of three replicas is lost, or two of five.
func insyncFor(replication int) int { return max(1, replication/2+replication%2) }

// specs lists the topics of a stream with the settings that Weir relies on.
func (t Topics) specs(s StreamConfig) []kafka.TopicSpec {
	insync := strconv.Itoa(insyncFor(t.Replication))
	retention := strconv.FormatInt(t.EventRetention.Milliseconds(), 10)
	base := func(more map[string]string) map[string]string {
		c := map[string]string{"cleanup.policy": "delete", "min.insync.replicas": insync}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	return []kafka.TopicSpec{
		// The append time: with the producer's, one gateway with a wrong clock
		// could keep segments from ever being deleted.
		{Name: s.Topic("events"), Partitions: t.EventPartitions, Replication: t.Replication,
			Config: base(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": retention})},
		// Kept for ever, because the state is rebuilt from it. Its append time
		// tells workers the brokers' time.
		{Name: s.Topic("facets"), Partitions: t.FacetPartitions, Replication: t.Replication,
			Config: base(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": "-1", "max.message.bytes": "8388608"})},
		{Name: s.Topic("dead"), Partitions: 1, Replication: t.Replication,
			Config: base(map[string]string{"retention.ms": retention, "max.message.bytes": "4194304"})},
		{Name: s.Topic("signals"), Partitions: 1, Replication: t.Replication,
			Config: base(map[string]string{"retention.ms": retention})},
		// What people say by hand, with an ACL of its own. It names people, so it
		// is kept no longer than events.
		{Name: s.Topic("controls"), Partitions: 1, Replication: t.Replication,
			Config: base(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": retention})},
		// The append time, as for events: gates have clocks, too.
		{Name: s.Topic("decisions"), Partitions: 1, Replication: t.Replication,
			Config: base(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": retention})},
		// Its offsets are the numbers of pushes, and the last ones are in force.
		{Name: s.Topic("rules"), Partitions: 1, Replication: t.Replication,
			Config: base(map[string]string{"retention.ms": "-1", "max.message.bytes": "8388608"})},
		// A few records, for ever.
		{Name: s.Topic("incarnations"), Partitions: 1, Replication: t.Replication,
			Config: base(map[string]string{"retention.ms": "-1"})},
	}
}

// Migrate creates the topics and tables of a stream, and begins its incarnation. It
// changes nothing that exists. It logs differences from what it would create, and
// returns an error for those that keep a worker from running.
func Migrate(ctx context.Context, cfg Config, topics Topics, log *slog.Logger) error {
	if err := topics.Validate(); err != nil {
		return err
	}
	client, err := kafka.New(cfg.Kafka, log)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer client.Close()
	if err := Reach(ctx, cfg, client, startTimeout); err != nil {
		return err
	}
	if err := migrateTopics(ctx, client, cfg, topics, log); err != nil {
		return err
	}
	if err := clickhouse.Migrate(ctx, cfg.ClickHouse, log); err != nil {
		return cfg.clickhouseServer().advise(err, cfg.ClickHouse.DialTimeout)
	}
	log.Info("tables ready", "database", cfg.ClickHouse.Database)
	return nil
}

func migrateTopics(ctx context.Context, client *kafka.Client, cfg Config, topics Topics, log *slog.Logger) error {
	var differences []Finding
	partitions := map[string]int{}
	for _, spec := range topics.specs(cfg.Stream) {
		if err := client.CreateTopic(ctx, spec); errors.Is(err, kafka.ErrTooFewBrokers) {
			return fmt.Errorf("topic %s: %w; replication %d needs as many brokers, and a single one takes -replication 1", spec.Name, err, topics.Replication)
		} else if err != nil {
			return fmt.Errorf("topic %s: %w", spec.Name, err)
		}
		have, err := client.Describe(ctx, spec.Name)
		if err != nil {
			return fmt.Errorf("topic %s: %w", spec.Name, err)
		}
		partitions[spec.Name] = have.Partitions
		differences = append(differences, differ(spec, have)...)
		log.Info("topic ready", "topic", spec.Name, "partitions", have.Partitions)
	}
	is, err := cfg.Stream.incarnation(partitions[cfg.Stream.Topic("events")], partitions[cfg.Stream.Topic("facets")])
	if err != nil {
		return err
	}
	was, err := record(ctx, client, cfg.Stream.Topic("incarnations"), is)
	if err != nil {
		return fmt.Errorf("incarnation %d: %w", is.Number, err)
	}
	log.Info("incarnation ready", "incarnation", was.Number, "event_partitions", was.EventPartitions, "facet_partitions", was.FacetPartitions)
	found, err := checkStream(ctx, client, cfg, cfg.facetRetention())
	if err != nil {
		return err
	}
	logWarnings(log, append(found, unsaid(differences, found)...))
	return refusals(found)
}

// differ lists how an existing topic differs from what would be created.
func differ(want, have kafka.TopicSpec) (all []Finding) {
	add := func(setting, is, should string) {
		all = append(all, Finding{Subject: "topic " + want.Name, Setting: setting,
			Problem: fmt.Sprintf("its %s is %s; made anew it would be %s", setting, is, should), Fix: "it is left as it is"})
	}
	if have.Partitions != want.Partitions {
		add("number of partitions", strconv.Itoa(have.Partitions), strconv.Itoa(want.Partitions))
	}
	if have.Replication != want.Replication {
		add("replication", strconv.Itoa(have.Replication), strconv.Itoa(want.Replication))
	}
	for _, k := range slices.Sorted(maps.Keys(want.Config)) {
		if v, said := have.Config[k]; said && v != want.Config[k] {
			add(k, v, want.Config[k])
		}
	}
	return all
}

// unsaid removes differences in settings that other findings cover.
func unsaid(differences, found []Finding) []Finding {
	return slices.DeleteFunc(differences, func(d Finding) bool {
		return slices.ContainsFunc(found, func(f Finding) bool { return f.Subject == d.Subject && f.Setting == d.Setting })
	})
}
