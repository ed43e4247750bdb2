package gate

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// benchmarkGate returns a gate that knows everybody, and a question about eight
// entities. accused says whether one of them has a score.
func benchmarkGate(b testing.TB, accused bool) (*Gate, []byte) {
	m := &memory{}
	body := []byte(`{"tenant":"shop","route":"/users/{id}","request":{"method":"GET","app_version":"4.2.0"},` +
		`"entities":{"account":"alice","session":"s-1","token":"t-1","device":"d-1","ip":"203.0.113.9"}}`)
	if accused {
		req, err := ParseRequest(body)
		if err != nil {
			b.Fatal(err)
		}
		m.scores = map[facet.Entity][]score.Contribution{req.Entities[0]: {contribution("login-brute-force", rules.Enforce, 60)}}
	}
	l, err := lookup.New(lookup.Defaults(), lookup.Dependencies{Store: m, Codec: codec, Timeout: time.Second, Now: func() time.Time { return time.UnixMilli(0) }})
	if err != nil {
		b.Fatal(err)
	}
	l.Whole() // changes are heard
	g, err := New(Defaults(), Dependencies{Risk: l, Policies: policies(b, ""), Shares: policy.NewHashed([16]byte{}), Now: func() time.Time { return time.UnixMilli(0) }})
	if err != nil {
		b.Fatal(err)
	}
	return g, body
}

// TestADecisionAllocatesLittle: garbage is what slows the slowest decisions down.
func TestADecisionAllocatesLittle(t *testing.T) {
	if testkit.Raced {
		t.Skip("the race detector allocates")
	}
	for accused, most := range map[bool]float64{false: 1, true: 3} { // the id; with a score, lists of categories and reasons
		g, body := benchmarkGate(t, accused)
		req, err := ParseRequest(body)
		if err != nil {
			t.Fatal(err)
		}
		g.Decide(t.Context(), req)
		if n := testing.AllocsPerRun(100, func() { g.Decide(t.Context(), req) }); n > most {
			t.Errorf("accused=%v: %v allocations, more than %v", accused, n, most)
		}
	}
}

// TestAQuestionAllocatesLittle: the reader, and the texts of an address and its two
// networks.
func TestAQuestionAllocatesLittle(t *testing.T) {
	if testkit.Raced {
		t.Skip("the race detector allocates")
	}
	_, body := benchmarkGate(t, false)
	var r room
	if n := testing.AllocsPerRun(100, func() {
		r.event.Reset()
		if _, err := parseInto(&r.event, r.entities[:], body); err != nil {
			t.Fatal(err)
		}
	}); n > 4 {
		t.Errorf("%v allocations", n)
	}
}

func eachRisk(b *testing.B, run func(b *testing.B, g *Gate, body []byte)) {
	for _, accused := range []bool{false, true} {
		b.Run(fmt.Sprintf("accused=%v", accused), func(b *testing.B) {
			g, body := benchmarkGate(b, accused)
			b.ReportAllocs()
			run(b, g, body)
		})
	}
}

// BenchmarkDecide measures decisions in the process, with everything known.
func BenchmarkDecide(b *testing.B) {
	eachRisk(b, func(b *testing.B, g *Gate, body []byte) {
		req, err := ParseRequest(body)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if d := g.Decide(b.Context(), req); d.Degraded {
				b.Fatalf("%+v", d)
			}
		}
	})
}

// BenchmarkServe measures /v1/decide without a network.
func BenchmarkServe(b *testing.B) {
	eachRisk(b, func(b *testing.B, g *Gate, body []byte) {
		h := g.Handler()
		w := &discard{header: http.Header{}}
		for b.Loop() {
			r := httptest.NewRequest(http.MethodPost, "/v1/decide", bytes.NewReader(body))
			h.ServeHTTP(w, r)
		}
	})
}

// BenchmarkParseRequest measures the reading of questions.
func BenchmarkParseRequest(b *testing.B) {
	_, body := benchmarkGate(b, false)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(body); err != nil {
			b.Fatal(err)
		}
	}
}

// discard is an answer that nobody reads.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
