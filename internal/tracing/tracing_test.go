package tracing_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/weirdev/weir/internal/tracing"
	"github.com/weirdev/weir/internal/tracing/tracetest"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestSpansReachAReceiver(t *testing.T) {
	r := tracetest.New(t)
	cfg := tracing.Defaults()
	cfg.Endpoint = r.URL
	tracer, err := tracing.New(cfg, "weir-test", "1.2.3", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil || tracer == nil {
		t.Fatal(tracer, err)
	}
	start := time.UnixMilli(1_763_892_000_123)
	of := tracing.OfEvent("weir", 1, 2, 3)
	one := tracer.Begin(tracing.Span{Name: "decide", Kind: trace.SpanKindServer, Start: start, Parent: tracing.Parent(parent, "vendor=x"), Links: []trace.SpanContext{of}, Attributes: []attribute.KeyValue{attribute.String("k", "v")}})
	tracer.Begin(tracing.Span{Name: "look up", Start: start, Parent: one.SpanContext()}).End()
	one.End(trace.WithTimestamp(start.Add(time.Millisecond)))
	tracer.Begin(tracing.Span{Name: "event", Start: start, ID: of}).End()
	tracer.Begin(tracing.Span{Name: "ingest", Start: start, ID: tracing.InTrace("4bf92f3577b34da6a3ce929d0e0e4736")}).End()
	tracer.Close(t.Context())

	got := r.Spans()
	if len(got) != 4 || r.Service() != "weir-test" {
		t.Fatalf("%d spans of %q", len(got), r.Service())
	}
	decide, look, event, ingest := got["decide"], got["look up"], got["event"], got["ingest"]
	if decide.Trace != parent[3:35] || decide.Parent != parent[36:52] || decide.Nanos != time.Millisecond.Nanoseconds() || decide.Attributes["k"] != "v" ||
		len(decide.Links) != 1 || decide.Links[0] != of.TraceID().String() {
		t.Errorf("decide: %+v", decide)
	}
	if look.Trace != decide.Trace || look.Parent != decide.ID {
		t.Errorf("look up: %+v", look)
	}
	if event.Trace != of.TraceID().String() || event.ID != of.SpanID().String() || event.Parent != "" {
		t.Errorf("event: %+v", event)
	}
	if ingest.Trace != decide.Trace || ingest.Parent != "" || ingest.ID == "" {
		t.Errorf("ingest: %+v", ingest)
	}
}

func TestNothingIsTracedUnlessItIsConfigured(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	if tracer, err := tracing.New(tracing.Defaults(), "s", "v", slog.New(slog.DiscardHandler), nil); tracer != nil || err != nil {
		t.Errorf("without an endpoint: %v, %v", tracer, err)
	}
	r := tracetest.New(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.URL)
	tracer, err := tracing.New(tracing.Defaults(), "s", "v", slog.New(slog.DiscardHandler), nil)
	if err != nil || tracer == nil {
		t.Fatalf("with the variable of OpenTelemetry: %v, %v", tracer, err)
	}
	tracer.Begin(tracing.Span{Name: "one", Start: time.Now()}).End()
	tracer.Close(t.Context())
	if len(r.Spans()) != 1 {
		t.Error("the span did not arrive")
	}
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if tracer, err := tracing.New(tracing.Defaults(), "s", "v", slog.New(slog.DiscardHandler), nil); tracer != nil || err != nil {
		t.Errorf("where it is disabled: %v, %v", tracer, err)
	}
}

// TestAReceiverThatIsAwayIsSaidOnce: not for each batch.
func TestAReceiverThatIsAwayIsSaidOnce(t *testing.T) {
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := gzip.NewReader(r.Body)
		if body != nil {
			_, _ = io.Copy(io.Discard, body)
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer down.Close()
	var mu sync.Mutex
	var log bytes.Buffer
	cfg := tracing.Defaults()
	cfg.Endpoint = down.URL
	r := prometheus.NewRegistry()
	tracer, err := tracing.New(cfg, "s", "v", slog.New(slog.NewTextHandler(locked{&mu, &log}, nil)), r)
	if err != nil {
		t.Fatal(err)
	}
	for range 600 { // more than one batch
		tracer.Begin(tracing.Span{Name: "one", Start: time.Now()}).End()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tracer.Close(ctx)
	if said := strings.Count(log.String(), "traces cannot be sent"); said != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("it was said %d times: %s", said, log.String())
	}
	if err := testutil.GatherAndCompare(r, strings.NewReader(`# HELP weir_traces_spans_total Spans that were sent to the receiver of traces, or could not be, by outcome. Those that are dropped because too many wait are not counted.
# TYPE weir_traces_spans_total counter
weir_traces_spans_total{outcome="failed"} 600
weir_traces_spans_total{outcome="sent"} 0
`)); err != nil {
		t.Error(err)
	}
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestContextsThatAreInvalid(t *testing.T) {
	for _, p := range []string{"", "00", parent[:54], strings.Replace(parent, "-", "_", 1), strings.Replace(parent, "4b", "4x", 1), "00-" + strings.Repeat("0", 32) + parent[35:]} {
		if c := tracing.Parent(p, ""); c.IsValid() {
			t.Errorf("%q is taken", p)
		}
	}
	if c := tracing.Parent(parent, "no=state,,=="); !c.IsValid() || !c.IsSampled() {
		t.Error("a tracestate that does not read spoils the traceparent")
	}
	if tracing.InTrace("4bf9").TraceID().IsValid() || !tracing.InTrace(parent[3:35]).TraceID().IsValid() {
		t.Error("trace ids are not checked")
	}
	for _, bad := range []tracing.Config{{Endpoint: "collector:4318", Events: 1, PerSecond: 1}, {Events: 0, PerSecond: 1}, {Events: 1}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestARateIsKept(t *testing.T) {
	r := tracing.Rate{PerSecond: 2}
	at := time.UnixMilli(5000)
	for i, tc := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {0, true}, {900 * time.Millisecond, false}, {time.Second, true}} {
		if got := r.Take(at.Add(tc.after)); got != tc.want {
			t.Errorf("number %d: %v", i, got)
		}
	}
}
