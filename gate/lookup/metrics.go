package lookup

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits, misses, earlier, gaps, changes prometheus.Counter
	troubles                             map[string]prometheus.Counter
	saves                                map[string]prometheus.Counter
	full                                 bool // the last write to disk failed
}

func newMetrics(r prometheus.Registerer, l *Lookup) *metrics {
	f := promauto.With(r)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_gate_breaker_open", Help: "1 while risk is not looked up because the store failed time and again.",
	}, l.breaker.Open)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_gate_feed_whole", Help: "1 while workers' changes of scores are heard.",
	}, func() float64 { return float64(l.feed.Load() & 1) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_gate_cache_entries", Help: "Entities of which something is kept.",
	}, func() float64 { return float64(l.cache.size()) })
	m := &metrics{
		earlier:  f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_last_known_good_total", Help: "Look-ups that were answered by what was known earlier."}),
		gaps:     f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_feed_gaps_total", Help: "Times that changes of scores may have been missed, so that all is looked up again."}),
		changes:  f.NewCounter(prometheus.CounterOpts{Name: "weir_gate_feed_changes_total", Help: "Changes of scores that were heard."}),
		troubles: map[string]prometheus.Counter{}, saves: map[string]prometheus.Counter{},
	}
	looks := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_cache_total", Help: "Look-ups, by result: hit where they needed no round trip, miss where they did."}, []string{"result"})
	m.hits, m.misses = looks.WithLabelValues("hit"), looks.WithLabelValues("miss")
	errs := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_lookup_errors_total", Help: "Look-ups of risk without a whole answer, by reason."}, []string{"reason"})
	for _, t := range Troubles() {
		m.troubles[t] = errs.WithLabelValues(t)
	}
	saves := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_state_writes_total", Help: "Times that what is known was written to gate.state, by result."}, []string{"result"})
	for _, result := range []string{"ok", "failed"} {
		m.saves[result] = saves.WithLabelValues(result)
	}
	return m
}

// failed counts a failed write, and reports whether it is the first in a row.
func (m *metrics) failed() bool {
	m.saves["failed"].Inc()
	first := !m.full
	m.full = true
	return first
}

func (m *metrics) written() {
	m.saves["ok"].Inc()
	m.full = false
}
