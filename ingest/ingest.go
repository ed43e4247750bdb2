// Package ingest is stage one: it reads raw records, decodes and completes them,
// and writes each as an event to the event store and as facets to the facet log,
// one for each entity that any rule looks at.
//
// Its only state is a position. After a crash it reads again from its last commit,
// and detect recognises what is written twice. It evaluates no rule.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
)

// Log is the part of Kafka that ingest uses.
type Log interface {
	kafka.Log
	NextReadable(ctx context.Context, topic string, partition int32, offset int64) (int64, error)
}

// EventTrack stores the events of one raw partition, in order.
type EventTrack interface {
	// Append copies e. It blocks while the store is behind, until ctx ends.
	Append(ctx context.Context, offset int64, owner uint64, received int64, e *event.Event) error
	// Stored returns an offset below which every appended event is acknowledged.
	Stored() int64
	// Drain returns when everything appended is acknowledged.
	Drain(ctx context.Context) error
}

// Topics names the topics and the group of one stream.
type Topics struct {
	Events, Facets, Dead string
	Group                string
}

// Shared is what all sources of a stage share, as long as the stream has the same
// incarnation.
type Shared struct {
	Incarnation uint64
	Hasher      facet.Hasher
	History     bool
}

// Dependencies are the connections of a stage.
type Dependencies struct {
	Log        Log
	Epochs     Epochs
	OpenEvents func(partition int32) EventTrack
	Watch      *watch.Watch // watches the sources' loops; nil: none
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: time.Now
	ClockAhead func() time.Duration  // how far Now is ahead of the brokers' clock; nil: not at all
}

// Stage runs ingest for the partitions that its consumer group assigns to it.
type Stage struct {
	Shared
	Dependencies
	Topics Topics

	cfg            Config
	destinations   int
	deadPartitions int32
	metrics        *metrics
}

// New checks everything and starts nothing. It only checks the settings in cfg that
// belong to an epoch; the epoch applies them.
func New(cfg Config, topics Topics, shared Shared, deps Dependencies) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil || deps.Epochs == nil || deps.OpenEvents == nil || deps.Logger == nil {
		return nil, errors.New("ingest: a dependency is missing")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.ClockAhead == nil {
		deps.ClockAhead = func() time.Duration { return 0 }
	}
	return &Stage{Shared: shared, Dependencies: deps, Topics: topics, cfg: cfg, metrics: newMetrics(deps.Registerer)}, nil
}

// Run reads until ctx ends, then drains and leaves the group.
func (s *Stage) Run(ctx context.Context) error {
	n, err := s.Log.Partitions(ctx, s.Topics.Facets)
	if err != nil {
		return fmt.Errorf("topic %s: %w; `weir migrate` creates it", s.Topics.Facets, err)
	}
	d, err := s.Log.Partitions(ctx, s.Topics.Dead)
	if err != nil {
		return fmt.Errorf("topic %s: %w; `weir migrate` creates it", s.Topics.Dead, err)
	}
	s.destinations, s.deadPartitions = n, int32(d)
	return s.Log.Join(ctx, s.Topics.Group, s.Topics.Events, s.own)
}

// own runs an owner for as long as the partition is ours. If it fails, it restarts
// from the last commit.
func (s *Stage) own(ctx context.Context, l *kafka.Lease) (err error) {
	pprof.Do(ctx, pprof.Labels("stage", "ingest", "partition", strconv.Itoa(int(l.Partition))), func(ctx context.Context) {
		err = s.read(ctx, l)
	})
	if err != nil {
		return fmt.Errorf("partition %d: %w", l.Partition, err)
	}
	return nil
}

// read takes one partition over and reads it.
func (s *Stage) read(ctx context.Context, l *kafka.Lease) error {
	from, err := s.committed(ctx, l.Partition)
	if err != nil {
		return fmt.Errorf("read commits: %w", err)
	}
	o := s.newOwner(l)
	defer o.loop.Done()
	defer s.metrics.gone(l.Partition)
	err = o.open(ctx, from)
	if err == nil {
		o.log.Info("reading", "offset", o.next, "owner", o.progress.Owner, "epoch", o.epoch.Name)
		err = o.run(ctx)
	}
	if errors.Is(err, errRefused) {
		s.refuse(ctx, o, err)
	}
	return err
}

func (s *Stage) committed(ctx context.Context, partition int32) (kafka.Commit, error) {
	commits, err := s.Log.Committed(ctx, s.Topics.Group, s.Topics.Events)
	for _, c := range commits {
		if c.Partition == partition {
			return c, err
		}
	}
	return kafka.Commit{Partition: partition, Offset: -1}, err
}

// refuse stops only this partition. It logs the reason, and holds the partition for
// a while, because another owner would fail in the same way.
func (s *Stage) refuse(ctx context.Context, o *owner, err error) {
	o.log.Error("partition stopped", "offset", o.next, "error", err)
	s.metrics.stopped.Inc()
	defer s.metrics.stopped.Dec()
	o.loop.Waiting()
	kafka.LeaveAlone(ctx)
}

func (s *Stage) newOwner(l *kafka.Lease) *owner {
	loop := s.Watch.Loop("ingest, partition " + strconv.Itoa(int(l.Partition)))
	return &owner{
		Stage:  s,
		intake: intake{partition: l.Partition, log: s.Logger.With("stage", "ingest", "topic", s.Topics.Events, "partition", l.Partition)},
		Log:    watchedLog{kafka.Watched{Log: s.Log, Loop: loop}, s.Log},
		loop:   loop,
		commit: kafka.WatchedCommit(loop, l.Commit),
		store:  watchedEvents{s.OpenEvents(l.Partition), loop},
	}
}
