package middleware

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/client"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
)

// decider decides what the header X-Account says, and remembers the last question.
type decider struct {
	mu   sync.Mutex
	last gate.Request
}

func (d *decider) Decide(_ context.Context, req *gate.Request) (gate.Decision, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = *req
	decision := gate.Decision{ID: "id-1", Score: 42, RetryAfter: 7, Reasons: []gate.Reason{{Rule: "secret-rule"}}}
	account := req.Event.Text(event.Account)
	if account == "away" {
		return decision, errors.New("nobody answers")
	}
	if a, err := policy.ParseAction(account); err == nil {
		decision.Action = a
	}
	return decision, nil
}

// reporter remembers outcomes.
type reporter struct {
	mu   sync.Mutex
	told []client.Outcome
	hold chan struct{} // nil: does not wait
	err  error
}

func (r *reporter) Outcome(ctx context.Context, o client.Outcome) error {
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, o)
	return r.err
}

func newMiddleware(t testing.TB, d Decider, change func(*Config)) *Middleware {
	t.Helper()
	enriching := ingest.Defaults()
	enriching.TrustedProxies = []string{"10.0.0.0/8"}
	cfg := Config{Decider: d, Identify: []string{"account=header:x-account", "device=header:x-weir-device"}, Ingest: &enriching, Gateway: "shop"}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func request(target string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", target, nil)
	r.RemoteAddr = "10.0.0.1:4711"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestServedAndRefused(t *testing.T) {
	for _, tc := range []struct {
		action        string
		status        int
		header, value string
	}{
		{"allow", 200, "", ""}, {"tag", 200, "", ""}, {"throttle", 429, "Retry-After", "7"}, {"challenge", 403, "", ""},
		{"step_up", 401, "WWW-Authenticate", `Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", max_age="300"`}, {"deny", 403, "", ""},
	} {
		m := newMiddleware(t, &decider{}, nil)
		var seen *http.Request
		h := m.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r }))
		w, in := httptest.NewRecorder(), request("/users/17", "X-Account", tc.action, "X-Weir-Action", "allow", "x-weir-SCORE", "0", "X-Weir-Other", "1")
		in.Header["x-weir-odd"] = []string{"not in canonical form"}
		in.Header.Set("Connection", "close, X-Weir-Action,x-weir-score")
		h.ServeHTTP(w, in)
		if w.Code != tc.status || tc.header != "" && w.Header().Get(tc.header) != tc.value {
			t.Errorf("%s: %d %v", tc.action, w.Code, w.Header())
		}
		if in.Header.Get("X-Weir-Other") != "1" {
			t.Error("the server's request was changed")
		}
		if served := tc.status == 200; served != (seen != nil) {
			t.Fatalf("%s: served is %v", tc.action, seen != nil)
		} else if !served {
			if body := w.Body.String(); !strings.Contains(body, "urn:uuid:id-1") || strings.Contains(body, "secret-rule") || strings.Contains(body, "score") || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %s", tc.action, body)
			}
			continue
		}
		var names []string
		for name, values := range seen.Header {
			if strings.HasPrefix(strings.ToLower(name), "x-weir-") {
				names = append(names, name+"="+strings.Join(values, ","))
			}
		}
		slices.Sort(names)
		if got := seen.Header.Get("Connection"); got != "close" {
			t.Errorf("%s: a reverse proxy would remove %q", tc.action, got)
		}
		if want := []string{"X-Weir-Action=" + tc.action, "X-Weir-Decision-Id=id-1", "X-Weir-Score=42"}; !slices.Equal(names, want) {
			t.Errorf("%s: %q", tc.action, names)
		}
		if d, ok := From(seen.Context()); !ok || d.ID != "id-1" || d.Action.String() != tc.action {
			t.Errorf("%s: %+v %v", tc.action, d, ok)
		}
		if n := testutil.ToFloat64(m.decisions[policy.Allow]) + testutil.ToFloat64(m.decisions[policy.Tag]); n != 1 {
			t.Errorf("%v decisions", n)
		}
	}
}

func TestWithoutADecision(t *testing.T) {
	for _, closed := range []bool{false, true} {
		r := &reporter{}
		m := newMiddleware(t, &decider{}, func(c *Config) { c.Closed, c.Reporter = closed, r })
		served := false
		w := httptest.NewRecorder()
		m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served = true
			if _, ok := From(r.Context()); ok || r.Header.Get("X-Weir-Action") != "" {
				t.Error("there is a decision")
			}
		})).ServeHTTP(w, request("/", "X-Account", "away", "X-Weir-Action", "allow"))
		if served == closed || closed && (w.Code != 503 || w.Header().Get("Retry-After") == "") {
			t.Errorf("closed %v: served %v, %d", closed, served, w.Code)
		}
		if testutil.ToFloat64(m.missing) != 1 || len(m.outcomes.queue) != 0 {
			t.Error("it is not counted, or reported")
		}
	}
}

