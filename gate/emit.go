package gate

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/policy"
)

// emit writes a decision, and the event of its request, where that is configured.
func (g *Gate) emit(req *Request, d *Decision, now time.Time, took time.Duration) {
	if g.emitter.Decides() {
		r := recordOf(req, d)
		r.Time, r.LatencyMicros = now.UnixMilli(), took.Microseconds()
		g.emitter.Decision(&r, req.Trace)
	}
	if g.emitter.Tells() {
		e := eventOf(req, d, now)
		g.emitter.Event(&e, req.Trace)
	}
}

// recordOf returns the record of a decision, without its time.
func recordOf(req *Request, d *Decision) decision.Record {
	r := decision.Record{
		ID: d.ID, Gateway: req.Event.Text(event.Gateway), Tenant: req.Tenant, Route: req.Route,
		RequestID: req.Event.Text(event.RequestID), TraceID: traceID(req), Entities: make(map[string]string, len(req.Entities)),
		Action: d.Action.String(), Would: d.Would.String(), Phase: d.Mode.String(), Level: string(d.Level), Score: d.Score, ObservedScore: d.ObservedScore,
		Reasons: make([]decision.Reason, len(d.Reasons)), LimitedBy: d.LimitedBy, Switch: d.Switch, Policy: d.Policy, PolicyVersion: d.PolicyVersion,
		Degraded: d.Degraded, DegradedBy: d.DegradedBy, LastKnownGood: d.LastKnownGood,
	}
	for _, e := range req.Entities {
		r.Entities[e.Kind.String()] = e.Key
	}
	for i, why := range d.Reasons {
		r.Reasons[i] = decision.Reason{
			Rule: why.Rule, Reason: why.Reason, Category: why.Category, Weight: why.Weight, Lowers: why.Lowers, Phase: why.Phase.String(), Entity: why.Entity,
		}
	}
	for _, l := range d.Limits {
		if l.Exceeded && len(r.Limits) < decision.MaxLimits {
			r.Limits = append(r.Limits, l.ID)
		}
	}
	return r
}

// eventOf returns the event of a request with its decision.
func eventOf(req *Request, d *Decision, now time.Time) event.Event {
	e := requestEvent(req, d.ID, now)
	e.SetText(event.Decision, d.ID)
	e.SetText(event.DecisionAction, d.Action.String())
	return e
}

// requestEvent returns the event of a request, for ingest to complete: derived fields
// are derived there again. id is for one that has none.
func requestEvent(req *Request, id string, now time.Time) event.Event {
	e := *req.Event
	if !e.Has(event.ID) { // the gateway's own, never a client's
		e.SetText(event.ID, id)
	}
	if !e.Has(event.Time) {
		e.SetNum(event.Time, now.UnixMilli())
	}
	if !e.Has(event.IP) {
		setText(&e, event.IP, addressOf(e.Text(event.ClientIP)))
	}
	setText(&e, event.TraceID, traceID(req))
	return e
}

// addressOf returns an address of a client: of a /64, the one with host number 1.
func addressOf(client string) string {
	p, err := netip.ParsePrefix(client)
	if err != nil {
		return client
	}
	a := p.Addr().As16()
	a[15] = 1
	return netip.AddrFrom16(a).String()
}

// traceID returns the trace id that the gateway states, or that of the context.
func traceID(req *Request) string {
	if id := req.Event.Text(event.TraceID); id != "" {
		return id
	}
	return req.Trace.ID()
}

// traceOf returns the trace context of a question.
func traceOf(r *http.Request) emit.Trace {
	return emit.Trace{Parent: r.Header.Get("traceparent"), State: strings.Join(r.Header.Values("tracestate"), ",")}
}

// Outcome completes the event of a request that was decided on. It reports false if
// no such event waits.
func (g *Gate) Outcome(o emit.Outcome) bool { return g.emitter.Outcome(o) }

// Logged takes a request of which a gateway's log tells. Of one that was decided on,
// it is the outcome. For others, where the gate is to write their events, read
// returns what the log says.
func (g *Gate) Logged(o emit.Outcome, read func() Request) {
	if !g.emitter.Heard(o) {
		return
	}
	if o.Action == policy.Allow.String() { // events without a decision say only what refused them
		o.Action = ""
	}
	req := read()
	e := requestEvent(&req, newID(), g.nowOr(time.Now()))
	g.emitter.Logged(&e, req.Trace, o)
}

// ParseOutcome reads the body of an outcome: one JSON object with decision_id or
// request_id, and what is known of status, response_bytes, latency_us, auth and
// decision_action, as in events. It is read as strictly as a question.
func ParseOutcome(body []byte) (emit.Outcome, error) {
	var o emit.Outcome
	var e event.Event
	r, err := format.NewReader(body)
	if err != nil {
		return o, malformed(err)
	}
	err = eachMember(r, func(name string) (err error) {
		spec, _ := event.Lookup(name)
		switch {
		case name == "decision_id":
			o.DecisionID, err = text(r)
		case slices.Contains(ofOutcome, spec.Field):
			err = malformed(r.Field(&e, spec.Field))
		default:
			err = errors.New("unknown member")
		}
		return err
	})
	if err != nil {
		return o, err
	}
	if r.End() != nil {
		return o, errors.New("something follows the object")
	}
	o.RequestID, o.Auth, o.Action = e.Text(event.RequestID), e.Text(event.Auth), e.Text(event.DecisionAction)
	o.Status, o.ResponseBytes, o.LatencyMicros = e.Num(event.Status), e.Num(event.ResponseBytes), e.Num(event.LatencyMicros)
	if o.DecisionID == "" && o.RequestID == "" {
		return o, errors.New("neither decision_id nor request_id is given")
	}
	return o, nil
}

// ofOutcome lists the fields of events that an outcome may have.
var ofOutcome = []event.Field{event.RequestID, event.Status, event.ResponseBytes, event.LatencyMicros, event.Auth, event.DecisionAction}

// serveOutcome takes the outcome of a request. One that joins no event is accepted,
// too: a gateway cannot know how long events wait.
func (g *Gate) serveOutcome(w http.ResponseWriter, r *http.Request) {
	if !g.emitter.Tells() {
		g.refuse(w, http.StatusNotFound, "events-off", "This gate writes no events", "set gate.events: on, or send the outcome in the gateway's own event")
		return
	}
	body, ok := g.readJSON(w, r)
	if !ok {
		return
	}
	o, err := ParseOutcome(body)
	if err != nil {
		g.refuse(w, http.StatusBadRequest, "malformed-request", "The outcome was not understood", err.Error())
		return
	}
	send(w, http.StatusAccepted, map[string]bool{"joined": g.Outcome(o)})
}
