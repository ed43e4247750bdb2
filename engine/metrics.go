package engine

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

type stageMetrics struct {
	signals  *prometheus.CounterVec
	shadow   *prometheus.CounterVec
	excepted *prometheus.CounterVec
	lost     prometheus.Counter
	stopped  prometheus.Gauge
	behind   *prometheus.GaugeVec
	waited   *telemetry.Ages
	entities *prometheus.GaugeVec
	applied  *prometheus.GaugeVec
	evicted  *prometheus.GaugeVec
	refused  *prometheus.GaugeVec
	timers   *prometheus.GaugeVec
	cohorts  *prometheus.GaugeVec
	dropped  *prometheus.GaugeVec
	bytes    *prometheus.GaugeVec

	commitsAge       *telemetry.Ages
	snapshotsAge     *telemetry.Ages
	snapshotsBytes   *prometheus.GaugeVec
	snapshotsSeconds *prometheus.HistogramVec
	snapshotsFailed  *prometheus.CounterVec
}

func newStageMetrics(r prometheus.Registerer) *stageMetrics {
	f := promauto.With(r)
	partition := []string{"partition"}
	return &stageMetrics{
		signals:  f.NewCounterVec(prometheus.CounterOpts{Name: "weir_detect_signals_total", Help: "Signals emitted, by rule, without those that weir canary causes."}, []string{"rule", "phase"}),
		shadow:   f.NewCounterVec(prometheus.CounterOpts{Name: "weir_detect_shadow_signals_total", Help: "Signals of shadow rules, by rule, without those that weir canary causes."}, []string{"rule", "phase"}),
		excepted: f.NewCounterVec(prometheus.CounterOpts{Name: "weir_detect_exception_hits_total", Help: "Facets that a rule did not see because of an exception, by rule and number of the exception, from 1."}, []string{"rule", "exception"}),
		lost:     f.NewCounter(prometheus.CounterOpts{Name: "weir_detect_declared_losses_total", Help: "Losses of facet log that an operator accepted."}),
		stopped:  f.NewGauge(prometheus.GaugeOpts{Name: "weir_detect_stopped_partitions", Help: "Facet partitions that stopped because of an error."}),
		behind:   f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_lag_records", Help: "Facet records not read yet, by partition."}, partition),
		waited: telemetry.NewAges(r, "weir_detect_lag_seconds",
			"Time since a facet partition was read to its end, or, if it was not, since the newest record that was read was written, by partition."),
		entities: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_entities", Help: "Entities with state, by partition."}, partition),
		applied: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_facets", Help: "Facets in the ledger, by partition and outcome."},
			[]string{"partition", "outcome"}),
		evicted: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_evicted_entities",
			Help: "Entities that lost their state because of the cap, by partition and kind."}, []string{"partition", "kind"}),
		refused: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_refused_facets",
			Help: "Facets that reached no rule because the cap left no room for the state of their entities, by partition and kind."}, []string{"partition", "kind"}),
		timers:  f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_timers", Help: "Entities with a timer, by partition."}, partition),
		cohorts: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_cohorts", Help: "Cohorts with state, by partition."}, partition),
		dropped: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_dropped_timers",
			Help: "Entities that lost timers with their state because of the cap, by partition and kind."}, []string{"partition", "kind"}),
		bytes: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_state_bytes", Help: "Memory of the state, by partition."}, partition),
		commitsAge: telemetry.NewAges(r, "weir_detect_commit_age_seconds",
			"Time since something could have been committed and nothing was, by partition; rebuilding state counts."),
		snapshotsAge: telemetry.NewAges(r, "weir_detect_snapshot_age_seconds",
			"Age of the oldest state that is in no snapshot, by partition; counted from the take-over of the partition."),
		snapshotsBytes: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_snapshot_bytes", Help: "Size of the latest snapshot written, by partition."}, partition),
		snapshotsSeconds: f.NewHistogramVec(prometheus.HistogramOpts{Name: "weir_detect_snapshot_seconds",
			Help: "Time to encode a snapshot and to store it, attempts included, by step.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"step"}),
		snapshotsFailed: f.NewCounterVec(prometheus.CounterOpts{Name: "weir_detect_snapshot_failures_total",
			Help: "Failures of snapshots, by reason: store, damaged, differs, retention, drain."}, []string{"reason"}),
	}
}

