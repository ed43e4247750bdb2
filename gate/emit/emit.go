// Package emit writes what a gate decided to Kafka: each decision, and, for gateways
// that cannot write to Kafka, an event for each request, and challenges that were
// passed.
//
// Nothing waits for it. Records are written in the background, from buffers of
// bounded size; what finds no room is dropped and counted.
package emit

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
)

// Log is the part of Kafka that an emitter uses.
type Log interface {
	Produce(ctx context.Context, topic string, ps []kafka.Produce) error
	Partitions(ctx context.Context, topic string) (int, error)
}

// Topics names the topics that are written; "" for those that are not.
type Topics struct{ Decisions, Events, Controls string }

// Dependencies are the connections of an emitter.
type Dependencies struct {
	Log        Log
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: not registered
}

// drainTime limits writing what is buffered when the gate ends.
const drainTime = 5 * time.Second

// Emitter writes decisions, events and controls. Calls may overlap; a nil Emitter writes
// nothing.
type Emitter struct {
	logger    *slog.Logger
	decisions *outbox // nil: not written
	events    *outbox // nil: not written
	controls  *outbox // nil: not written
	join      *join   // of events
}

// New checks everything and starts nothing.
func New(cfg Config, topics Topics, deps Dependencies) (*Emitter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil || deps.Logger == nil {
		return nil, errors.New("gate: a dependency of the emitter is missing")
	}
	m := newMetrics(deps.Registerer)
	e := &Emitter{logger: deps.Logger}
	if topics.Decisions != "" {
		e.decisions = newOutbox(topics.Decisions, cfg.BufferBytes, deps.Log, deps.Logger, m.box("decision"))
	}
	if topics.Events != "" {
		e.events = newOutbox(topics.Events, cfg.BufferBytes, deps.Log, deps.Logger, m.box("event"))
		e.join = newJoin(e.events, cfg.OutcomeWait, cfg.BufferBytes/2, m.join())
		if cfg.Events == All {
			e.join.untold, e.join.logged = newMemory(), newMemory()
		}
	}
	if topics.Controls != "" {
		e.controls = newOutbox(topics.Controls, cfg.BufferBytes, deps.Log, deps.Logger, m.box("control"))
	}
	return e, nil
}

// Run writes until ctx ends, and then what is buffered, for a few seconds.
func (e *Emitter) Run(ctx context.Context) error {
	finish, cancel := kafka.Outlast(ctx, drainTime)
	defer cancel()
	joined, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var boxes sync.WaitGroup
	if e.decisions != nil {
		boxes.Go(func() { e.decisions.run(ctx, finish) })
	}
	if e.controls != nil {
		boxes.Go(func() { e.controls.run(ctx, finish) })
	}
	if e.events != nil {
		boxes.Go(func() { e.events.run(joined, finish) })
		e.join.run(ctx)
	}
	end()
	boxes.Wait()
	return nil
}

// Decides reports whether decisions are written.
func (e *Emitter) Decides() bool { return e != nil && e.decisions != nil }

// Tells reports whether events are written.
func (e *Emitter) Tells() bool { return e != nil && e.events != nil }

// Controls reports whether control records are written.
func (e *Emitter) Controls() bool { return e != nil && e.controls != nil }

// Control writes a control record. It reports false if there is no room for it.
func (e *Emitter) Control(c control.Record, t Trace) bool {
	value, err := c.Encode()
	if err != nil { // a programming error: all members are plain
		e.logger.Error("a control record cannot be encoded", "error", err)
		return false
	}
	r := newRecord(c.ID, c.ID, value, t.headers())
	if !e.controls.reserve(r.bytes) {
		return false
	}
	e.controls.put(r)
	return true
}

// Decision writes a decision.
func (e *Emitter) Decision(d *decision.Record, t Trace) {
	value, err := d.Encode()
	if err != nil { // a programming error: all members are plain
		e.logger.Error("a decision cannot be encoded", "error", err)
		return
	}
	if r := newRecord(d.ID, d.ID, value, t.headers()); e.decisions.reserve(r.bytes) {
		e.decisions.put(r)
	}
}

// Version writes that policies are in force.
func (e *Emitter) Version(v *decision.RuleVersion) {
	if !e.Decides() {
		return
	}
	value, err := v.Encode()
	if err != nil { // a programming error: all members are plain
		e.logger.Error("a version of policies cannot be encoded", "error", err)
		return
	}
	if r := newRecord(v.Version, v.Version, value, []kafka.Header{{Key: decision.VersionHeader}}); e.decisions.reserve(r.bytes) {
		e.decisions.put(r)
	}
}

// outcomeRoom is more than an outcome adds to the JSON of an event, in bytes.
const outcomeRoom = 256

// Event writes the event of a request, once its outcome is known or has been waited
// for. It has an id, a time and a decision. The event is not kept.
func (e *Emitter) Event(ev *event.Event, t Trace) {
	if w := waitingOf(ev, t); e.events.reserve(w.bytes) {
		e.join.add(w)
	}
}

// Heard takes the outcome of a request of which a gateway's log tells, like Outcome.
// It reports whether the request has no event, and Logged is to write one.
func (e *Emitter) Heard(o Outcome) (isNew bool) { return e.Tells() && e.join.isNew(o) }

