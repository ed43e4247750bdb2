package gate

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
)

type metrics struct {
	actions  [policy.Deny + 1]prometheus.Counter
	seconds  prometheus.Histogram
	degraded prometheus.Counter
	open     prometheus.Counter
	refused  *prometheus.CounterVec
	limited  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	m := &metrics{
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "weir_gate_decision_seconds", Help: "Time to decide, including the look-up.", Buckets: prometheus.ExponentialBuckets(0.00025, 2, 11),
		}),
		degraded: f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_degraded_total", Help: "Decisions made without all that should be known."}),
		open:     f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_fail_open_total", Help: "Decisions to allow that were made without risk and without what was known earlier, because Redis did not answer in time."}),
		refused:  f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_refused_requests_total", Help: "Questions that were not understood, by problem."}, []string{"problem"}),
		limited:  f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_limited_total", Help: "Requests beyond a limit, by limit and by how far it may go: in phase observe they were served."}, []string{"limit", "phase"}),
	}
	actions := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_decisions_total", Help: "Decisions, by action."}, []string{"action"})
	for _, a := range policy.Actions() {
		m.actions[a] = actions.WithLabelValues(a.String())
	}
	return m
}

// decided counts a decision. traced is the id of its trace, "" if it has none.
func (m *metrics) decided(d *Decision, known *lookup.Answer, took time.Duration, traced string) {
	m.actions[d.Action].Inc()
	if traced == "" {
		m.seconds.Observe(took.Seconds())
	} else {
		m.seconds.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"trace_id": traced}) // as every histogram is
	}
	if d.Degraded {
		m.degraded.Inc()
	}
	if d.Action == policy.Allow && d.Switch == "" && !known.Earlier && unanswered(known.Trouble) {
		m.open.Inc()
	}
}

// unanswered reports whether a trouble says that the store did not answer. What
// clients write can make an answer partial, and they can go away.
func unanswered(trouble string) bool {
	return trouble != "" && trouble != lookup.Partial && trouble != lookup.Canceled
}
