package app

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/tracing"
	"github.com/weirdev/weir/score"
)

// closeTraces is how long a program that ends waits for its last traces.
const closeTraces = 3 * time.Second

func closeTracer(t *tracing.Tracer) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTraces)
	defer cancel()
	t.Close(ctx)
}

// tracedDecisions implements [gate.Tracer].
type tracedDecisions struct {
	tracer   *tracing.Tracer
	refusals tracing.Rate
	others   tracing.Rate
}

// Decided implements [gate.Tracer]: every refusal is traced, and what the gateway
// samples, both within their rates.
func (t *tracedDecisions) Decided(req *gate.Request, d *gate.Decision, start time.Time, looked, took time.Duration) string {
	refused := d.Action >= policy.Deny
	if !refused && !req.Trace.Sampled() {
		return ""
	}
	rate := &t.others
	if refused {
		rate = &t.refusals
	}
	if !rate.Take(start) {
		return ""
	}
	parent := trace.SpanContext{}
	if req.Trace.ID() != "" {
		parent = tracing.Parent(req.Trace.Parent, req.Trace.State)
	}
	span := t.tracer.Begin(tracing.Span{
		Name: "decide", Kind: trace.SpanKindServer, Start: start, Parent: parent,
		Attributes: []attribute.KeyValue{
			attribute.String("weir.decision_id", d.ID), attribute.String("weir.action", d.Action.String()), attribute.String("weir.policy", d.Policy),
			attribute.Int("weir.score", d.Score), attribute.String("weir.tenant", req.Tenant), attribute.String("http.route", req.Route),
			attribute.String("weir.degraded_by", d.DegradedBy),
		},
	})
	t.tracer.Begin(tracing.Span{
		Name: "look up risk", Kind: trace.SpanKindClient, Start: start, Parent: span.SpanContext(), Attributes: []attribute.KeyValue{attribute.Int("weir.entities", len(req.Entities))},
	}).End(trace.WithTimestamp(start.Add(looked)))
	span.End(trace.WithTimestamp(start.Add(took)))
	return span.SpanContext().TraceID().String()
}

// makeTraces begins the traces of a gate, where they are configured.
func (g *Gate) makeTraces(cfg tracing.Config) (gate.Tracer, error) {
	t, err := tracing.New(cfg, "weir-gate", Version(), g.log, g.admin.Registry())
	if err != nil || t == nil {
		return nil, err
	}
	g.traces = t
	return &tracedDecisions{tracer: t, refusals: tracing.Rate{PerSecond: cfg.PerSecond}, others: tracing.Rate{PerSecond: cfg.PerSecond}}, nil
}

// pendingSpans are spans that end when a store has acknowledged what they are about.
type pendingSpans struct{ list []pendingSpan }

type pendingSpan struct {
	offset int64
	span   trace.Span
}

// mostPending limits the spans that wait for a store.
const mostPending = 1000

func (p *pendingSpans) add(offset int64, span trace.Span) {
	if len(p.list) < mostPending {
		p.list = append(p.list, pendingSpan{offset, span})
	}
}

// stored ends the spans of what lies below an offset.
func (p *pendingSpans) stored(below int64) {
	for len(p.list) > 0 && p.list[0].offset < below {
		p.list[0].span.End()
		p.list = p.list[1:]
	}
}

// workerTraces is what the traces of a worker share.
type workerTraces struct {
	tracer          *tracing.Tracer
	stream          StreamConfig
	oneIn           int64
	events, signals tracing.Rate
}

// tracedEvents traces some of the events of one raw partition. One goroutine uses it.
type tracedEvents struct {
	ingest.EventTrack
	*workerTraces
	partition int32
	pending   pendingSpans
}

// Append implements [ingest.EventTrack].
func (t *tracedEvents) Append(ctx context.Context, offset int64, owner uint64, received int64, e *event.Event) error {
	err := t.EventTrack.Append(ctx, offset, owner, received, e)
	of := tracing.OfEvent(t.stream.Name, uint64(t.stream.Incarnation), t.partition, offset)
	id := of.TraceID()
	if now := time.Now(); err == nil && (int64(id[0])<<16|int64(id[1])<<8|int64(id[2]))%t.oneIn == 0 && t.events.Take(now) {
		t.trace(of, offset, received, e, now)
	}
	return err
}

