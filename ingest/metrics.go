package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/telemetry"
)

type metrics struct {
	accepted prometheus.Counter
	canary   prometheus.Counter
	clipped  prometheus.Counter
	frames   prometheus.Counter
	repeats  prometheus.Counter
	keyless  prometheus.Counter
	refused  prometheus.Counter
	skewed   prometheus.Counter
	delayed  prometheus.Counter
	lost     prometheus.Counter
	skipped  prometheus.Counter
	stopped  prometheus.Gauge
	dead     *prometheus.CounterVec
	filtered prometheus.Counter
	behind   *prometheus.GaugeVec
	waited   *telemetry.Ages
	waitedBy *telemetry.Ages // of control records
	ledger   *prometheus.GaugeVec
	commits  *telemetry.Ages
	open     *prometheus.GaugeVec
	control  prometheus.Counter
	controls *prometheus.CounterVec

	epochs       prometheus.Counter
	brokenEpochs prometheus.Counter
	clock        prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	m := &metrics{
		accepted: f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_events_total", Help: "Raw records that became events, without those of weir canary."}),
		canary:   f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_canary_events_total", Help: "Raw records of weir canary that became events."}),
		clipped:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_clipped_events_total", Help: "Events in which a client value was shortened, escaped or dropped."}),
		frames:   f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_frames_total", Help: "Facet frames written, covers included."}),
		repeats:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_repeats_total", Help: "Raw records that were dropped because the gateway had sent them before."}),
		keyless:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_keyless_records_total", Help: "Raw records with the id of an event and without a key: if they are sent again, they may go to another partition and count twice."}),
		refused:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_refused_events_total", Help: "Events of requests that Weir itself had refused: no rule counts them."}),
		skewed:   f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_skewed_events_total", Help: "Events whose claimed time was moved."}),
		delayed:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_delayed_events_total", Help: "Events whose claimed time is further back than ingest.max_late. Unless ingest.delayed is arrival, no rule counts them."}),
		lost:     f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_lost_records_total", Help: "Raw records that were deleted from the log before they were read."}),
		skipped:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_skipped_records_total", Help: "Raw records that were skipped because they stay unreadable however often they are fetched."}),
		stopped:  f.NewGauge(prometheus.GaugeOpts{Name: "weir_ingest_stopped_partitions", Help: "Raw partitions that stopped because of an error that no retry can fix."}),
		dead:     f.NewCounterVec(prometheus.CounterOpts{Name: "weir_ingest_dead_letters_total", Help: "Raw records that could not be read, by reason."}, []string{"reason"}),
		filtered: f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_filtered_total", Help: "Raw records that the format's filter skipped, such as other messages in an access log."}),
		behind:   f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_ingest_lag_records", Help: "Raw records not read yet, by partition."}, []string{"partition"}),
		waited: telemetry.NewAges(r, "weir_ingest_lag_seconds",
			"Time since a raw partition was read to its end, or, if it was not, since the newest record that was read was written, by partition."),
		waitedBy: telemetry.NewAges(r, "weir_ingest_controls_lag_seconds",
			"Time since a partition of control records was read to its end, or, if it was not, since the newest record that was read was written, by partition."),
		ledger: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_ingest_ledger_records",
			Help: "Raw records and facets in the ledger, by partition and outcome. Fetched is the sum of accepted, repeat, dead, control, skipped and lost; facets are what accepted events emitted."}, []string{"partition", "outcome"}),
		commits:  telemetry.NewAges(r, "weir_ingest_commit_age_seconds", "Time since the last commit, by partition; idle partitions commit too."),
		open:     f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_ingest_held_seconds", Help: "How long reading has waited for the end of a gateway's open transaction, by partition."}, []string{"partition"}),
		control:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_control_records_total", Help: "Raw offsets without a request: transaction markers, records of aborted transactions, ends of history streams."}),
		controls: f.NewCounterVec(prometheus.CounterOpts{Name: "weir_ingest_controls_total", Help: "Control records that became facets, by action."}, []string{"action"}),

		epochs:       f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_epoch_changes_total", Help: "Changes of the rules or data under which a raw partition is read."}),
		brokenEpochs: f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_broken_epochs_total", Help: "Changes of rules or data below the offset that a worker had read when it ended uncleanly, because its epoch could not be loaded."}),
		clock:        f.NewGauge(prometheus.GaugeOpts{Name: "weir_ingest_clock_ahead_seconds", Help: "How far this worker's clock is ahead of the brokers', if by more than 5 s."}),
	}
	// The series exists from the start. If it began with the first dead letter,
	// that letter would not show in its rate.
	for _, reason := range event.Reasons() {
		m.dead.WithLabelValues(reason.String())
	}
	m.dead.WithLabelValues(reasonControl)
	for _, a := range facet.Actions() {
		m.controls.WithLabelValues(a.String())
	}
	return m
}

// gone removes the metrics of a partition that is given up.
func (m *metrics) gone(partition int32) {
	label := strconv.Itoa(int(partition))
	m.behind.DeleteLabelValues(label)
	m.open.DeleteLabelValues(label)
	m.ledger.DeletePartialMatch(prometheus.Labels{"partition": label})
	m.waited.Gone(partition)
	m.waitedBy.Gone(partition)
	m.commits.Gone(partition)
}

// became counts an event. Those of weir canary are apart: while it runs, events would
// never seem to stay away.
func (m *metrics) became(e *event.Event) {
	if event.IsCanary(e.Text(event.Tenant)) {
		m.canary.Inc()
		return
	}
	m.accepted.Inc()
}

func (m *metrics) held(partition int32, d time.Duration) {
	m.open.WithLabelValues(strconv.Itoa(int(partition))).Set(d.Seconds())
}

// lag tells how far reading is from the end of a partition: next is the offset after
// the last record of the batch that was read.
func (m *metrics) lag(partition int32, controls bool, batch *kafka.Batch, next int64) {
	m.behind.WithLabelValues(strconv.Itoa(int(partition))).Set(float64(batch.HighWatermark - next))
	waited := m.waited
	if controls {
		waited = m.waitedBy
	}
	if t, ok := batch.ReadUpTo(next); ok {
		waited.Happened(partition, t)
	}
}

func (m *metrics) books(partition int32, l *Ledger) {
	label := strconv.Itoa(int(partition))
	for outcome, n := range map[string]int64{
		"fetched": l.Fetched, "accepted": l.Accepted, "repeat": l.Repeat, "dead": l.Dead, "control": l.Control, "skipped": l.Skipped, "lost": l.Lost, "facets": l.Facets,
	} {
		m.ledger.WithLabelValues(label, outcome).Set(float64(n))
	}
}
