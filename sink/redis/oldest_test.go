package redis

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gauge reads a metric as Prometheus would.
func gauge(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric is called %s", name)
	return 0
}

func TestTheAgeOfWhatCannotBeWrittenIsTold(t *testing.T) {
	s := startFake(t)
	now, registry := time.UnixMilli(1), prometheus.NewRegistry()
	deps := testDeps()
	deps.Now, deps.Registerer = func() time.Time { return now }, registry
	w, err := NewWriter(testConfig(s), deps)
	if err != nil {
		t.Fatal(err)
	}
	defer w.client.Close()
	track := w.Open(3)
	check := func(when string, want float64) {
		t.Helper()
		if got := gauge(t, registry, "weir_redis_oldest_unwritten_seconds"); got != want {
			t.Errorf("%s: %v s, want %v", when, got, want)
		}
	}
	check("with nothing to write", 0)
	put(t, track, 1, update(entityNumber(1), 1, 50))
	now = now.Add(20 * time.Second)
	check("while it waits", 20)
	put(t, track, 2, update(entityNumber(1), 2, 50))
	check("a newer score of the entity does not make it younger", 20)
	batch := w.take()
	now = now.Add(10 * time.Second)
	check("while it is being sent", 30)
	put(t, track, 3, update(entityNumber(1), 3, 50))
	w.settle(batch, []error{errNoReply})
	check("when that failed, and a newer one waits", 30)
	if got := track.Stored(); got != 1 {
		t.Errorf("stored %d: the newer one answers for the first offset that is not acknowledged", got)
	}
	put(t, track, 4, update(entityNumber(2), 4, 50))
	now = now.Add(5 * time.Second)
	check("of several the oldest counts", 35)
	for range 3 {
		if batch := w.take(); len(batch) > 0 {
			w.flush(t.Context(), batch)
		}
	}
	check("when all is written", 0)
	now = now.Add(time.Hour)
	put(t, track, 5, update(entityNumber(1), 5, 50))
	check("an entity that was written begins anew", 0)
}

func TestWhatStrangersCauseIsLoggedOnceAMinute(t *testing.T) {
	var s seldom
	start := time.UnixMilli(0)
	for _, c := range []struct {
		after time.Duration
		due   bool
	}{{0, true}, {time.Second, false}, {59 * time.Second, false}, {time.Minute, true}, {119 * time.Second, false}, {2 * time.Minute, true}} {
		if got := s.due(start.Add(c.after)); got != c.due {
			t.Errorf("after %v: %v", c.after, got)
		}
	}
}
