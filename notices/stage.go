// Package notices is a stage beside the stream: it reads signals, and tells people
// about them.
//
// Signals are gathered in groups, and channels deliver what is due of them. What is
// due is a function of the signal log and a file, so that a worker that takes over
// goes on where the last one was.
package notices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/rules"
)

// Config configures the stage.
type Config struct {
	File string `yaml:"file" doc:"file that says who is told about signals, and of which; empty: nobody is. docs/notices.md describes it"`
}

// Topics names the topics of signals and of dead letters, the group of the stage, and
// the stream.
type Topics struct{ Signals, Dead, Group, Stream string }

// Dependencies are the connections of a stage.
type Dependencies struct {
	Log        kafka.Reader
	Rules      *rules.Set        // whose names the file may use
	Live       func() *rules.Set // those in force now; nil: Rules
	Watch      *watch.Watch      // watches the loops; nil: none
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: not registered
}

// DeadReason is the reason of a dead letter that is a notice which nobody took.
const DeadReason = "notice"

const (
	// DrainTimeout limits how long notices that are under way are waited for when a
	// partition is given up.
	DrainTimeout = 5 * time.Second
	// behind is how far the time of the log is behind the clock at the log's end, ms.
	behind = 5000
	// commitInterval is how often progress is committed.
	commitInterval = time.Second
)

// Stage tells of the signals of the partitions that its consumer group assigns to it.
type Stage struct {
	Dependencies
	topics  Topics
	metrics *metrics
	file    *watched // nil: nobody is told
	out     *dispatcher
}

// New reads the file, and the secrets that it names. It starts nothing.
func New(cfg Config, topics Topics, deps Dependencies) (*Stage, error) {
	if deps.Log == nil || deps.Rules == nil || deps.Logger == nil {
		return nil, errors.New("notices: a dependency is missing")
	}
	if deps.Live == nil {
		deps.Live = func() *rules.Set { return deps.Rules }
	}
	s := &Stage{Dependencies: deps, topics: topics}
	if cfg.File != "" {
		var err error
		if s.file, err = watchFile(cfg.File, deps.Rules, deps.Logger); err != nil {
			return nil, err
		}
		s.file.taken = func(f *File) { s.out.use(f) }
	}
	s.metrics = newMetrics(deps.Registerer, s.file)
	s.out = &dispatcher{log: deps.Logger.With("stage", "notices"), metrics: s.metrics, bury: s.bury, lines: map[string]*line{}}
	return s, nil
}

// Run reads until ctx ends, then leaves the group.
func (s *Stage) Run(ctx context.Context) error {
	if s.file == nil {
		<-ctx.Done()
		return nil
	}
	// Channels outlast ctx, so that what is under way can be finished.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	s.out.start(serving, s.file.current.Load())
	running.Go(func() { s.file.run(serving) })
	err := s.Log.Join(ctx, s.topics.Group, s.topics.Signals, s.own)
	stop()
	running.Wait()
	s.out.running.Wait()
	return err
}

// own runs an owner for as long as the partition is ours. If it fails, it restarts
// from the last commit.
func (s *Stage) own(ctx context.Context, l *kafka.Lease) (err error) {
	pprof.Do(ctx, pprof.Labels("stage", "notices", "partition", strconv.Itoa(int(l.Partition))), func(ctx context.Context) {
		err = s.read(ctx, l)
	})
	if err != nil {
		return fmt.Errorf("partition %d: %w", l.Partition, err)
	}
	return nil
}

func (s *Stage) read(ctx context.Context, l *kafka.Lease) error {
	loop := s.Watch.Loop("notices, partition " + strconv.Itoa(int(l.Partition)))
	defer loop.Done()
	defer s.metrics.gone(l.Partition)
	log, in := s.Logger.With("stage", "notices", "topic", s.topics.Signals, "partition", l.Partition), kafka.NewWatchedReader(s.Log, loop)
	o := &owner{
		Stage: s, partition: l.Partition, loop: loop, book: newBook(s.file.current.Load(), s.topics.Stream, about{s.Live}),
		kafka: in, commit: kafka.WatchedCommit(loop, l.Commit), log: log,
		in: kafka.Follower{
			Log: in, Topic: s.topics.Signals, Partition: l.Partition, Logger: log,
			Unreadable: func(n int64) { s.metrics.unreadable.Add(float64(n)) }, Lost: func(n int64) { s.metrics.lost.Add(float64(n)) },
		},
	}
	defer s.out.withdraw(o)
	if err := o.begin(ctx); err != nil {
		return err
	}
	return o.run(ctx)
}

// bury keeps a notice that was given up.
func (s *Stage) bury(ctx context.Context, channel string, n *Notice, cause error) error {
	body, err := n.Encode()
	if err != nil {
		return err
	}
	header := func(key, value string) kafka.Header { return kafka.Header{Key: key, Value: []byte(value)} }
	return s.Log.Produce(ctx, s.topics.Dead, []kafka.Produce{{Records: []kafka.Outgoing{{
		Key: []byte("notice-" + n.ID + "-" + channel), Value: body,
		Headers: []kafka.Header{
			header(ingest.HeaderReason, DeadReason), header(ingest.HeaderDetail, "channel "+channel+": "+visible(cause.Error())),
			header(ingest.HeaderTopic, s.topics.Signals), header(ingest.HeaderReceived, strconv.FormatInt(time.Now().UnixMilli(), 10)),
		},
	}}}})
}