func TestWhatIsAsked(t *testing.T) {
	d := &decider{}
	m := newMiddleware(t, d, func(c *Config) {
		c.Fields = func(r *http.Request) map[string]string {
			return map[string]string{"session": r.Header.Get("Authorization")}
		}
	})
	mux := http.NewServeMux()
	mux.Handle("GET /users/{id}", m.Wrap(http.NotFoundHandler()))
	mux.ServeHTTP(httptest.NewRecorder(), request("http://api.example/users/17?x=1", "X-Account", "alice", "X-Forwarded-For", "203.0.113.9", "X-Weir-Device", "forged", "Authorization", "s1", "User-Agent", "app/4.2"))
	e := d.last.Event
	for f, want := range map[event.Field]string{
		event.Account: "alice", event.Session: "s1", event.ClientIP: "203.0.113.9", event.Device: "", event.Method: "GET", event.Host: "api.example", event.Path: "/users/17?x=1",
		event.Route: "/users/{id}", event.UserAgent: "app/4.2", event.Gateway: "shop",
	} {
		if e.Text(f) != want {
			t.Errorf("%s is %q, want %q", f, e.Text(f), want)
		}
	}
	if d.last.Missing || d.last.Route != "/users/{id}" {
		t.Errorf("%+v", d.last)
	}
	m.Wrap(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), request("/users/17")) // around a mux
	if d.last.Route == "" || d.last.Missing {
		t.Errorf("%+v", d.last)
	}
}

func TestRoutesOfPatterns(t *testing.T) {
	for pattern, want := range map[string]string{
		"": "", "/": "", "/{$}": "/", "GET /users/{id}": "/users/{id}", "api.example/users/{id}": "/users/{id}", "POST\tapi.example/a": "/a", "/static/": "", "/files/{path...}": "", "/a/{$}": "/a", "GET api.example": "",
	} {
		if got := routeOf(pattern); got != want {
			t.Errorf("%q: %q, want %q", pattern, got, want)
		}
	}
}

func TestPeers(t *testing.T) {
	for remote, want := range map[string]string{"203.0.113.9:80": "203.0.113.9", "[2001:db8::1]:80": "2001:db8::1", "@": event.UnixPeer, "": event.UnixPeer, "/run/x.sock": event.UnixPeer, "203.0.113.9": "203.0.113.9"} {
		if got := peerOf(remote); got != want {
			t.Errorf("%q: %q", remote, got)
		}
	}
}

// TestOutcomes: status, size and time of what the client got, for refusals as well.
func TestOutcomes(t *testing.T) {
	for _, tc := range []struct {
		name    string
		account string
		serve   http.HandlerFunc
		status  int
		bytes   int64
	}{
		{"nothing written", "allow", func(http.ResponseWriter, *http.Request) {}, 200, 0},
		{"a body", "allow", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, 200, 5},
		{"a status", "tag", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "x", 404) }, 404, 2},
		{"hints come before the answer", "allow", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(103); w.WriteHeader(201) }, 201, 0},
		{"the first status counts", "allow", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(201); w.WriteHeader(500) }, 201, 0},
		{"copied", "allow", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader("copied")) }, 200, 6},
		{"a panic", "allow", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, 0},
		{"refused", "throttle", nil, 429, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &reporter{}
				m := newMiddleware(t, &decider{}, func(c *Config) { c.Reporter = r })
				h := m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
					time.Sleep(3 * time.Millisecond) // virtual
					tc.serve(w, req)
				}))
				func() {
					defer func() { _ = recover() }()
					h.ServeHTTP(httptest.NewRecorder(), request("/", "X-Account", tc.account))
				}()
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				m.Run(ctx)
				if len(r.told) != 1 {
					t.Fatalf("told %+v", r.told)
				}
				o := r.told[0]
				latency := int64(3000)
				if tc.serve == nil {
					latency = 0
				}
				if o.DecisionID != "id-1" || o.Status != int64(tc.status) || tc.bytes >= 0 && o.ResponseBytes != tc.bytes || o.LatencyMicros != latency {
					t.Errorf("%+v", o)
				}
			})
		})
	}
}

