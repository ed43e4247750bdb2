package gate

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weirdev/weir/gate/emit"
)

// traced takes decisions, and samples those of a route.
type traced struct{ decided []Decision }

func (s *traced) Decided(req *Request, d *Decision, start time.Time, looked, took time.Duration) string {
	if start.IsZero() || looked <= 0 || took < looked {
		panic("times that cannot be")
	}
	s.decided = append(s.decided, *d)
	if req.Route == "/sampled" {
		return req.Trace.ID()
	}
	return ""
}

// TestADecisionInATraceIsAnExemplar: whoever sees slow decisions finds one of them.
func TestADecisionInATraceIsAnExemplar(t *testing.T) {
	spans, r := &traced{}, prometheus.NewRegistry()
	deps := dependencies(t, &memory{}, "")
	deps.Registerer, deps.Tracer = r, spans
	g, err := New(Defaults(), deps)
	if err != nil {
		t.Fatal(err)
	}
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	metrics := func() string {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
		promhttp.HandlerFor(r, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, req)
		return w.Body.String()
	}
	g.Decide(t.Context(), Request{Route: "/other", Trace: emit.Trace{Parent: "00-" + id + "-00f067aa0ba902b7-00"}})
	if strings.Contains(metrics(), id) {
		t.Error("a decision that is in no trace is an exemplar")
	}
	d := g.Decide(t.Context(), Request{Route: "/sampled", Trace: emit.Trace{Parent: "00-" + id + "-00f067aa0ba902b7-01"}})
	if len(spans.decided) != 2 || spans.decided[1].ID != d.ID {
		t.Errorf("traced: %+v", spans.decided)
	}
	if text := metrics(); !strings.Contains(text, `# {trace_id="`+id+`"}`) {
		t.Errorf("no exemplar in\n%s", text)
	}
}

// BenchmarkDecideWatched is BenchmarkDecide with a tracer that samples nothing.
func BenchmarkDecideWatched(b *testing.B) {
	eachRisk(b, func(b *testing.B, g *Gate, body []byte) {
		req, err := ParseRequest(body)
		if err != nil {
			b.Fatal(err)
		}
		g.tracer = nobody{}
		for b.Loop() {
			g.Decide(b.Context(), req)
		}
	})
}

type nobody struct{}

func (nobody) Decided(*Request, *Decision, time.Time, time.Duration, time.Duration) string { return "" }

// TestWithoutATracerNothingIsMadeForIt: copies of question and decision are only made
// for a tracer.
func TestWithoutATracerNothingIsMadeForIt(t *testing.T) {
	g := newGate(t, &memory{}, nil)
	decide := func() { g.Decide(t.Context(), Request{Tenant: "shop"}) }
	without := testing.AllocsPerRun(100, decide)
	g.tracer = nobody{}
	if with := testing.AllocsPerRun(100, decide); without+2 > with {
		t.Errorf("%v allocations without a tracer, %v with one", without, with)
	}
}
