package ingest_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// TestEventsWithoutAKeyAreCounted: only in the partition of the first is a repeat
// recognised. A log line without an id is nobody's repeat.
func TestEventsWithoutAKeyAreCounted(t *testing.T) {
	line := `192.0.2.7 - - [23/Nov/2026:10:05:03 +0000] "GET / HTTP/1.1" 200 8`
	for _, c := range []struct {
		name, format string
		records      []kafka.Record
		want         float64
	}{
		{"events with keys", "weir", []kafka.Record{{Key: []byte("a"), Value: []byte(request("a", "ann"))}}, 0},
		{"events without", "weir", []kafka.Record{{Value: []byte(request("a", "ann"))}, {Key: []byte{}, Value: []byte(request("b", "ann"))}}, 2},
		{"one that is sent twice", "weir", []kafka.Record{{Value: []byte(`{"id":"a","time":1795428303000}`)}, {Value: []byte(`{"id":"a","time":1795428303000}`)}}, 2},
		{"what cannot be read", "weir", []kafka.Record{{Value: []byte("garbage")}}, 0},
		{"log lines without an id", "combined", []kafka.Record{{Value: []byte(line)}, {Key: []byte("k"), Value: []byte(line)}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.format = c.format
				for _, r := range c.records {
					r.Offset = w.end()
					w.add(r)
				}
				if _, err := w.run(t, 3*time.Second); err != nil {
					t.Fatal(err)
				}
				if got := w.metric(t, "weir_ingest_keyless_records_total"); got != c.want {
					t.Errorf("%v records without a key are counted, want %v", got, c.want)
				}
			})
		})
	}
}

// TestTheLedgerIsAMetric: what was fetched is the sum of what became of it, and the
// partition was read to its end just now.
func TestTheLedgerIsAMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, registry := newWorld(), prometheus.NewPedanticRegistry()
		w.wire = func(d *ingest.Dependencies) { d.Registerer = registry }
		w.send(request("a", "ann"), request("b", "bob"), "garbage")
		type shown struct {
			outcomes map[string]float64
			waited   float64
		}
		seen := make(chan shown, 1)
		time.AfterFunc(2500*time.Millisecond, func() {
			s := shown{map[string]float64{}, -1}
			all, err := registry.Gather()
			if err != nil {
				t.Error(err)
			}
			for _, f := range all {
				for _, m := range f.GetMetric() {
					switch f.GetName() {
					case "weir_ingest_ledger_records":
						s.outcomes[m.GetLabel()[0].GetValue()] += m.GetGauge().GetValue()
					case "weir_ingest_lag_seconds":
						s.waited = max(s.waited, m.GetGauge().GetValue())
					}
				}
			}
			seen <- s
		})
		l, err := w.run(t, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		got := <-seen
		want := map[string]float64{"fetched": 3, "accepted": 2, "dead": 1, "repeat": 0, "control": 0, "skipped": 0, "lost": 0, "facets": float64(l.Facets)}
		if !maps.Equal(got.outcomes, want) {
			t.Errorf("the ledger is %v, want %v", got.outcomes, want)
		}
		if got.waited < 0 || got.waited > 1 {
			t.Errorf("records wait for %v s", got.waited)
		}
	})
}
