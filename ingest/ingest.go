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
	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
)

// EventTrack stores the events of one raw partition, in order.
type EventTrack interface {
	// Append copies e. It blocks while the store is behind, until ctx ends.
	Append(ctx context.Context, offset int64, owner uint64, received int64, e *event.Event) error
	// Stored returns an offset below which every appended event is acknowledged.
	Stored() int64
	// Drain returns when everything appended is acknowledged.
	Drain(ctx context.Context) error
}

// Topics names the topics and the groups of one stream.
type Topics struct {
	Events, Facets, Dead string
	Group                string

	// Controls is the topic of control records, of one partition, with its own
	// group; "": there is none, as in a history stream.
	Controls, ControlsGroup string
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
	Log          kafka.Reader
	Epochs       Epochs
	OpenEvents   func(partition int32) EventTrack
	OpenControls func() ControlTrack                            // nil where the topics name none of controls
	OpenDead     func(controls bool, partition int32) DeadTrack // nil: dead letters are only in their topic
	Watch        *watch.Watch                                   // watches the sources' loops; nil: none
	Logger       *slog.Logger
	Registerer   prometheus.Registerer // nil: not registered
	Now          func() time.Time      // nil: time.Now
	ClockAhead   func() time.Duration  // how far Now is ahead of the brokers' clock; nil: not at all
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
	if deps.Log == nil || deps.Epochs == nil || deps.OpenEvents == nil || deps.Logger == nil || topics.Controls != "" && deps.OpenControls == nil {
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
	if s.Topics.Controls == "" {
		return s.join(ctx, s.events())
	}
	raw, err := s.Log.Partitions(ctx, s.Topics.Events)
	if err != nil {
		return fmt.Errorf("topic %s: %w; `weir migrate` creates it", s.Topics.Events, err)
	}
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return s.join(ctx, s.events()) })
	both.Go(func() error {
		return s.join(ctx, input{topic: s.Topics.Controls, group: s.Topics.ControlsGroup, first: int32(raw), controls: true})
	})
	return both.Wait()
}

// join runs an owner for each partition of the input that is ours, for as long as it
// is. One that fails restarts from the last commit.
func (s *Stage) join(ctx context.Context, in input) error {
	return s.Log.Join(ctx, in.group, in.topic, func(ctx context.Context, l *kafka.Lease) (err error) {
		pprof.Do(ctx, pprof.Labels("stage", "ingest", "partition", strconv.Itoa(int(in.first+l.Partition))), func(ctx context.Context) {
			err = s.read(ctx, l, in)
		})
		if err != nil {
			return fmt.Errorf("%s/%d: %w", in.topic, l.Partition, err)
		}
		return nil
	})
}

// read takes one partition over and reads it.
func (s *Stage) read(ctx context.Context, l *kafka.Lease, in input) error {
	if in.controls && l.Partition > 0 {
		s.Logger.Error("a topic of controls has one partition; the others are not read", "topic", in.topic, "partition", l.Partition)
		kafka.LeaveAlone(ctx)
		return nil
	}
	from, err := s.committed(ctx, l.Partition, in)
	if err != nil {
		return fmt.Errorf("read commits: %w", err)
	}
	o := s.newOwner(l, in)
	defer o.loop.Done()
	defer s.metrics.gone(o.source)
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

func (s *Stage) committed(ctx context.Context, partition int32, in input) (kafka.Commit, error) {
	commits, err := s.Log.Committed(ctx, in.group, in.topic)
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

func (s *Stage) newOwner(l *kafka.Lease, in input) *owner {
	what := "ingest, partition " + strconv.Itoa(int(l.Partition))
	if in.controls {
		what = "ingest, controls"
	}
	loop := s.Watch.Loop(what)
	o := &owner{
		Stage:  s,
		intake: intake{partition: l.Partition, source: in.first + l.Partition, log: s.Logger.With("stage", "ingest", "topic", in.topic, "partition", l.Partition)},
		input:  in,
		Log:    kafka.NewWatchedReader(s.Log, loop),
		Epochs: s.Epochs,
		loop:   loop,
		commit: kafka.WatchedCommit(loop, l.Commit),
	}
	if in.controls {
		o.controls = watchedControls{s.OpenControls(), loop}
		o.store, o.Epochs = o.controls, controlsEpoch{}
	} else {
		o.events = watchedEvents{s.OpenEvents(l.Partition), loop}
		o.store = o.events
	}
	if s.OpenDead != nil {
		o.letters = watchedDead{s.OpenDead(in.controls, l.Partition), loop}
		o.store = tracks{o.store, o.letters}
	}
	return o
}
