package ingest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/ingest"
)

// TestOnlyWhatWeirRefusedFeedsNothing: gateways put the id of a decision into
// every event, as docs/gate.md asks them to.
func TestOnlyWhatWeirRefusedFeedsNothing(t *testing.T) {
	for _, c := range []struct {
		name, decision string
		feeds          bool
	}{
		{"the gate was not asked", ``, true},
		{"an id alone", `,"decision":"d-1"`, true},
		{"let pass", `,"decision":"d-1","decision_action":"allow"`, true},
		{"let pass, and told so", `,"decision":"d-1","decision_action":"tag"`, true},
		{"slowed down", `,"decision":"d-1","decision_action":"throttle"`, false},
		{"asked for proof of a human", `,"decision":"d-1","decision_action":"challenge"`, false},
		{"asked for stronger authentication", `,"decision":"d-1","decision_action":"step_up"`, false},
		{"refused", `,"decision":"d-1","decision_action":"deny"`, false},
		{"refused, by a gateway that gives no id", `,"decision_action":"deny"`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.send(fmt.Sprintf(`{"id":"a","time":%d,"account":"ann"%s}`, time.Now().UnixMilli(), c.decision))
				got, err := w.run(t, 3*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				want := ingest.Ledger{Fetched: 1, Accepted: 1, Refused: 1}
				if c.feeds {
					want = ingest.Ledger{Fetched: 1, Accepted: 1, Facets: 1}
				}
				if got != want || len(w.stored) != 1 {
					t.Errorf("the ledger is %+v, want %+v; %d rows", got, want, len(w.stored))
				}
				if n := w.metric(t, "weir_ingest_refused_events_total"); n != float64(want.Refused) {
					t.Errorf("%v refused events are counted", n)
				}
			})
		})
	}
}
