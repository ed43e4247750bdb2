package ingest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
)

// A client that writes more, or other bytes, than a field has room for counts as
// any other: each failed sign-in for its address, and the mark is where rules see
// it.
func TestAClientCannotHideBehindWhatItWrites(t *testing.T) {
	const attempts = 60
	for name, member := range map[string]string{
		"a user agent of 1,025 bytes":        `"user_agent":"` + strings.Repeat("u", 1025) + `"`,
		"a device of 257 bytes":              `"device":"` + strings.Repeat("d", 257) + `"`,
		"an account of 257 bytes":            `"account":"` + strings.Repeat("a", 257) + `"`,
		"a chain of more than 2,048 bytes":   `"forwarded_for":"` + strings.Repeat("1", 2049) + `"`,
		"a path of more than 8,192 bytes":    `"path":"/` + strings.Repeat("p", 8192) + `"`,
		"a path of all that a record allows": `"path":"/` + strings.Repeat(`\u0000`, 160<<10) + `"`,
		"bytes that are not UTF-8":           "\"user_agent\":\"\xff\"",
		"control characters":                 "\"user_agent\":\"\x00\"",
		"half a character":                   `"session":"\ud800"`,
		"a clock in seconds":                 `"client_time":1763892000`,
		"a size that is no whole number":     `"request_bytes":1e400`,
		"an age below zero":                  `"attestation_age_s":-1`,
		"attributes that are nested":         `"attrs":{"a":{"b":[]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				var p facet.Projection
				p[facet.IP] = []event.Field{event.Auth, event.Clipped}
				w.epochs = newEpochs(newEpoch(t, ingest.Defaults(), p, w))
				for i := range attempts {
					now := time.Now().UTC().Format(time.RFC3339Nano)
					w.send(fmt.Sprintf(`{"id":"%d","time":"%s","ip":"203.0.113.9","auth":"failure","status":401,%s}`, i, now, member))
				}
				l, err := w.run(t, 3*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				if l.Accepted != attempts || l.Dead != 0 || l.Facets != attempts {
					t.Errorf("the ledger is %+v", l)
				}
				if got := w.marked(t, "203.0.113.9"); got != attempts {
					t.Errorf("%d marked facets of the address, want %d", got, attempts)
				}
				if got := counted(t, w.metrics, "weir_ingest_clipped_events_total"); got != attempts {
					t.Errorf("%v counted as clipped, want %d", got, attempts)
				}
			})
		})
	}
}

// marked counts the failed sign-ins of an address that are marked as clipped.
func (w *world) marked(t *testing.T, address string) (n int) {
	t.Helper()
	w.eachFacet(t, func(f *facet.Facet) {
		if f.Entity.Key == address && f.Fields.Text(event.Auth) == "failure" && f.Fields.Num(event.Clipped) == 1 {
			n++
		}
	})
	return n
}

// eachFacet reads the frames that were written.
func (w *world) eachFacet(t *testing.T, yield func(*facet.Facet)) {
	t.Helper()
	var r facet.Reader
	for _, frame := range w.frames {
		if err := r.Reset(frame); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.Section(); err != nil {
			t.Fatal(err)
		}
		for f := (facet.Facet{}); ; {
			more, err := r.Facet(&f)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			yield(&f)
		}
	}
}

// counted is the value of a counter without labels.
func counted(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}
