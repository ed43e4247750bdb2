package ingest

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	accepted prometheus.Counter
	frames   prometheus.Counter
	repeats  prometheus.Counter
	refused  prometheus.Counter
	lost     prometheus.Counter
	skipped  prometheus.Counter
	stopped  prometheus.Gauge
	dead     *prometheus.CounterVec
	behind   *prometheus.GaugeVec

	epochs       prometheus.Counter
	brokenEpochs prometheus.Counter
	clock        prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		accepted: f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_events_total", Help: "Raw records that became events."}),
		frames:   f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_frames_total", Help: "Facet frames written, covers included."}),
		repeats:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_repeats_total", Help: "Raw records that a gateway had sent before, and that were dropped."}),
		refused:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_refused_events_total", Help: "Of the events, those of requests that Weir had refused: they count against nobody."}),
		lost:     f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_lost_records_total", Help: "Raw records that were deleted from the log before they were read."}),
		skipped:  f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_skipped_records_total", Help: "Raw records that do not read, however often they are fetched, and were passed over."}),
		stopped:  f.NewGauge(prometheus.GaugeOpts{Name: "weir_ingest_stopped_partitions", Help: "Raw partitions that stopped because of an error that trying again does not mend."}),
		dead:     f.NewCounterVec(prometheus.CounterOpts{Name: "weir_ingest_dead_letters_total", Help: "Raw records that could not be read, by reason."}, []string{"reason"}),
		behind:   f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_ingest_lag_records", Help: "Raw records not read yet, by partition."}, []string{"partition"}),

		epochs:       f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_epoch_changes_total", Help: "Changes of the rules or data that a raw partition is read under."}),
		brokenEpochs: f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_broken_epochs_total", Help: "Of the changes of rules or data, those below what a worker had read when it ended uncleanly, because what it had read that under cannot be had."}),
		clock:        f.NewGauge(prometheus.GaugeOpts{Name: "weir_ingest_clock_ahead_seconds", Help: "How far this worker's clock is ahead of the brokers', where that is more than 5 s."}),
	}
}

// gone forgets the figures of a partition that is given up.
func (m *metrics) gone(partition int32) { m.behind.DeleteLabelValues(strconv.Itoa(int(partition))) }

func (m *metrics) lag(partition int32, records int64) {
	m.behind.WithLabelValues(strconv.Itoa(int(partition))).Set(float64(records))
}
