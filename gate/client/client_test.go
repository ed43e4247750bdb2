package client

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/breaker"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const decision = `{"decision_id":"0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1","action":"throttle","score":42,"observed_score":50,"level":"medium","categories":{"bot":42},
"reasons":[{"rule":"r","reason":"why","category":"bot","weight":42,"phase":"enforce","entity":"ip"}],"policy":"default","policy_version":"v","mode":"soft","would":"deny",
"degraded":true,"degraded_by":"partial","retry_after_s":9,"expires_at":"2026-11-23T18:00:01.250Z","something_new":1}`

// gateStub answers each call with a status and a body, and counts what it sees.
type gateStub struct {
	status       atomic.Int32 // 0: 200
	body         atomic.Value // string; nil: a decision
	asked, dials atomic.Int32
	last         atomic.Value // body of the last call
	header       atomic.Value
}

func (g *gateStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	g.asked.Add(1)
	g.last.Store(r.URL.Path + " " + string(b))
	g.header.Store(r.Header.Clone())
	if s := g.status.Load(); s != 0 {
		w.WriteHeader(int(s))
	}
	body, ok := g.body.Load().(string)
	if !ok {
		body = decision
	}
	_, _ = io.WriteString(w, body)
}

func (g *gateStub) countDials(_ net.Conn, s http.ConnState) {
	if s == http.StateNew {
		g.dials.Add(1)
	}
}

// start serves over TCP, and over a Unix socket.
func start(t *testing.T) (g *gateStub, addresses []string) {
	g = &gateStub{}
	tcp := httptest.NewUnstartedServer(g)
	unix := httptest.NewUnstartedServer(g)
	path := filepath.Join(t.TempDir(), "gate.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Listener.Close()
	unix.Listener = l
	for _, s := range []*httptest.Server{tcp, unix} {
		s.Config.ConnState = g.countDials
		s.Start()
		t.Cleanup(s.Close)
	}
	return g, []string{tcp.URL, "unix:" + path}
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second // the machine may be busy
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestADecisionOverTCPAndUnix(t *testing.T) {
	g, addresses := start(t)
	for i, addr := range addresses {
		c := newClient(t, Config{Address: addr, Token: "a shared secret!"})
		for range 5 {
			d, err := c.Decide(t.Context(), Request{Tenant: "shop", Route: "/login", Entities: Entities{IP: "203.0.113.9", Account: `al"ice`, Device: ""}})
			want := gate.Decision{
				ID: "0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1", Action: policy.Throttle, Score: 42, ObservedScore: 50, Level: policy.Medium, Categories: gate.Categories{{Category: "bot", Points: 42}},
				Reasons: []gate.Reason{{Rule: "r", Reason: "why", Category: "bot", Weight: 42, Phase: rules.Enforce, Entity: "ip"}}, Policy: "default", PolicyVersion: "v",
				Mode: rules.Soft, Would: policy.Deny, Degraded: true, DegradedBy: "partial", RetryAfter: 9, ExpiresAt: time.Date(2026, 11, 23, 18, 0, 1, 250_000_000, time.UTC),
			}
			if err != nil || !reflect.DeepEqual(d, want) {
				t.Errorf("%s: %+v, %v", addr, d, err)
			}
		}
		if got := g.last.Load(); got != `/v1/decide {"tenant":"shop","route":"/login","entities":{"account":"al\"ice","ip":"203.0.113.9"}}` {
			t.Errorf("asked %s", got)
		}
		h := g.header.Load().(http.Header)
		if h.Get("X-Weir-Token") != "a shared secret!" || h.Get("Content-Type") != "application/json" || len(h.Values("Idempotency-Key")) != 0 {
			t.Errorf("headers %v", h)
		}
		if n := g.dials.Load(); n != int32(i+1) {
			t.Errorf("%s: %d connections for 5 calls", addr, n)
		}
	}
}

func TestAnswersThatAreNoDecisions(t *testing.T) {
	g, addresses := start(t)
	c := newClient(t, Config{Address: addresses[0]})
	for _, tc := range []struct {
		status  int32
		body    string
		want    string
		refused bool
	}{
		{400, `{"type":"urn:weir:problem:malformed-request","title":"The request was not understood","detail":"\"x\": unknown member"}`, "unknown member", true},
		{401, `no JSON`, "401", true},
		{307, ``, "307", true},
		{404, ``, "404", true},
		{503, ``, "503", false},
		{200, `{}`, "no decision", false},
		{200, `{"decision_id":"x","action":"explode"}`, "explode", false},
		{200, `{"decision_id":"x","score":"90"}`, "score", false},
		{200, strings.Repeat(" ", maxAnswer) + decision, "no decision", false},
	} {
		g.status.Store(tc.status)
		g.body.Store(tc.body)
		_, err := c.Decide(t.Context(), Request{})
		var r *Refusal
		if err == nil || !strings.Contains(err.Error(), tc.want) || errors.As(err, &r) != tc.refused {
			t.Errorf("%d %.20q: %v", tc.status, tc.body, err)
		}
		c.breaker.Done(breaker.Succeeded) // each case by itself
	}
}