func (m *stageMetrics) snapshotWritten(partition int32, bytes int, encode, store time.Duration) {
	m.snapshotsBytes.WithLabelValues(strconv.Itoa(int(partition))).Set(float64(bytes))
	m.snapshotsSeconds.WithLabelValues("encode").Observe(encode.Seconds())
	m.snapshotsSeconds.WithLabelValues("store").Observe(store.Seconds())
}

// gone removes the metrics of a partition that is given up.
func (m *stageMetrics) gone(partition int32) {
	of := prometheus.Labels{"partition": strconv.Itoa(int(partition))}
	for _, g := range []*prometheus.GaugeVec{m.behind, m.entities, m.applied, m.bytes, m.evicted, m.refused, m.timers, m.cohorts, m.dropped, m.snapshotsBytes} {
		g.DeletePartialMatch(of)
	}
	m.waited.Gone(partition)
	m.commitsAge.Gone(partition)
	m.snapshotsAge.Gone(partition)
}

func (m *stageMetrics) snapshotFailure(reason string) {
	m.snapshotsFailed.WithLabelValues(reason).Inc()
}

func (m *stageMetrics) fired(out *Output) {
	count(m.signals, out.Signals)
	count(m.shadow, out.Shadow)
}

// count leaves out what weir canary causes: with it, no rule would ever seem quiet.
func count(of *prometheus.CounterVec, signals []score.Signal) {
	for i := range signals {
		if event.IsCanary(signals[i].Entity.Tenant) {
			continue
		}
		of.WithLabelValues(signals[i].Rule, signals[i].Phase.String()).Inc()
	}
}

// lag tells how far reading is from the end of a partition: next is the offset after
// the last record of the batch that was read.
func (m *stageMetrics) lag(partition int32, batch *kafka.Batch, next int64) {
	m.behind.WithLabelValues(strconv.Itoa(int(partition))).Set(float64(batch.HighWatermark - next))
	if t, ok := batch.ReadUpTo(next); ok {
		m.waited.Happened(partition, t)
	}
}

// expect makes the series of a set's rules exist from the start. If one began with
// the first signal of a rule, that signal would not show in its rate; and a rule that
// is quiet could not be told from one that is gone.
func (m *stageMetrics) expect(set *rules.Set) {
	for _, r := range set.Rules {
		m.signals.WithLabelValues(r.ID, r.Phase.String())
	}
}

func (m *stageMetrics) state(partition int32, p *Partition) {
	id := strconv.Itoa(int(partition))
	t := p.Ledger().Total()
	m.entities.WithLabelValues(id).Set(float64(p.Entities()))
	m.applied.WithLabelValues(id, "applied").Set(float64(t.Applied))
	m.applied.WithLabelValues(id, "late").Set(float64(t.Late))
	m.applied.WithLabelValues(id, "unadmitted").Set(float64(t.Unadmitted))
	m.applied.WithLabelValues(id, "duplicate").Set(float64(t.Duplicate))
	m.applied.WithLabelValues(id, "told").Set(float64(t.Told))
	m.applied.WithLabelValues(id, "heard").Set(float64(t.Heard))
	m.applied.WithLabelValues(id, "unknown").Set(float64(t.Unknown))
	p.TakeHits(func(rule string, exception int, n uint64) {
		m.excepted.WithLabelValues(rule, strconv.Itoa(exception+1)).Add(float64(n))
	})
	m.bytes.WithLabelValues(id).Set(float64(p.Bytes()))
	m.timers.WithLabelValues(id).Set(float64(p.Timers()))
	m.cohorts.WithLabelValues(id).Set(float64(p.Cohorts()))
	for _, k := range facet.Kinds() {
		if n := p.Evicted(k); n > 0 {
			m.evicted.WithLabelValues(id, k.String()).Set(float64(n))
		}
		if n := p.DroppedTimers(k); n > 0 {
			m.dropped.WithLabelValues(id, k.String()).Set(float64(n))
		}
		if n := p.Refused(k); n > 0 {
			m.refused.WithLabelValues(id, k.String()).Set(float64(n))
		}
	}
}
