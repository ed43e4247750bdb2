// Package audit is a stage beside the stream: it reads the decisions that gates have
// written to Kafka, and writes them to ClickHouse.
//
// Its only state is a position. After a crash it reads again from its last commit,
// and a decision that is written twice is one row.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/internal/watch"
)

// Track stores the decisions of one partition, and versions of policies among them, in
// order.
type Track interface {
	// Append copies d. It blocks while the store is behind, until ctx ends. received
	// is Unix ms.
	Append(ctx context.Context, offset, received int64, d *decision.Record) error
	// AppendVersion copies v, which a gate has put in force, and otherwise does as
	// Append.
	AppendVersion(ctx context.Context, offset, received int64, v *decision.RuleVersion) error
	// Stored returns an offset below which everything appended is acknowledged.
	Stored() int64
	// Drain returns when everything appended is acknowledged.
	Drain(ctx context.Context) error
}

// Topic names the topic of decisions and the group of its readers.
type Topic struct{ Decisions, Group string }

// Dependencies are the connections of a stage.
type Dependencies struct {
	Log        kafka.Reader
	Open       func(partition int32) Track
	Watch      *watch.Watch // watches the loops; nil: none
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: not registered
}

const (
	// commitInterval is how often progress is committed.
	commitInterval = time.Second
	// DrainTimeout limits finishing the work in progress when a partition is given
	// up.
	DrainTimeout = 5 * time.Second
)

// Stage writes the decisions of the partitions that its consumer group assigns to
// it.
type Stage struct {
	Dependencies
	topic   Topic
	metrics *metrics
}

// New checks everything and starts nothing.
func New(topic Topic, deps Dependencies) (*Stage, error) {
	if deps.Log == nil || deps.Open == nil || deps.Logger == nil {
		return nil, errors.New("audit: a dependency is missing")
	}
	return &Stage{Dependencies: deps, topic: topic, metrics: newMetrics(deps.Registerer)}, nil
}

// Run reads until ctx ends, then drains and leaves the group.
func (s *Stage) Run(ctx context.Context) error {
	return s.Log.Join(ctx, s.topic.Group, s.topic.Decisions, s.own)
}

// own runs an owner for as long as the partition is ours. If it fails, it restarts
// from the last commit.
func (s *Stage) own(ctx context.Context, l *kafka.Lease) (err error) {
	pprof.Do(ctx, pprof.Labels("stage", "decisions", "partition", strconv.Itoa(int(l.Partition))), func(ctx context.Context) {
		err = s.read(ctx, l)
	})
	if err != nil {
		return fmt.Errorf("partition %d: %w", l.Partition, err)
	}
	return nil
}

func (s *Stage) read(ctx context.Context, l *kafka.Lease) error {
	next, err := s.committed(ctx, l.Partition)
	if err != nil {
		return fmt.Errorf("read commits: %w", err)
	}
	loop := s.Watch.Loop("decisions, partition " + strconv.Itoa(int(l.Partition)))
	defer loop.Done()
	defer s.metrics.gone(l.Partition)
	log := s.Logger.With("stage", "decisions", "topic", s.topic.Decisions, "partition", l.Partition)
	o := &owner{
		Stage: s, partition: l.Partition, safe: next, loop: loop, store: s.Open(l.Partition), commit: kafka.WatchedCommit(loop, l.Commit), log: log,
		in: kafka.Follower{
			Log: kafka.NewWatchedReader(s.Log, loop), Topic: s.topic.Decisions, Partition: l.Partition, Next: next, Logger: log,
			Unreadable: func(n int64) { s.metrics.refused.Add(float64(n)) }, Lost: func(n int64) { s.metrics.lost.Add(float64(n)) },
		},
	}
	o.in.Restarts = o.restarts
	return o.run(ctx)
}

// committed returns the offset to begin at.
func (s *Stage) committed(ctx context.Context, partition int32) (int64, error) {
	commits, err := s.Log.Committed(ctx, s.topic.Group, s.topic.Decisions)
	if err != nil {
		return 0, err
	}
	for _, c := range commits {
		if c.Partition == partition && c.Offset >= 0 {
			return c.Offset, nil
		}
	}
	ranges, err := s.Log.Offsets(ctx, s.topic.Decisions)
	if err != nil || int(partition) >= len(ranges) {
		return 0, errors.Join(err, ctx.Err())
	}
	return ranges[partition].Start, nil
}

type metrics struct {
	read    prometheus.Counter
	refused prometheus.Counter
	lost    prometheus.Counter
	behind  *prometheus.GaugeVec
	waited  *telemetry.Ages
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		read:    f.NewCounter(prometheus.CounterOpts{Name: "weir_decisions_read_total", Help: "Decisions of gates that were read from Kafka, repeats included."}),
		refused: f.NewCounter(prometheus.CounterOpts{Name: "weir_decisions_unreadable_total", Help: "Records in the topic of decisions that are no decisions, or cannot be read, and were passed over."}),
		lost:    f.NewCounter(prometheus.CounterOpts{Name: "weir_decisions_lost_records_total", Help: "Decisions that were deleted from the log before they were read."}),
		behind:  f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_decisions_lag_records", Help: "Decisions not read yet, by partition."}, []string{"partition"}),
		waited: telemetry.NewAges(r, "weir_decisions_lag_seconds",
			"Time since a partition of decisions was read to its end, or, if it was not, since the newest record that was read was written, by partition."),
	}
}

func (m *metrics) gone(partition int32) {
	m.behind.DeleteLabelValues(strconv.Itoa(int(partition)))
	m.waited.Gone(partition)
}

// lag tells how far reading is from the end of a partition: next is the offset after
// the last record of the batch that was read.
func (m *metrics) lag(partition int32, batch *kafka.Batch, next int64) {
	m.behind.WithLabelValues(strconv.Itoa(int(partition))).Set(float64(batch.HighWatermark - next))
	if t, ok := batch.ReadUpTo(next); ok {
		m.waited.Happened(partition, t)
	}
}
