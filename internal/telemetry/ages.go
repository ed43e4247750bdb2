package telemetry

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Ages is a metric: for how long something has not happened, in seconds, by
// partition. It is computed on each scrape, because a loop that waits for ever
// could not update it. It is safe for use by many goroutines.
type Ages struct {
	desc *prometheus.Desc

	mu   sync.Mutex
	last map[int32]time.Time // when it happened
}

// NewAges creates the metric and registers it, unless r is nil.
func NewAges(r prometheus.Registerer, name, help string) *Ages {
	a := &Ages{desc: prometheus.NewDesc(name, help, []string{"partition"}, nil), last: map[int32]time.Time{}}
	if r != nil {
		r.MustRegister(a)
	}
	return a
}

// Happened records that it happened at t.
func (a *Ages) Happened(partition int32, t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last[partition] = t
}

// Gone removes a partition.
func (a *Ages) Gone(partition int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.last, partition)
}

// Describe implements [prometheus.Collector].
func (a *Ages) Describe(to chan<- *prometheus.Desc) { to <- a.desc }

// Collect implements [prometheus.Collector].
func (a *Ages) Collect(to chan<- prometheus.Metric) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, t := range a.last {
		to <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, max(time.Since(t), 0).Seconds(), strconv.Itoa(int(p)))
	}
}
