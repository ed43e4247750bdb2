// Package tracing sends spans to a receiver of OpenTelemetry, if one is configured.
//
// Spans are made after the fact, from times that were taken anyway: what is not
// sampled, or not configured, costs a comparison.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config configures traces.
type Config struct {
	Endpoint  string `yaml:"endpoint" doc:"receiver of traces, OTLP over HTTP, such as http://collector:4318; empty: OTEL_EXPORTER_OTLP_ENDPOINT, and without that nothing is traced"`
	Events    int    `yaml:"events" doc:"a worker traces one of so many events"`
	PerSecond int    `yaml:"per_second" doc:"most traces a second of each kind: refusals, other decisions whose gateway samples them, events, signals"`
}

// Defaults returns values that suit most installations.
func Defaults() Config { return Config{Events: 1000, PerSecond: 20} }

// Validate reports all errors in c.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.Endpoint); c.Endpoint != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		errs = append(errs, fmt.Errorf("tracing.endpoint: %q is no address of HTTP, such as http://collector:4318", c.Endpoint))
	}
	if c.Events < 1 {
		errs = append(errs, fmt.Errorf("tracing.events: %d is less than 1", c.Events))
	}
	if c.PerSecond < 1 || c.PerSecond > 10_000 {
		errs = append(errs, fmt.Errorf("tracing.per_second: %d is outside 1 … 10000", c.PerSecond))
	}
	return errors.Join(errs...)
}

// endpoint returns the address of the receiver; "" if nothing is traced.
func (c Config) endpoint() string {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" {
		return ""
	}
	if c.Endpoint != "" {
		return c.Endpoint
	}
	if e := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); e != "" {
		return e
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")
}

// Tracer makes spans. It is safe for use by many goroutines.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// New returns a tracer of a program; nil if nothing is to be traced. It connects to
// nothing yet: spans wait in a bounded queue, and are dropped when it is full.
func New(cfg Config, service, version string, log *slog.Logger, r prometheus.Registerer) (*Tracer, error) {
	f := promauto.With(r)
	spans := f.NewCounterVec(prometheus.CounterOpts{Name: "weir_traces_spans_total", Help: "Spans that were sent to the receiver of traces, or could not be, by outcome. Those that are dropped because too many wait are not counted."}, []string{"outcome"})
	for _, o := range []string{"sent", "failed"} {
		spans.WithLabelValues(o)
	}
	if cfg.endpoint() == "" {
		return nil, nil
	}
	var options []otlptracehttp.Option
	if cfg.Endpoint != "" {
		options = append(options, otlptracehttp.WithEndpointURL(traces(cfg.Endpoint)))
	}
	exporter, err := otlptracehttp.New(context.Background(), options...)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	t := &Tracer{provider: sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), // what is not sampled makes no span
		sdktrace.WithIDGenerator(named{}),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", service), attribute.String("service.version", version))),
		sdktrace.WithBatcher(&reporting{SpanExporter: exporter, log: log, spans: spans}),
	)}
	t.tracer = t.provider.Tracer("github.com/weirdev/weir")
	return t, nil
}

// traces adds the path of OTLP to an address without one.
func traces(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Path != "" && u.Path != "/" {
		return endpoint
	}
	u.Path = "/v1/traces"
	return u.String()
}

// Close sends what waits, for as long as ctx allows. A nil tracer has nothing.
func (t *Tracer) Close(ctx context.Context) {
	if t != nil {
		_ = t.provider.Shutdown(ctx) // the exporter has logged what failed
	}
}

// Span describes a span.
type Span struct {
	Name       string
	Kind       trace.SpanKind
	Start      time.Time
	Parent     trace.SpanContext   // zero: the span is the root of its trace
	ID         trace.SpanContext   // trace and span id that it must have; zero: any
	Links      []trace.SpanContext // spans of other traces
	Attributes []attribute.KeyValue
}

// Begin begins a span, which the caller ends.
func (t *Tracer) Begin(s Span) trace.Span {
	ctx := context.Background()
	if s.Parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, s.Parent)
	}
	if s.ID.TraceID().IsValid() {
		ctx = context.WithValue(ctx, wantedID{}, s.ID)
	}
	options := []trace.SpanStartOption{trace.WithTimestamp(s.Start), trace.WithSpanKind(s.Kind), trace.WithAttributes(s.Attributes...)}
	for _, l := range s.Links {
		if l.TraceID().IsValid() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: l}))
		}
	}
	_, span := t.tracer.Start(ctx, s.Name, options...)
	return span
}

type wantedID struct{}

// named makes ids: those that a span must have, or random ones.
type named struct{}

// NewIDs implements [sdktrace.IDGenerator].
func (named) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	want, _ := ctx.Value(wantedID{}).(trace.SpanContext)
	id, span := want.TraceID(), want.SpanID()
	if !id.IsValid() {
		id = randomID[trace.TraceID]()
	}
	if !span.IsValid() {
		span = randomID[trace.SpanID]()
	}
	return id, span
}

// NewSpanID implements [sdktrace.IDGenerator].
func (named) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	if want, ok := ctx.Value(wantedID{}).(trace.SpanContext); ok && want.SpanID().IsValid() {
		return want.SpanID()
	}
	return randomID[trace.SpanID]()
}

// reporting is an exporter whose errors go to the log, at most one a minute.
type reporting struct {
	sdktrace.SpanExporter
	log   *slog.Logger
	spans *prometheus.CounterVec

	mu   sync.Mutex
	said time.Time
}

const sayEvery = time.Minute

// ExportSpans implements [sdktrace.SpanExporter].
func (r *reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		r.spans.WithLabelValues("sent").Add(float64(len(spans)))
		return nil
	}
	r.spans.WithLabelValues("failed").Add(float64(len(spans)))
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.said) >= sayEvery {
		r.said = time.Now()
		r.log.Warn("traces cannot be sent", "spans", len(spans), "error", err)
	}
	return nil // the library would write it to standard error
}
