// Package tracetest is a receiver of traces for tests.
package tracetest

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Receiver takes traces over HTTP, as OTLP.
type Receiver struct {
	*httptest.Server

	mu      sync.Mutex
	service string
	spans   map[string]Span
}

// Span is a span that was received. Ids are hexadecimal; Parent is "" at a root.
type Span struct {
	Trace, ID, Parent string
	Start             uint64 // Unix ns
	Nanos             int64
	Links             []string // trace ids
	Attributes        map[string]string
}

// New starts a receiver.
func New(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{spans: map[string]Span{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := r.take(req); err != nil || req.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", req.URL, err)
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *Receiver) take(req *http.Request) error {
	in := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		in = z
	}
	body, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var batch collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &batch); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range batch.ResourceSpans {
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				r.service = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				one := Span{
					Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId), Start: s.StartTimeUnixNano,
					Nanos: int64(s.EndTimeUnixNano - s.StartTimeUnixNano), Attributes: map[string]string{},
				}
				for _, l := range s.Links {
					one.Links = append(one.Links, hex.EncodeToString(l.TraceId))
				}
				for _, a := range s.Attributes {
					one.Attributes[a.Key] = a.Value.GetStringValue()
				}
				if r.spans[s.Name].Start <= one.Start {
					r.spans[s.Name] = one
				}
			}
		}
	}
	return nil
}

// Spans returns the span of each name that began last.
func (r *Receiver) Spans() map[string]Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]Span{}
	for name, s := range r.spans {
		all[name] = s
	}
	return all
}

// Service returns the name of the program that sent spans.
func (r *Receiver) Service() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.service
}
