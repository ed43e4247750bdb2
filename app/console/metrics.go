package console

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	signIns *prometheus.CounterVec
	actions *prometheus.CounterVec
	lacks   *prometheus.CounterVec
	pages   *prometheus.HistogramVec
}

// Outcomes of signing in and of actions.
const (
	outcomeDone    = "done"
	outcomeRefused = "refused"
	outcomeFailed  = "failed"
)

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		signIns: f.NewCounterVec(prometheus.CounterOpts{Name: "weir_console_sign_ins_total", Help: "Attempts to sign in, by outcome: done, failed (a wrong token), refused (too many of them)."}, []string{"outcome"}),
		actions: f.NewCounterVec(prometheus.CounterOpts{Name: "weir_console_actions_total", Help: "Blocks, releases, switches, labels and cleared scores, by outcome: done, failed."}, []string{"action", "outcome"}),
		lacks:   f.NewCounterVec(prometheus.CounterOpts{Name: "weir_console_missing_parts_total", Help: "Parts of pages that could not be shown, by the store that did not answer or refused."}, []string{"store"}),
		pages: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "weir_console_page_seconds", Help: "Time to answer, by page.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 12),
		}, []string{"page"}),
	}
}

// acted counts an action.
func (s *Server) acted(action string, err error) {
	outcome := outcomeDone
	if err != nil {
		outcome = outcomeFailed
	}
	s.metrics.actions.WithLabelValues(action, outcome).Inc()
}
