package haproxy

import (
	"fmt"
	"strconv"

	"github.com/negasus/haproxy-spoe-go/message"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/emit"
)

// Outcome is the name of the message that tells what became of a request. Its
// arguments:
//
//	decision_id       the decision's, which finds the event
//	status            of the response
//	latency_us        how long it took, microseconds
//	response_bytes    length of its body
//	auth              success, failure or challenge, if it was a sign-in
//	decision_action   what HAProxy did, if not what was decided
//
// What HAProxy does not know, and values that no event has, are left out.
const Outcome = "outcome"

// Outcomes takes what became of requests. Calls may overlap.
type Outcomes interface {
	// Outcome reports false if no event waits for it.
	Outcome(o emit.Outcome) bool
}

// Limits of what an event can have.
const (
	maxStatus = 999
	maxBytes  = 1 << 50
	maxMicros = 1 << 50
)

// told returns the outcomes of a frame. An argument with an unknown name is left out
// and reported.
func told(all *message.Messages) (outcomes []emit.Outcome, err error) {
	for _, m := range *all {
		if m.Name != Outcome {
			continue
		}
		var o emit.Outcome
		for _, arg := range m.KV.Data() {
			v, _ := text(arg.Value)
			switch arg.Name {
			case "decision_id":
				o.DecisionID, _, _ = event.Keep(event.Decision, v)
			case "status":
				o.Status = numberOf(v, maxStatus)
			case "latency_us":
				o.LatencyMicros = numberOf(v, maxMicros)
			case "response_bytes":
				o.ResponseBytes = numberOf(v, maxBytes)
			case "auth":
				o.Auth, _, _ = event.Keep(event.Auth, v)
			case "decision_action":
				o.Action, _, _ = event.Keep(event.DecisionAction, v)
			default:
				err = fmt.Errorf("there is no argument %.64q of %s", arg.Name, Outcome)
			}
		}
		if o.DecisionID != "" {
			outcomes = append(outcomes, o)
		}
	}
	return outcomes, err
}

// numberOf reads a number from 0 to most; 0 (unknown) if it is none.
func numberOf(v string, most int64) int64 {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 || n > most {
		return 0
	}
	return n
}
