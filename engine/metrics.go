package engine

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/score"
)

type stageMetrics struct {
	signals  *prometheus.CounterVec
	lost     prometheus.Counter
	stopped  prometheus.Gauge
	behind   *prometheus.GaugeVec
	entities *prometheus.GaugeVec
	applied  *prometheus.GaugeVec
}

func newStageMetrics(r prometheus.Registerer) *stageMetrics {
	f := promauto.With(r)
	partition := []string{"partition"}
	return &stageMetrics{
		signals:  f.NewCounterVec(prometheus.CounterOpts{Name: "weir_detect_signals_total", Help: "Signals emitted, by rule."}, []string{"rule", "phase"}),
		lost:     f.NewCounter(prometheus.CounterOpts{Name: "weir_detect_declared_losses_total", Help: "Losses of facet log that an operator accepted."}),
		stopped:  f.NewGauge(prometheus.GaugeOpts{Name: "weir_detect_stopped_partitions", Help: "Facet partitions that stopped because of an error."}),
		behind:   f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_lag_records", Help: "Facet records not read yet, by partition."}, partition),
		entities: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_entities", Help: "Entities with state, by partition."}, partition),
		applied: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_detect_facets", Help: "Facets in the ledger, by partition and outcome."},
			[]string{"partition", "outcome"}),
	}
}

func (m *stageMetrics) fired(s *score.Signal) {
	m.signals.WithLabelValues(s.Rule, s.Phase.String()).Inc()
}

func (m *stageMetrics) lag(partition int32, records int64) {
	m.behind.WithLabelValues(strconv.Itoa(int(partition))).Set(float64(records))
}

func (m *stageMetrics) state(partition int32, p *Partition) {
	id := strconv.Itoa(int(partition))
	t := p.Ledger().Total()
	m.entities.WithLabelValues(id).Set(float64(p.Entities()))
	m.applied.WithLabelValues(id, "applied").Set(float64(t.Applied))
	m.applied.WithLabelValues(id, "late").Set(float64(t.Late))
	m.applied.WithLabelValues(id, "duplicate").Set(float64(t.Duplicate))
}
