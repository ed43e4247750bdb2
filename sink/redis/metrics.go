package redis

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type writerMetrics struct {
	written, refused, coalesced prometheus.Counter
	errors, foreign             map[string]prometheus.Counter
	pending                     prometheus.Gauge
	blocked, forgotten          prometheus.Counter
	seconds, batch              prometheus.Histogram
}

// newWriterMetrics registers the metrics. oldest returns the age of the oldest
// unacknowledged score.
func newWriterMetrics(r prometheus.Registerer, oldest func() float64) *writerMetrics {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_redis_oldest_unwritten_seconds", Help: "Age of the oldest score that is not acknowledged yet; 0 where there is none.",
	}, oldest)
	outcomes := f.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_redis_writes_total", Help: "Scores acknowledged by Redis, by outcome: written, or stale because a newer one was stored.",
	}, []string{"outcome"})
	return &writerMetrics{
		written: outcomes.WithLabelValues("written"), refused: outcomes.WithLabelValues("stale"),
		coalesced: f.NewCounter(prometheus.CounterOpts{Name: "weir_redis_coalesced_total", Help: "Scores replaced by a newer one of the entity before they were sent."}),
		errors:    byReason(f, reasons, "weir_redis_write_errors_total", "Scores not written at the first try, by reason. They are tried again."),
		foreign:   byReason(f, valueReasons, "weir_redis_foreign_values_total", "Stored values that were no scores of ours and were written over, by reason."),
		pending:   f.NewGauge(prometheus.GaugeOpts{Name: "weir_redis_pending_scores", Help: "Entities whose score is not acknowledged yet."}),
		blocked:   f.NewCounter(prometheus.CounterOpts{Name: "weir_redis_blocked_seconds_total", Help: "Time that detection waited for room in the buffer."}),
		forgotten: f.NewCounter(prometheus.CounterOpts{Name: "weir_redis_forgotten_total", Help: "Times that Redis was found to have lost scores of a partition, which were then put again."}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_redis_flush_seconds", Help: "Duration of a pipeline of writes.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 13),
		}),
		batch: f.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_redis_batch_scores", Help: "Scores in a pipeline.", Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
	}
}

func byReason(f promauto.Factory, reasons []string, name, help string) map[string]prometheus.Counter {
	vec := f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"reason"})
	all := make(map[string]prometheus.Counter, len(reasons))
	for _, r := range reasons {
		all[r] = vec.WithLabelValues(r)
	}
	return all
}

func (m *writerMetrics) failed(reason string) { m.errors[reason].Inc() }

func (m *writerMetrics) flushed(scores int, took time.Duration) {
	m.seconds.Observe(took.Seconds())
	m.batch.Observe(float64(scores))
}

type readerMetrics struct {
	reads   prometheus.Counter
	errors  map[string]prometheus.Counter
	bad     map[string]prometheus.Counter
	seconds prometheus.Histogram
}

func newReaderMetrics(r prometheus.Registerer) *readerMetrics {
	f := promauto.With(r)
	return &readerMetrics{
		reads:  f.NewCounter(prometheus.CounterOpts{Name: "weir_redis_reads_total", Help: "Look-ups, each of all entities of a request."}),
		errors: byReason(f, reasons, "weir_redis_read_errors_total", "Look-ups that failed, by reason."),
		bad:    byReason(f, valueReasons, "weir_redis_bad_values_total", "Values met by look-ups that were no scores of ours and counted as none, by reason."),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_redis_read_seconds", Help: "Duration of a look-up.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 12),
		}),
	}
}
