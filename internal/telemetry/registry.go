package telemetry

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Registry holds a program's metrics and remembers the registered ones, so that the
// metrics reference comes from the code. A plain registry names a metric with
// labels only after its first value. It is safe for use by many goroutines.
type Registry struct {
	*prometheus.Registry

	mu         sync.Mutex
	collectors []prometheus.Collector
}

// Metric describes a registered metric.
type Metric struct {
	Name   string
	Type   string   // counter, gauge or histogram
	Labels []string // sorted; never nil
	Help   string
}

// Register implements [prometheus.Registerer].
func (r *Registry) Register(c prometheus.Collector) error {
	if err := r.Registry.Register(c); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.collectors = append(r.collectors, c)
	return nil
}

// MustRegister implements [prometheus.Registerer].
func (r *Registry) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := r.Register(c); err != nil {
			panic(err) // a programmer's error, at start only
		}
	}
}

// Reference lists the metrics by name. It fails if a metric's type is unknown.
func (r *Registry) Reference() ([]Metric, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Metric
	for _, c := range r.collectors {
		kind, err := kindOf(c)
		if err != nil {
			return nil, err
		}
		for _, d := range descriptions(c) {
			m, err := describe(d)
			if err != nil {
				return nil, err
			}
			m.Type = kind
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b Metric) int { return cmp.Compare(a.Name, b.Name) })
	// A metric with a constant label is registered once for each value of it.
	return slices.CompactFunc(all, func(a, b Metric) bool { return a.Name == b.Name }), nil
}

func descriptions(c prometheus.Collector) (all []*prometheus.Desc) {
	ch := make(chan *prometheus.Desc)
	go func() { defer close(ch); c.Describe(ch) }()
	for d := range ch {
		all = append(all, d)
	}
	return all
}

func kindOf(c prometheus.Collector) (string, error) {
	switch c := c.(type) {
	case *prometheus.CounterVec:
		return "counter", nil
	case *prometheus.GaugeVec, *Ages:
		return "gauge", nil
	case *prometheus.HistogramVec:
		return "histogram", nil
	case prometheus.Metric:
		var m dto.Metric
		if err := c.Write(&m); err != nil {
			return "", fmt.Errorf("read %v: %w", c.Desc(), err)
		}
		switch {
		case m.Counter != nil:
			return "counter", nil
		case m.Gauge != nil:
			return "gauge", nil
		case m.Histogram != nil:
			return "histogram", nil
		}
	}
	return "", fmt.Errorf("the reference of metrics does not know the type of a %T", c)
}

// described reads [prometheus.Desc.String], the only way to a description's parts.
var described = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "((?:[^"\\]|\\.)*)"(?:, unit: "[^"]*")?, constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

func describe(d *prometheus.Desc) (Metric, error) {
	part := described.FindStringSubmatch(d.String())
	if part == nil {
		return Metric{}, fmt.Errorf("a description that does not read: %v", d)
	}
	help, err := strconv.Unquote(`"` + part[2] + `"`)
	if err != nil {
		return Metric{}, fmt.Errorf("a help text that does not read: %v", d)
	}
	m := Metric{Name: part[1], Labels: []string{}, Help: help}
	for pair := range strings.SplitSeq(part[3], ",") {
		name, _, _ := strings.Cut(pair, "=")
		m.Labels = append(m.Labels, name)
	}
	m.Labels = append(m.Labels, strings.Split(part[4], ",")...)
	m.Labels = slices.DeleteFunc(m.Labels, func(l string) bool { return l == "" })
	slices.Sort(m.Labels)
	return m, nil
}
