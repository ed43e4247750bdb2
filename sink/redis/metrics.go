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
		Name: "weir_redis_oldest_unwritten_seconds", Help: "Age of the oldest unacknowledged score; 0 if there is none.",
	}, oldest)
	outcomes := f.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_redis_writes_total", Help: "Scores acknowledged by Redis, by outcome: written, or stale because a newer one was stored.",
	}, []string{"outcome"})
	return &writerMetrics{
		written: outcomes.WithLabelValues("written"), refused: outcomes.WithLabelValues("stale"),
		coalesced: f.NewCounter(prometheus.CounterOpts{Name: "weir_redis_coalesced_total", Help: "Scores replaced by a newer one of the entity before they were sent."}),
		errors:    byReason(f, reasons, "weir_redis_write_errors_total", "Scores whose first write failed, by reason. They are retried."),
		foreign:   byReason(f, valueReasons, "weir_redis_foreign_values_total", "Stored values that were not valid scores and were overwritten, by reason."),
		pending:   f.NewGauge(prometheus.GaugeOpts{Name: "weir_redis_pending_scores", Help: "Entities with an unacknowledged score."}),
		blocked:   f.NewCounter(prometheus.CounterOpts{Name: "weir_redis_blocked_seconds_total", Help: "Time that detection waited for room in the buffer."}),
		forgotten: f.NewCounter(prometheus.CounterOpts{Name: "weir_redis_forgotten_total", Help: "Times that Redis had lost scores of a partition, which were then written again."}),
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

	limitErrors  map[string]prometheus.Counter
	limitsAnew   prometheus.Counter
	limitSeconds prometheus.Histogram
}

func newReaderMetrics(r prometheus.Registerer) *readerMetrics {
	f := promauto.With(r)
	return &readerMetrics{
		reads:  f.NewCounter(prometheus.CounterOpts{Name: "weir_redis_reads_total", Help: "Look-ups, one per request for all its entities."}),
		errors: byReason(f, reasons, "weir_redis_read_errors_total", "Look-ups that failed, by reason."),
		bad:    byReason(f, valueReasons, "weir_redis_bad_values_total", "Invalid values that look-ups met and counted as absent, by reason."),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_redis_read_seconds", Help: "Duration of a look-up.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 12),
		}),
		limitErrors: byReason(f, reasons, "weir_redis_limit_errors_total", "Requests whose limits could not be checked, by reason."),
		limitsAnew:  f.NewCounter(prometheus.CounterOpts{Name: "weir_redis_limits_anew_total", Help: "Limits that began anew because their key held something else, or times far in the future."}),
		limitSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_redis_limit_seconds", Help: "Duration of a round trip that checks limits.", Buckets: prometheus.ExponentialBuckets(0.0001, 2, 12),
		}),
	}
}