// TestOutcomesNeverHoldRequestsUp: what does not fit is dropped and counted, and the
// end does not wait for a gate that hangs.
func TestOutcomesNeverHoldRequestsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reporter{hold: make(chan struct{})}
		m := newMiddleware(t, &decider{}, func(c *Config) { c.Reporter = r })
		h := m.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { m.Run(ctx); close(ended) }()
		const more = 10
		for range senders {
			h.ServeHTTP(httptest.NewRecorder(), request("/"))
		}
		synctest.Wait() // each sender holds one
		for range maxWaiting + more {
			h.ServeHTTP(httptest.NewRecorder(), request("/"))
		}
		if n := testutil.ToFloat64(m.outcomes.dropped); n != more {
			t.Errorf("%v dropped, want %d", n, more)
		}
		start := time.Now()
		cancel()
		<-ended
		if took := time.Since(start); took != drainTime {
			t.Errorf("the end took %v", took)
		}
		dropped, failed := testutil.ToFloat64(m.outcomes.dropped), testutil.ToFloat64(m.outcomes.failed)
		if dropped+failed != senders+maxWaiting+more {
			t.Errorf("%v dropped and %v failed do not add up", dropped, failed)
		}
	})
}

func TestOutcomesThatAreNotTakenAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMiddleware(t, &decider{}, func(c *Config) { c.Reporter = &reporter{err: errors.New("404")} })
		m.outcomes.add(client.Outcome{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m.Run(ctx)
		if testutil.ToFloat64(m.outcomes.failed) != 1 {
			t.Error("it is not counted")
		}
	})
}

// TestWhatTheServerCanDoStaysAvailable: flushing, deadlines and taking connections
// over, by assertion and by controller.
func TestWhatTheServerCanDoStaysAvailable(t *testing.T) {
	r := &reporter{}
	m := newMiddleware(t, &decider{}, func(c *Config) { c.Reporter = r })
	mux := http.NewServeMux()
	mux.HandleFunc("/flush", func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		rc := http.NewResponseController(w)
		err := errors.Join(rc.Flush(), rc.SetWriteDeadline(time.Now().Add(time.Minute)))
		_, _ = fmt.Fprint(w, err)
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = rw.WriteString("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		_ = errors.Join(rw.Flush(), c.Close())
	})
	srv := httptest.NewServer(m.Wrap(mux))
	defer srv.Close()
	for path, want := range map[string]string{"/flush": "200 <nil>", "/hijack": "204 "} {
		res, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(bufio.NewReader(res.Body))
		_ = res.Body.Close()
		if got := fmt.Sprintf("%d %s", res.StatusCode, b); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	var statuses []int
	for range 2 {
		statuses = append(statuses, int((<-m.outcomes.queue).Status))
	}
	slices.Sort(statuses)
	if !slices.Equal(statuses, []int{0, 200}) { // of a connection that was taken over nothing is known
		t.Errorf("statuses %v", statuses)
	}
}

// TestLocalAndRemoteAsk: both deciders pass the question on.
func TestLocalAndRemoteAsk(t *testing.T) {
	var asked gate.Request
	l := Local(decideFunc(func(_ context.Context, req gate.Request) gate.Decision {
		asked = req
		return gate.Decision{ID: "local"}
	}))
	if d, err := l.Decide(t.Context(), &gate.Request{Route: "/x"}); err != nil || d.ID != "local" || asked.Route != "/x" {
		t.Errorf("%+v %v", d, err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if asked, _ = gate.ParseRequest(b); asked.Route == "" {
			t.Errorf("%s", b)
		}
		_, _ = io.WriteString(w, `{"decision_id":"remote","action":"deny"}`)
	}))
	defer srv.Close()
	c, err := client.New(client.Config{Address: srv.URL, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d, err := Remote(c).Decide(t.Context(), &gate.Request{Route: "/y", Entities: []facet.Entity{{Kind: facet.Account, Key: "a"}}})
	if err != nil || d.Action != policy.Deny || asked.Route != "/y" || len(asked.Entities) != 1 {
		t.Errorf("%+v %v, asked %+v", d, err, asked)
	}
}

type decideFunc func(context.Context, gate.Request) gate.Decision

func (f decideFunc) Decide(ctx context.Context, req gate.Request) gate.Decision { return f(ctx, req) }

func TestSettingsThatAreWrong(t *testing.T) {
	for want, cfg := range map[string]Config{
		"decider":       {},
		"gate.identify": {Decider: &decider{}, Identify: []string{"x"}},
		"trusted proxy": {Decider: &decider{}, Ingest: &ingest.Config{TrustedProxies: []string{"x"}}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
