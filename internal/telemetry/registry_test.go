package telemetry

import (
	"log/slog"
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

func TestTheReferenceHasEveryKindOfMetric(t *testing.T) {
	r := NewAdmin(AdminConfig{}, slog.New(slog.DiscardHandler)).Registry()
	f := promauto.With(r)
	f.NewCounter(prometheus.CounterOpts{Name: "a_total", Help: `A "quoted" help.`})
	f.NewGaugeVec(prometheus.GaugeOpts{Name: "b", Help: "B."}, []string{"y", "x"})
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "c", Help: "C."}, func() float64 { return 1 })
	f.NewCounterVec(prometheus.CounterOpts{Name: "d_total", Help: "D."}, []string{"x"})
	NewAges(r, "e_seconds", "E.")
	for _, table := range []string{"one", "two"} {
		f.NewHistogramVec(prometheus.HistogramOpts{Name: "f", Help: "F.", ConstLabels: prometheus.Labels{"table": table}}, []string{"x"})
		f.NewHistogram(prometheus.HistogramOpts{Name: "g", Help: "G.", ConstLabels: prometheus.Labels{"table": table}})
	}
	want := []Metric{
		{"a_total", "counter", []string{}, `A "quoted" help.`},
		{"b", "gauge", []string{"x", "y"}, "B."},
		{"c", "gauge", []string{}, "C."},
		{"d_total", "counter", []string{"x"}, "D."},
		{"e_seconds", "gauge", []string{"partition"}, "E."},
		{"f", "histogram", []string{"table", "x"}, "F."},
		{"g", "histogram", []string{"table"}, "G."},
	}
	got, err := r.Reference()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestAMetricOfUnknownTypeIsAnError(t *testing.T) {
	r := NewAdmin(AdminConfig{}, slog.New(slog.DiscardHandler)).Registry()
	promauto.With(r).NewSummary(prometheus.SummaryOpts{Name: "a", Help: "A."})
	if all, err := r.Reference(); err == nil {
		t.Errorf("got %v", all)
	}
}
