package limits

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/gate/lookup"
)

type metrics struct {
	checked  prometheus.Counter
	troubles map[string]prometheus.Counter
}

func newMetrics(r prometheus.Registerer, l *Limits) *metrics {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_gate_limits_breaker_open", Help: "1 while limits are not checked in the store because it failed time and again.",
	}, l.breaker.Open)
	m := &metrics{
		checked:  f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_limit_checks_total", Help: "Requests to which a limit applied, and that the store counted."}),
		troubles: map[string]prometheus.Counter{},
	}
	errs := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_limit_errors_total", Help: "Requests to which a limit applied, and that this gate counted by itself, by reason."}, []string{"reason"})
	for _, t := range lookup.Troubles() {
		if t != lookup.Partial {
			m.troubles[t] = errs.WithLabelValues(t)
		}
	}
	return m
}
