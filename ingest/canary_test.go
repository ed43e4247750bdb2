package ingest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestEventsOfTheCanaryAreCountedApart: while it runs, an alert on silence must be able
// to fire.
func TestEventsOfTheCanaryAreCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.send(request("a", "ann"), request("b", "bob"), strings.Replace(request("c", "eve"), "{", `{"tenant":"weir-canary-1",`, 1))
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if events, canary := w.metric(t, "weir_ingest_events_total"), w.metric(t, "weir_ingest_canary_events_total"); events != 2 || canary != 1 {
			t.Errorf("%v events and %v of the canary", events, canary)
		}
	})
}
