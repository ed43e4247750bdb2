package ingest_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// metric is what a counter or a gauge showed at the end of the last run.
func (w *world) metric(t *testing.T, name string) float64 {
	t.Helper()
	return valueOf(t, w.metrics, name)
}

// valueOf is what a counter or a gauge shows; of several series, the first.
func valueOf(t *testing.T, metrics prometheus.Gatherer, name string) float64 {
	t.Helper()
	all, err := metrics.Gather()
	if err != nil {
		t.Error(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Errorf("there is no metric %s", name)
	return -1
}