// Logged writes the event of a request that was not decided on. It has an id and a
// time, and is not kept.
func (e *Emitter) Logged(ev *event.Event, t Trace, o Outcome) {
	w := waitingOf(ev, t)
	w.known.add(o)
	if e.events.reserve(w.bytes) {
		e.join.send(w)
	}
}

// waitingOf makes the record of an event. It takes the outcome out of the event.
func waitingOf(ev *event.Event, t Trace) *waiting {
	known := Outcome{
		Status: ev.Num(event.Status), ResponseBytes: ev.Num(event.ResponseBytes), LatencyMicros: ev.Num(event.LatencyMicros),
		Auth: strings.Clone(ev.Text(event.Auth)), Action: ev.Text(event.DecisionAction),
	}
	for _, f := range ofOutcome {
		ev.Clear(f)
	}
	value := ev.AppendJSON(make([]byte, 0, 1024))
	value = value[:len(value)-1] // it is not complete
	place := ev.Text(event.Account)
	if place == "" {
		place = ev.Text(event.IP)
	}
	w := &waiting{
		record:   newRecord(ev.Text(event.ID), place, value, t.headers()),
		decision: strings.Clone(ev.Text(event.Decision)), request: strings.Clone(ev.Text(event.RequestID)), known: known,
	}
	w.bytes += outcomeRoom
	return w
}

// Outcome completes the event of a request. It reports false if no such event waits,
// or if events are not written.
func (e *Emitter) Outcome(o Outcome) bool {
	return e.Tells() && e.join.outcome(o)
}

// Outcome is what became of a request. Zero values are unknown.
type Outcome struct {
	DecisionID string `json:"decision_id,omitempty"` // finds the event; if it is empty, RequestID does
	RequestID  string `json:"request_id,omitempty"`

	Status        int64  `json:"status,omitempty"` // of HTTP
	ResponseBytes int64  `json:"response_bytes,omitempty"`
	LatencyMicros int64  `json:"latency_us,omitempty"`
	Auth          string `json:"auth,omitempty"`            // success, failure or challenge, if the request was a sign-in
	Action        string `json:"decision_action,omitempty"` // what the gateway did, if not what was decided
}

// ofOutcome lists the fields of an outcome.
var ofOutcome = []event.Field{event.Status, event.ResponseBytes, event.LatencyMicros, event.Auth, event.DecisionAction}

// add takes what is known of other.
func (o *Outcome) add(other Outcome) {
	for _, n := range []struct{ to, from *int64 }{
		{&o.Status, &other.Status}, {&o.ResponseBytes, &other.ResponseBytes}, {&o.LatencyMicros, &other.LatencyMicros},
	} {
		if *n.from != 0 {
			*n.to = *n.from
		}
	}
	if other.Auth != "" {
		o.Auth = other.Auth
	}
	if other.Action != "" {
		o.Action = other.Action
	}
}

// appendFields appends what is known as members of an event's JSON.
func (o *Outcome) appendFields(b []byte) []byte {
	number := func(f event.Field, n int64) {
		if n != 0 {
			b = strconv.AppendInt(append(append(append(b, `,"`...), f.String()...), `":`...), n, 10)
		}
	}
	text := func(f event.Field, s string) {
		if s != "" {
			b = event.AppendText(append(append(append(b, `,"`...), f.String()...), `":`...), s)
		}
	}
	number(event.Status, o.Status)
	number(event.LatencyMicros, o.LatencyMicros)
	number(event.ResponseBytes, o.ResponseBytes)
	text(event.Auth, o.Auth)
	text(event.DecisionAction, o.Action)
	return b
}

type metrics struct {
	written, dropped, outcomes *prometheus.CounterVec
	bytes                      *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		written:  f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_emitted_total", Help: "Decisions, events and controls that Kafka acknowledged, by kind."}, []string{"kind"}),
		dropped:  f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_dropped_total", Help: "Decisions, events and controls that were not written to Kafka, by kind and reason: full (the buffer, while Kafka took too few), too_large, shutdown."}, []string{"kind", "reason"}),
		outcomes: f.NewCounterVec(prometheus.CounterOpts{Name: "weir_gate_outcomes_total", Help: "Outcomes of requests, by result: joined with an event, unknown (no such event waits), logged (an event was made of a log, since nobody had asked about the request), missing (an event went without one), early (an event went without one, for lack of room or because the gate ended)."}, []string{"result"}),
		bytes:    f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_gate_buffered_bytes", Help: "Memory of decisions, events and controls that Kafka has not taken yet, by kind."}, []string{"kind"}),
	}
}

// boxMetrics are those of one outbox.
type boxMetrics struct {
	written, full, tooLarge, shutdown prometheus.Counter
	bytes                             prometheus.Gauge
}

func (m *metrics) box(kind string) boxMetrics {
	dropped := func(reason string) prometheus.Counter { return m.dropped.WithLabelValues(kind, reason) }
	return boxMetrics{
		written: m.written.WithLabelValues(kind), bytes: m.bytes.WithLabelValues(kind),
		full: dropped("full"), tooLarge: dropped("too_large"), shutdown: dropped("shutdown"),
	}
}

type joinMetrics struct{ joined, unknown, logged, missing, early prometheus.Counter }

func (m *metrics) join() joinMetrics {
	of := m.outcomes.WithLabelValues
	return joinMetrics{joined: of("joined"), unknown: of("unknown"), logged: of("logged"), missing: of("missing"), early: of("early")}
}
