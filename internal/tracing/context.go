package tracing

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

func randomID[T trace.TraceID | trace.SpanID]() (id T) {
	switch p := any(&id).(type) {
	case *trace.TraceID:
		_, _ = rand.Read(p[:]) // never fails
	case *trace.SpanID:
		_, _ = rand.Read(p[:])
	}
	return id
}

// Parent reads a traceparent of W3C trace context, and the tracestate beside it. The
// result is not valid if the traceparent is not.
func Parent(traceparent, tracestate string) trace.SpanContext {
	if len(traceparent) < 55 || traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-' {
		return trace.SpanContext{}
	}
	id, err1 := trace.TraceIDFromHex(traceparent[3:35])
	span, err2 := trace.SpanIDFromHex(traceparent[36:52])
	flags, err3 := hex.DecodeString(traceparent[53:55])
	if err1 != nil || err2 != nil || err3 != nil {
		return trace.SpanContext{}
	}
	state, err := trace.ParseTraceState(tracestate)
	if err != nil {
		state = trace.TraceState{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: span, TraceFlags: trace.TraceFlags(flags[0]) & trace.FlagsSampled, TraceState: state, Remote: true})
}

// InTrace returns a context of a trace by its id, 32 hexadecimal digits, without a
// span. It has no valid trace id if the text is none.
func InTrace(id string) trace.SpanContext {
	t, err := trace.TraceIDFromHex(id)
	if err != nil {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: t, TraceFlags: trace.FlagsSampled})
}

// OfEvent returns the trace of what Weir makes of an event, and in it the span of
// the event: both follow from the event's position in the raw log, so the stages
// need not tell each other.
func OfEvent(stream string, incarnation uint64, partition int32, offset int64) trace.SpanContext {
	sum := sha256.Sum256(fmt.Appendf(nil, "weir trace %s %d %d %d", stream, incarnation, partition, offset))
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]), TraceFlags: trace.FlagsSampled, Remote: true})
}

// Rate limits how many traces begin in a second. It is safe for use by many
// goroutines.
type Rate struct {
	PerSecond int

	mu     sync.Mutex
	second int64
	used   int
}

// Take reports whether another one may begin now.
func (r *Rate) Take(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := now.Unix(); s != r.second {
		r.second, r.used = s, 0
	}
	r.used++
	return r.used <= r.PerSecond
}
