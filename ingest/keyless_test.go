package ingest_test

import (
	"testing"
	"testing/synctest"
	"time"

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
