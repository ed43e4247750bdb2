package ingest_test

import "testing"

// metric is what a counter or a gauge without labels showed at the end of the
// last run.
func (w *world) metric(t *testing.T, name string) float64 {
	t.Helper()
	all, err := w.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
