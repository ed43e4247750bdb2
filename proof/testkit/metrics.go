package testkit

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// OfPartitions returns the sorted names of the metrics that have a series with a
// label partition.
func OfPartitions(t testing.TB, metrics prometheus.Gatherer) (names []string) {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Error(err)
	}
	for _, f := range families {
		for _, l := range f.GetMetric()[0].GetLabel() {
			if l.GetName() == "partition" {
				names = append(names, f.GetName())
			}
		}
	}
	return names
}
