package app

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/weirdev/weir/internal/klog"
	"github.com/weirdev/weir/sink/clickhouse"
)

// Topics says how a stream's topics are made.
type Topics struct {
	EventPartitions int
	FacetPartitions int
	Replication     int
	EventRetention  time.Duration
}

// TopicDefaults suit one machine. The number of facet partitions cannot be
// changed later without a new incarnation: entities would move.
func TopicDefaults() Topics {
	return Topics{EventPartitions: 4, FacetPartitions: 8, Replication: 1, EventRetention: 7 * 24 * time.Hour}
}

// Validate reports what is wrong with t.
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

// specs lists the topics of a stream with the settings that Weir relies on.
func (t Topics) specs(s StreamConfig) []klog.TopicSpec {
	insync := strconv.Itoa(max(1, t.Replication/2+t.Replication%2))
	retention := strconv.FormatInt(t.EventRetention.Milliseconds(), 10)
	base := func(more map[string]string) map[string]string {
		c := map[string]string{"cleanup.policy": "delete", "min.insync.replicas": insync}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	return []klog.TopicSpec{
		// The append time: with the producer's, one gateway with a wrong clock
		// could keep segments from ever being deleted.
		{Name: s.Topic("events"), Partitions: t.EventPartitions, Replication: t.Replication,
			Config: base(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": retention})},
		// Kept for ever: the state is rebuilt from it. Its time of appending is how
		// workers learn the brokers' time.
		{Name: s.Topic("facets"), Partitions: t.FacetPartitions, Replication: t.Replication,
			Config: base(map[string]string{"message.timestamp.type": "LogAppendTime", "retention.ms": "-1", "max.message.bytes": "8388608"})},
		{Name: s.Topic("dead"), Partitions: 1, Replication: t.Replication,
			Config: base(map[string]string{"retention.ms": retention, "max.message.bytes": "4194304"})},
		{Name: s.Topic("signals"), Partitions: 1, Replication: t.Replication,
			Config: base(map[string]string{"retention.ms": retention})},
	}
}

// Migrate makes the topics and the tables that a stream needs, and leaves alone
// what is there already.
func Migrate(ctx context.Context, cfg Config, topics Topics, log *slog.Logger) error {
	if err := topics.Validate(); err != nil {
		return err
	}
	kafka, err := klog.New(cfg.Kafka, log)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer kafka.Close()
	for _, spec := range topics.specs(cfg.Stream) {
		if err := kafka.CreateTopic(ctx, spec); err != nil {
			return fmt.Errorf("topic %s: %w", spec.Name, err)
		}
		have, err := kafka.Partitions(ctx, spec.Name)
		if err != nil {
			return fmt.Errorf("topic %s: %w", spec.Name, err)
		}
		if have != spec.Partitions && spec.Name == cfg.Stream.Topic("facets") {
			return fmt.Errorf("topic %s has %d partitions, not %d; entities would move, so this needs a new incarnation of the stream",
				spec.Name, have, spec.Partitions)
		}
		log.Info("topic ready", "topic", spec.Name, "partitions", have)
	}
	if err := clickhouse.Migrate(ctx, cfg.ClickHouse, log); err != nil {
		return fmt.Errorf("clickhouse: %w", err)
	}
	log.Info("tables ready", "database", cfg.ClickHouse.Database)
	return nil
}