// trace makes two spans that link to each other: one in the trace of the gateway, if
// the event names it, and one in the trace of what Weir makes of the event.
func (t *tracedEvents) trace(of trace.SpanContext, offset, received int64, e *event.Event, now time.Time) {
	about := []attribute.KeyValue{
		attribute.Int64("weir.partition", int64(t.partition)), attribute.Int64("weir.offset", offset), attribute.String("weir.tenant", e.Text(event.Tenant)),
		attribute.String("http.request.method", e.Text(event.Method)), attribute.String("http.route", e.Text(event.Route)), attribute.Int64("http.response.status_code", e.Num(event.Status)),
	}
	read := time.UnixMilli(received)
	gateway := tracing.InTrace(e.Text(event.TraceID))
	if gateway.TraceID().IsValid() {
		span := t.tracer.Begin(tracing.Span{Name: "ingest", Kind: trace.SpanKindConsumer, Start: read, ID: gateway, Links: []trace.SpanContext{of}, Attributes: about})
		gateway = span.SpanContext()
		span.End(trace.WithTimestamp(now))
	}
	t.tracer.Begin(tracing.Span{Name: "event", Kind: trace.SpanKindConsumer, Start: read, ID: of, Links: []trace.SpanContext{gateway}, Attributes: about}).End(trace.WithTimestamp(now))
	t.pending.add(offset, t.tracer.Begin(tracing.Span{Name: "store event", Kind: trace.SpanKindClient, Start: now, Parent: of}))
}

// Stored implements [ingest.EventTrack].
func (t *tracedEvents) Stored() int64 {
	below := t.EventTrack.Stored()
	t.pending.stored(below)
	return below
}

// tracedSignals traces the signals of one facet partition. One goroutine uses it.
type tracedSignals struct {
	engine.SignalTrack
	*workerTraces
	pending pendingSpans
}

// Append implements [engine.SignalTrack]. A signal's span begins with its event and
// ends with the signal: it shows how long detection took.
func (t *tracedSignals) Append(ctx context.Context, offset int64, s *score.Signal) error {
	if err := t.SignalTrack.Append(ctx, offset, s); err != nil {
		return err
	}
	now := time.Now()
	if !t.signals.Take(now) {
		return nil
	}
	span := t.tracer.Begin(tracing.Span{
		Name: "signal", Kind: trace.SpanKindConsumer, Start: time.UnixMilli(min(s.Time, now.UnixMilli())),
		Parent: tracing.OfEvent(t.stream.Name, s.Position.Incarnation, s.Source, s.SourceOffset),
		Attributes: []attribute.KeyValue{
			attribute.String("weir.signal_id", s.ID()), attribute.String("weir.rule", s.Rule), attribute.String("weir.phase", s.Phase.String()),
			attribute.Int("weir.weight", int(s.Weight)), attribute.String("weir.entity_kind", s.Entity.Kind.String()), attribute.String("weir.tenant", s.Entity.Tenant),
		},
	})
	span.End(trace.WithTimestamp(now))
	t.pending.add(offset, t.tracer.Begin(tracing.Span{Name: "store signal", Kind: trace.SpanKindClient, Start: now, Parent: span.SpanContext()}))
	return nil
}

// Stored implements [engine.SignalTrack].
func (t *tracedSignals) Stored() int64 {
	below := t.SignalTrack.Stored()
	t.pending.stored(below)
	return below
}

// makeTraces begins the traces of a worker, where they are configured.
func (w *Worker) makeTraces() error {
	t, err := tracing.New(w.cfg.Tracing, "weir-worker", Version(), w.log, w.admin.Registry())
	if err != nil || t == nil {
		return err
	}
	rate := w.cfg.Tracing.PerSecond
	w.traces = &workerTraces{tracer: t, stream: w.cfg.Stream, oneIn: int64(w.cfg.Tracing.Events), events: tracing.Rate{PerSecond: rate}, signals: tracing.Rate{PerSecond: rate}}
	return nil
}

// close sends what waits.
func (t *workerTraces) close() {
	if t != nil {
		closeTracer(t.tracer)
	}
}

// eventTrack stores the events of a raw partition.
func (w *Worker) eventTrack(p int32) ingest.EventTrack {
	track := w.events.Open(p)
	if w.traces == nil {
		return track
	}
	return &tracedEvents{EventTrack: track, workerTraces: w.traces, partition: p}
}

// signalTrack stores the signals of a facet partition.
func (w *Worker) signalTrack(p int32) engine.SignalTrack {
	track := w.signals.Open(p)
	if w.traces == nil {
		return track
	}
	return &tracedSignals{SignalTrack: track, workerTraces: w.traces}
}
