package gate

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/gate/policy"
)

type metrics struct {
	actions      [policy.Deny + 1]prometheus.Counter
	seconds      prometheus.Histogram
	degraded     prometheus.Counter
	lookupErrors map[string]prometheus.Counter
	refused      *prometheus.CounterVec
}

// newMetrics registers the metrics. open returns the state of the breaker.
func newMetrics(r prometheus.Registerer, open func() float64) *metrics {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_gate_breaker_open", Help: "1 while the gate does not look up risk, because the store failed repeatedly.",
	}, open)
	m := &metrics{
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_gate_decision_seconds", Help: "Time to decide, including the look-up.", Buckets: prometheus.ExponentialBuckets(0.00025, 2, 11),
		}),
		degraded:     f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_degraded_total", Help: "Decisions made with incomplete data."}),
		refused:      f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_refused_requests_total", Help: "Requests that were not understood, by problem."}, []string{"problem"}),
		lookupErrors: map[string]prometheus.Counter{},
	}
	actions := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_decisions_total", Help: "Decisions, by action."}, []string{"action"})
	for _, a := range policy.Actions() {
		m.actions[a] = actions.WithLabelValues(a.String())
	}
	errs := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_lookup_errors_total", Help: "Look-ups without a complete answer, by reason."}, []string{"reason"})
	for _, t := range troubles {
		m.lookupErrors[t] = errs.WithLabelValues(t)
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
