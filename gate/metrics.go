package gate

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/gate/policy"
)

type metrics struct {
	actions  [policy.Deny + 1]prometheus.Counter
	seconds  prometheus.Histogram
	degraded prometheus.Counter
	refused  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	m := &metrics{
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_gate_decision_seconds", Help: "Time to decide, including the look-up.", Buckets: prometheus.ExponentialBuckets(0.00025, 2, 11),
		}),
		degraded: f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_degraded_total", Help: "Decisions made without all that should be known."}),
		refused:  f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_refused_requests_total", Help: "Questions that were not understood, by problem."}, []string{"problem"}),
	}
	actions := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_decisions_total", Help: "Decisions, by action."}, []string{"action"})
	for _, a := range policy.Actions() {
		m.actions[a] = actions.WithLabelValues(a.String())
	}
	return m
}

func (m *metrics) decided(d *Decision, took time.Duration) {
	m.actions[d.Action].Inc()
	m.seconds.Observe(took.Seconds())
	if d.Degraded {
		m.degraded.Inc()
	}
}