// TestAGateThatIsAwayIsLeftAlone: after some failures it is not asked for a second;
// questions that are wrong are no failures.
func TestAGateThatIsAwayIsLeftAlone(t *testing.T) {
	g, addresses := start(t)
	c := newClient(t, Config{Address: addresses[0]})
	g.status.Store(400)
	for range 2 * failuresToOpen {
		if _, err := c.Decide(t.Context(), Request{}); errors.Is(err, ErrUnavailable) {
			t.Fatal("the breaker opens for wrong questions")
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 * failuresToOpen {
		if _, err := c.Decide(gone, Request{}); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v: the breaker opens for callers that have gone", err)
		}
	}
	g.status.Store(500)
	before := g.asked.Load()
	for range 2 * failuresToOpen {
		_, _ = c.Decide(t.Context(), Request{})
	}
	if n := g.asked.Load() - before; n != failuresToOpen {
		t.Errorf("it was asked %d times", n)
	}
	if _, err := c.Decide(t.Context(), Request{}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

// TestTheTimeoutHolds: also against a gate that accepts and stays silent.
func TestTheTimeoutHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{Address: "http://gate"})
		if err != nil {
			t.Fatal(err)
		}
		var held []net.Conn
		c.to.(*wire).dial = func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			held = append(held, theirs)
			return ours, nil
		}
		start := time.Now()
		if _, err := c.Decide(t.Context(), Request{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != DefaultTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		for _, h := range held {
			_ = h.Close()
		}
		c.Close()
	})
}

func TestAnOutcomeIsTold(t *testing.T) {
	g, addresses := start(t)
	c := newClient(t, Config{Address: addresses[1]})
	g.status.Store(202)
	g.body.Store(`{"joined":true}`)
	if err := c.Outcome(t.Context(), Outcome{DecisionID: "d", Status: 201, ResponseBytes: 5, LatencyMicros: 812, Auth: "success", Action: "allow"}); err != nil {
		t.Fatal(err)
	}
	want := `/v1/outcome {"decision_id":"d","status":201,"response_bytes":5,"latency_us":812,"auth":"success","decision_action":"allow"}`
	if got := g.last.Load(); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestAPassedChallengeIsTold(t *testing.T) {
	g, addresses := start(t)
	c := newClient(t, Config{Address: addresses[0]})
	g.status.Store(202)
	g.body.Store(`{"records":2}`)
	if err := c.Passed(t.Context(), Passed{DecisionID: "d", Challenge: Owner, Tenant: "shop", Gateway: "login", Entities: Entities{Device: "d-81", Account: `al"ice`, Session: ""}}); err != nil {
		t.Fatal(err)
	}
	want := `/v1/passed {"decision_id":"d","challenge":"step_up","tenant":"shop","gateway":"login","entities":{"account":"al\"ice","device":"d-81"}}`
	if got := g.last.Load(); got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

func TestAddresses(t *testing.T) {
	for addr, ok := range map[string]bool{
		"http://127.0.0.1:8191": true, "https://gate:8191/": true, "unix:/run/weir/gate.sock": true,
		"": false, "127.0.0.1:8191": false, "unix:": false, "ftp://gate": false, "http://gate/v1/decide": false, "http://": false, "http://gate?x=1": false,
	} {
		if _, err := New(Config{Address: addr}); (err == nil) != ok {
			t.Errorf("%q: %v", addr, err)
		}
	}
	if _, err := New(Config{Address: "http://gate", Timeout: -1}); err == nil {
		t.Error("a negative timeout is accepted")
	}
}

// TestEveryKindHasAName: a kind that is added later needs a constant.
func TestEveryKindHasAName(t *testing.T) {
	named := []Kind{Account, Session, Token, Device, IP, Net, ASN, JA4, Build, Route, Tenant, Country, Net16, Key, Attestation}
	for _, k := range facet.Kinds() {
		if !slices.Contains(named, k) {
			t.Errorf("%s has no name", k)
		}
	}
}

// TestTheQuestionArrivesAsItWas: what the gate reads is what was meant.
func TestTheQuestionArrivesAsItWas(t *testing.T) {
	e := new(event.Event)
	e.SetText(event.Method, "POST")
	e.SetText(event.UserAgent, "app/4.2 \"x\"")
	e.SetNum(event.Rooted, 1)
	e.SetText(event.Tenant, "shop")
	e.SetText(event.Account, "alice")
	e.SetText(event.IP, "203.0.113.9")
	e.SetNum(event.Time, 1_764_000_000_000)
	in := gate.Request{Tenant: "shop", Route: "/users/{id}", Event: e, Missing: true, Entities: []facet.Entity{
		{Kind: facet.Account, Tenant: "shop", Key: "alice"}, {Kind: facet.IP, Tenant: "shop", Key: "2001:db8:1:2::/64"}, {Kind: facet.Net, Tenant: "shop", Key: "2001:db8:1::/48"},
		{Kind: facet.Build, Tenant: "shop", Key: "4.2|Pixel 8"}, {Kind: facet.Net16, Tenant: "shop", Key: "2001:db8::/32"},
	}}
	out := Of(&in)
	got, err := gate.ParseRequest(out.AppendJSON(nil))
	if err != nil {
		t.Fatal(err)
	}
	if got.Tenant != in.Tenant || got.Route != in.Route || !got.Missing || got.Shortened || !reflect.DeepEqual(got.Entities, in.Entities) {
		t.Errorf("%+v\nwant %+v", got, in)
	}
	if got.Event.Text(event.Method) != "POST" || got.Event.Text(event.UserAgent) != out.Fields.Text(event.UserAgent) || got.Event.Num(event.Rooted) != 1 || got.Event.Has(event.Time) {
		t.Errorf("%s", got.Event.AppendAll(nil))
	}
	if e.Text(event.Account) != "alice" {
		t.Error("the event of the question was changed")
	}
}