// about answers from the rules in force.
type about struct{ live func() *rules.Set }

// Title implements [About].
func (a about) Title(rule string) string {
	if r := a.live().Rule(rule); r != nil {
		return r.Title
	}
	return ""
}

// Groups implements [About].
func (a about) Groups(rule string) bool {
	r := a.live().Rule(rule)
	return r != nil && r.Members != nil
}

type metrics struct {
	signals    *prometheus.CounterVec
	sent       *prometheus.CounterVec
	failed     *prometheus.CounterVec
	dead       *prometheus.CounterVec
	pending    *prometheus.GaugeVec
	open       *prometheus.GaugeVec
	oldest     *prometheus.GaugeVec
	lag        *prometheus.GaugeVec
	waited     *telemetry.Ages
	unreadable prometheus.Counter
	lost       prometheus.Counter
}

func newMetrics(r prometheus.Registerer, file *watched) *metrics {
	f := promauto.With(r)
	m := &metrics{
		signals: f.NewCounterVec(prometheus.CounterOpts{Name: "weir_notices_signals_total", Help: "Signals that were read, by outcome: counted in a group; repeated, because detect wrote it before; below what is told; silenced; unwanted by every channel; canary, because weir canary caused it."}, []string{"outcome"}),
		sent:    f.NewCounterVec(prometheus.CounterOpts{Name: "weir_notices_sent_total", Help: "Notices that a receiver took, by channel and status."}, []string{"channel", "status"}),
		failed:  f.NewCounterVec(prometheus.CounterOpts{Name: "weir_notices_failures_total", Help: "Attempts to deliver a notice that failed, by channel."}, []string{"channel"}),
		dead:    f.NewCounterVec(prometheus.CounterOpts{Name: "weir_notices_given_up_total", Help: "Notices that were not delivered in time, or refused, and are dead letters, by channel."}, []string{"channel"}),
		pending: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_notices_pending", Help: "Notices that wait for delivery, by channel."}, []string{"channel"}),
		oldest:  f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_notices_oldest_timestamp_seconds", Help: "Since when the notice waits that waits longest, Unix seconds, by channel; 0 if none does."}, []string{"channel"}),
		open:    f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_notices_open_groups", Help: "Groups of signals that are not closed, by partition of the signal log."}, []string{"partition"}),
		lag:     f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_notices_lag_records", Help: "Signals not read yet, by partition. The commit is further behind, at the first signal of the oldest open group."}, []string{"partition"}),
		waited: telemetry.NewAges(r, "weir_notices_lag_seconds",
			"Time since a partition of signals was read to its end, or, if it was not, since the newest record that was read was written, by partition."),
		unreadable: f.NewCounter(prometheus.CounterOpts{Name: "weir_notices_unreadable_total", Help: "Records in the topic of signals that are no signals, or cannot be read, and were passed over."}),
		lost:       f.NewCounter(prometheus.CounterOpts{Name: "weir_notices_lost_records_total", Help: "Signals that were deleted from the log before they were read."}),
	}
	for _, o := range outcomes {
		m.signals.WithLabelValues(string(o))
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_notices_file_refused", Help: "1 while the file of notices is wrong or cannot be read, and an older one is in force."}, func() float64 {
		if file != nil && file.refused.Load() {
			return 1
		}
		return 0
	})
	return m
}

// known creates the series of a channel, so that its first failure is a rise.
func (m *metrics) known(channel string) {
	m.failed.WithLabelValues(channel)
	m.dead.WithLabelValues(channel)
	m.waiting(channel, nil)
	for _, s := range []Status{Firing, Update, Resolved} {
		m.sent.WithLabelValues(channel, string(s))
	}
}

// forget ends the gauge of a channel that is gone.
func (m *metrics) forget(channel string) {
	m.pending.DeleteLabelValues(channel)
	m.oldest.DeleteLabelValues(channel)
}

// waiting tells what waits for a channel, the oldest first.
func (m *metrics) waiting(channel string, queue []*delivery) {
	m.pending.WithLabelValues(channel).Set(float64(len(queue)))
	since := 0.0
	if len(queue) > 0 {
		since = float64(queue[0].began.UnixMilli()) / 1000
	}
	m.oldest.WithLabelValues(channel).Set(since)
}

// read tells how far reading is from the end of a partition: next is the offset after
// the last record of the batch that was read.
func (m *metrics) read(partition int32, batch *kafka.Batch, next int64) {
	m.lag.WithLabelValues(strconv.Itoa(int(partition))).Set(float64(max(batch.HighWatermark-next, 0)))
	if t, ok := batch.ReadUpTo(next); ok {
		m.waited.Happened(partition, t)
	}
}

func (m *metrics) gone(partition int32) {
	m.open.DeleteLabelValues(strconv.Itoa(int(partition)))
	m.lag.DeleteLabelValues(strconv.Itoa(int(partition)))
	m.waited.Gone(partition)
}
