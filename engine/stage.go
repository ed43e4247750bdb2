package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/rules"
)

// Topics names the topics and the group of one stream.
type Topics struct {
	Events, Facets, Signals string
	Group                   string
}

// StageConfig holds the operator's settings for detection.
type StageConfig struct {
	Config `yaml:",inline"`

	CommitInterval time.Duration `yaml:"commit_interval" doc:"how often progress is committed"`
	DrainTimeout   time.Duration `yaml:"drain_timeout" doc:"time limit for finishing the work in progress when a partition is given up"`
	AcceptLoss     bool          `yaml:"accept_loss" doc:"start with the rest of the facet log although it no longer begins at 0 and no snapshot joins it"`

	SnapshotInterval time.Duration `yaml:"snapshot_interval" doc:"how often a partition's state is written to the snapshot store, if anything has changed"`
	SnapshotKeep     int           `yaml:"snapshot_keep" doc:"number of snapshots kept of a partition"`
}

// StageDefaults returns values that suit most installations.
func StageDefaults() StageConfig {
	return StageConfig{
		Config: Defaults(), CommitInterval: time.Second, DrainTimeout: 5 * time.Second,
		SnapshotInterval: time.Minute, SnapshotKeep: 3,
	}
}

// Validate reports all errors in c.
func (c StageConfig) Validate() error {
	errs := []error{c.Config.Validate()}
	if c.CommitInterval < 50*time.Millisecond || c.CommitInterval > time.Minute {
		errs = append(errs, fmt.Errorf("detect.commit_interval: %v is outside 50ms … 1m", c.CommitInterval))
	}
	if c.DrainTimeout < 100*time.Millisecond || c.DrainTimeout > time.Minute {
		errs = append(errs, fmt.Errorf("detect.drain_timeout: %v is outside 100ms … 1m", c.DrainTimeout))
	}
	if c.SnapshotInterval < time.Second || c.SnapshotInterval > 24*time.Hour {
		errs = append(errs, fmt.Errorf("detect.snapshot_interval: %v is outside 1s … 24h", c.SnapshotInterval))
	}
	if c.SnapshotKeep < 1 || c.SnapshotKeep > 1000 {
		errs = append(errs, fmt.Errorf("detect.snapshot_keep: %d is outside 1 … 1000", c.SnapshotKeep))
	}
	return errors.Join(errs...)
}

// Dependencies are the connections of a stage.
type Dependencies struct {
	Log         kafka.Log
	Rules       *rules.Set
	Hasher      facet.Hasher
	Incarnation uint64
	Sinks       []SinkOpener  // beside the two logs of the stream, in the order in which they are written
	Snapshots   SnapshotStore // nil: none are kept, and the log is replayed from its start
	Pushed      PushedRules   // for a state that begins after a declared loss; nil: nothing was pushed
	Watch       *watch.Watch  // of the owners' loops; nil: nobody's
	Logger      *slog.Logger
	Registerer  prometheus.Registerer // nil: not registered
}

// PushedRules returns the rules of a lane that were pushed and are in force in every
// facet partition: the number and the bundle of their switch record. The number is 0 if
// none were pushed, the bundle empty if shadow rules have ended.
type PushedRules func(ctx context.Context, lane facet.Lane) (number uint64, bundle []byte, err error)

// Stage runs detect for the facet partitions that its consumer group assigns to it.
type Stage struct {
	Dependencies
	Topics Topics

	cfg               StageConfig
	signalsPartitions int32
	metrics           *stageMetrics
	encoding          chan struct{} // holds the place of the one partition that encodes a snapshot
}

// NewStage checks everything and starts nothing.
func NewStage(cfg StageConfig, topics Topics, deps Dependencies) (*Stage, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil || deps.Rules == nil || len(deps.Sinks) == 0 || deps.Logger == nil {
		return nil, errors.New("detect: a dependency is missing")
	}
	s := &Stage{
		Dependencies: deps, Topics: topics, cfg: cfg, metrics: newStageMetrics(deps.Registerer),
		encoding: make(chan struct{}, 1),
	}
	s.metrics.expect(deps.Rules)
	return s, nil
}

// Run detects until ctx ends, then drains and leaves the group.
func (s *Stage) Run(ctx context.Context) error {
	n, err := s.Log.Partitions(ctx, s.Topics.Signals)
	if err != nil {
		return fmt.Errorf("topic %s: %w; `weir migrate` creates it", s.Topics.Signals, err)
	}
	s.signalsPartitions = int32(n)
	if s.cfg.Sources, err = s.Log.Partitions(ctx, s.Topics.Events); err != nil {
		return fmt.Errorf("topic %s: %w; `weir migrate` creates it", s.Topics.Events, err)
	}
	if s.cfg.Partitions, err = s.Log.Partitions(ctx, s.Topics.Facets); err != nil {
		return fmt.Errorf("topic %s: %w; `weir migrate` creates it", s.Topics.Facets, err)
	}
	return s.Log.Join(ctx, s.Topics.Group, s.Topics.Facets, s.own)
}

// own runs an owner for as long as the partition is ours.
func (s *Stage) own(ctx context.Context, l *kafka.Lease) (err error) {
	pprof.Do(ctx, pprof.Labels("stage", "detect", "partition", strconv.Itoa(int(l.Partition))), func(ctx context.Context) {
		err = s.run(ctx, l)
	})
	return err
}

func (s *Stage) run(ctx context.Context, l *kafka.Lease) error {
	commits, err := s.Log.Committed(ctx, s.Topics.Group, s.Topics.Facets)
	if err != nil {
		return fmt.Errorf("read commits: %w", err)
	}
	p := l.Partition
	extent, err := kafka.Extent(ctx, s.Log, s.Topics.Facets, p)
	if err != nil {
		return err
	}
	loop := s.Watch.Loop("detect, partition " + strconv.Itoa(int(p)))
	defer loop.Done()
	log := s.Logger.With("stage", "detect", "topic", s.Topics.Facets, "partition", p)
	o := &owner{
		Stage: s, partition: p, loop: loop, Log: kafka.Watched{Log: s.Log, Loop: loop}, log: log,
		snapshots: snapshots{Stage: s, log: log, partition: p}, commit: kafka.WatchedCommit(loop, l.Commit),
	}
	return o.run(ctx, committedOffset(commits, p), extent)
}

func committedOffset(commits []kafka.Commit, partition int32) int64 {
	for _, c := range commits {
		if c.Partition == partition {
			return max(c.Offset, 0)
		}
	}
	return 0
}
