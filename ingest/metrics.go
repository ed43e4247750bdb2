package ingest

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	accepted prometheus.Counter
	frames   prometheus.Counter
	dead     *prometheus.CounterVec
	behind   *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		accepted: f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_events_total", Help: "Raw records that became events."}),
		frames:   f.NewCounter(prometheus.CounterOpts{Name: "weir_ingest_frames_total", Help: "Facet frames written, covers included."}),
		dead:     f.NewCounterVec(prometheus.CounterOpts{Name: "weir_ingest_dead_letters_total", Help: "Raw records that could not be read, by reason."}, []string{"reason"}),
		behind:   f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_ingest_lag_records", Help: "Raw records not read yet, by partition."}, []string{"partition"}),
	}
}

func (m *metrics) lag(partition int32, records int64) {
	m.behind.WithLabelValues(strconv.Itoa(int(partition))).Set(float64(records))
}
