package haproxy

import (
	"bufio"
	"context"
	"encoding/binary"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
)

const decisionID = "0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1"

// decider decides what the account's name says, and remembers the last question.
type decider struct {
	last  atomic.Pointer[gate.Request]
	block chan struct{} // nil: nothing is waited for
}

func (d *decider) Decide(_ context.Context, req gate.Request) gate.Decision {
	d.last.Store(&req)
	if d.block != nil {
		<-d.block
	}
	decision := gate.Decision{ID: decisionID, Score: 42, RetryAfter: 7}
	for _, e := range req.Entities {
		if e.Kind == facet.Account {
			if e.Key == "panic" {
				panic("an example")
			}
			if a, err := policy.ParseAction(e.Key); err == nil {
				decision.Action = a
			}
		}
	}
	return decision
}

func newAgent(t testing.TB, d Decider) *Agent {
	t.Helper()
	cfg := ingest.Defaults()
	cfg.Routes, cfg.TrustedProxies = []string{"/users/{id}"}, []string{"10.0.0.0/8"}
	reader, err := incoming.New(incoming.Config{Identify: []string{"account=claim:sub", "account=header:x-account", "session=cookie:sid"}}, cfg, geo.Nowhere{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	renderer, err := answer.New(answer.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	return New(Dependencies{Decider: d, Reader: reader, Renderer: renderer})
}

// pipes is a listener whose connections are in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { close(l.done); return nil }
func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "test", Net: "unix"} }

// serving runs an agent in a bubble. connect opens connections; stop ends the agent,
// and waits for it.
func serving(t *testing.T, a *Agent) (connect func() *peer, stop func()) {
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	connect = func() *peer {
		ours, theirs := net.Pipe()
		l.conns <- theirs
		return &peer{t, ours, bufio.NewReader(ours)}
	}
	return connect, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func greeted(connect func() *peer) *peer {
	p := connect()
	p.send(helloOf(arg{"engine-id", "e"}))
	p.expect(kindAgentHello)
	return p
}

const headers = "host: api.example\r\nx-forwarded-for: 203.0.113.9\r\ncookie: a=b; sid=s1\r\nx-account: alice\r\nuser-agent:  app/4.2 \r\n\r\n"

func TestARequestIsDecidedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &decider{}
		connect, stop := serving(t, newAgent(t, d))
		p := connect()
		p.send(helloOf())
		if r := p.expect(kindAgentHello); r.values["version"] != "2.0" || r.values["max-frame-size"] != uint32(16380) || r.values["capabilities"] != "pipelining" {
			t.Errorf("%+v", r)
		}
		p.send(notifyOf(7, "decide", arg{"id", "r-1"}, arg{"gateway", "edge"}, arg{"method", "GET"}, arg{"host", "api.example"}, arg{"path", "/users/17?x=1"},
			arg{"src", net.ParseIP("10.0.0.1")}, arg{"headers", headers}, arg{"field:ja4", "t13d"}, arg{"field:verified", nil}))
		r := p.expect(kindAck)
		want := map[string]any{"action": "allow", "score": int32(42), "decision_id": decisionID, "status": int32(200)}
		if r.stream != 7 || !maps.Equal(r.values, want) {
			t.Errorf("%+v, want %v", r, want)
		}
		req := d.last.Load()
		var keys []string
		for _, e := range req.Entities {
			keys = append(keys, e.Kind.String()+" "+e.Key)
		}
		for _, want := range []string{"account alice", "session s1", "ip 203.0.113.9", "ja4 t13d"} {
			if !slices.Contains(keys, want) {
				t.Errorf("%q is missing in %q", want, keys)
			}
		}
		e := req.Event
		for f, want := range map[event.Field]string{event.RequestID: "r-1", event.Gateway: "edge", event.Method: "GET", event.Host: "api.example", event.UserAgent: "app/4.2"} {
			if e.Text(f) != want {
				t.Errorf("%s is %q, want %q", f, e.Text(f), want)
			}
		}
		if req.Route != "/users/{id}" || req.Missing {
			t.Errorf("route %q, missing %v", req.Route, req.Missing)
		}
		p.send(frameOf(kindBye, whole, 0, 0, appendArgs(nil, []arg{{"status-code", uint32(0)}, {"message", "normal"}})))
		if r := p.expect(kindAgentBye); r.values["status-code"] != uint32(0) {
			t.Errorf("%+v", r)
		}
		if r, err := p.receive(); err == nil {
			t.Errorf("after the end: %+v", r)
		}
		stop()
	})
}

// TestWhatVariablesSay: everything that haproxy.cfg needs to refuse.
func TestWhatVariablesSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connect, stop := serving(t, newAgent(t, &decider{}))
		p := greeted(connect)
		for _, tc := range []struct {
			action string
			status int32
			more   []string
		}{
			{"tag", 200, nil}, {"throttle", 429, []string{"body", "retry_after"}}, {"challenge", 403, []string{"body"}},
			{"step_up", 401, []string{"body", "www_authenticate"}}, {"deny", 403, []string{"body"}},
		} {
			p.send(notifyOf(1, "decide", arg{"src", net.ParseIP("203.0.113.9")}, arg{"claim:sub", tc.action}))
			v := p.expect(kindAck).values
			if v["action"] != tc.action || v["status"] != tc.status {
				t.Errorf("%s: %v", tc.action, v)
			}
			names := slices.Sorted(maps.Keys(v))
			if want := slices.Sorted(slices.Values(append([]string{"action", "decision_id", "score", "status"}, tc.more...))); !slices.Equal(names, want) {
				t.Errorf("%s: %q, want %q", tc.action, names, want)
			}
			if body, _ := v["body"].(string); tc.status != 200 && (!strings.Contains(body, `"instance":"urn:uuid:`+decisionID) || strings.ContainsAny(body, "\r\n")) {
				t.Errorf("%s: body %q", tc.action, body)
			}
			if tc.action == "throttle" && v["retry_after"] != int32(7) {
				t.Errorf("Retry-After is %v", v["retry_after"])
			}
		}
		_ = p.c.Close()
		stop()
	})
}

// TestListedHeadersReplaceTheClients: what HAProxy says of a header counts, also
// that it has none.
func TestListedHeadersReplaceTheClients(t *testing.T) {
	for _, tc := range []struct {
		name  string
		value any
		want  string
	}{{"another", "bob", "bob"}, {"none", nil, ""}} {
		synctest.Test(t, func(t *testing.T) {
			d := &decider{}
			connect, stop := serving(t, newAgent(t, d))
			p := greeted(connect)
			p.send(notifyOf(1, "decide", arg{"header:x-account", tc.value}, arg{"headers", headers}))
			p.expect(kindAck)
			if got := d.last.Load().Event.Text(event.Account); got != tc.want {
				t.Errorf("%s: account %q, want %q", tc.name, got, tc.want)
			}
			_ = p.c.Close()
			stop()
		})
	}
}

// TestNamesThatAreWrong: a mistake in haproxy.cfg shows, and is no reason to trust a
// request.
func TestNamesThatAreWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &decider{}
		a := newAgent(t, d)
		connect, stop := serving(t, a)
		p := greeted(connect)
		for i, name := range []string{"hedaers", "header:", "Src", "query:x"} {
			p.send(notifyOf(1, "decide", arg{name, "x"}))
			p.expect(kindAck)
			if !d.last.Load().Missing {
				t.Errorf("%q is passed over in silence", name)
			}
			if n := testutil.ToFloat64(a.faults.WithLabelValues(unknown)); n != float64(i+1) {
				t.Errorf("%v faults after %q", n, name)
			}
		}
		p.send(notifyOf(1, "something", arg{"src", "x"}))
		if r := p.expect(kindAck); len(r.values) != 0 || testutil.ToFloat64(a.faults.WithLabelValues(unknown)) != 5 {
			t.Errorf("%+v", r)
		}
		_ = p.c.Close()
		stop()
	})
}

func TestUnixPeersHaveNoAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &decider{}
		connect, stop := serving(t, newAgent(t, d))
		p := greeted(connect)
		p.send(notifyOf(1, "decide", arg{"src", nil}))
		p.expect(kindAck)
		if got := d.last.Load().Event.Text(event.IP); got != event.UnixPeer {
			t.Errorf("peer %q", got)
		}
		_ = p.c.Close()
		stop()
	})
}

// TestFramesThatAreWrong: the peer is told, and the connection ends. Nothing is
// allocated for a length that is only claimed.
func TestFramesThatAreWrong(t *testing.T) {
	hello := helloOf()
	for _, tc := range []struct {
		name   string
		send   [][]byte
		status uint32
	}{
		{"no length", [][]byte{{0, 0, 0, 0}}, tooBig},
		{"a huge length", [][]byte{{0xff, 0xff, 0xff, 0xff}}, tooBig},
		{"longer than agreed", [][]byte{hello, binary.BigEndian.AppendUint32(nil, 16381)}, tooBig},
		{"too short for its flags", [][]byte{{0, 0, 0, 3, kindHello, 0, 0}}, invalidFrame},
		{"of an unknown type", [][]byte{frameOf(9, whole, 0, 0, nil)}, invalidFrame},
		{"a request of HTTP", [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n")[:4]}, tooBig},
		{"a question before the handshake", [][]byte{notifyOf(1, "decide")}, invalidFrame},
		{"two handshakes", [][]byte{hello, hello}, invalidFrame},
		{"of another version", [][]byte{frameOf(kindHello, whole, 0, 0, appendArgs(nil, []arg{{"supported-versions", "1.0, 3.0"}, {"max-frame-size", uint32(16380)}}))}, noVersion},
		{"short frames", [][]byte{frameOf(kindHello, whole, 0, 0, appendArgs(nil, []arg{{"supported-versions", "2.0"}, {"max-frame-size", uint32(256)}}))}, badFrameSize},
		{"a length of the wrong type", [][]byte{helloOf(arg{"healthcheck", "yes"})}, invalidFrame},
		{"fragments", [][]byte{hello, frameOf(kindNotify, 0, 1, 1, nil)}, fragmented},
		{"a name that is longer than the frame", [][]byte{hello, frameOf(kindNotify, whole, 1, 1, []byte{0xef, 'x'})}, invalidFrame},
		{"a name of 2^63 bytes", [][]byte{hello, frameOf(kindNotify, whole, 1, 1, append(appendUvarint(nil, 1<<63), 'x'))}, invalidFrame},
		{"an address that is cut short", [][]byte{hello, frameOf(kindNotify, whole, 1, 1, append(append(appendText(nil, "decide"), 1), append(appendText(nil, "src"), 6, 1)...))}, invalidFrame},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t, &decider{})
				connect, stop := serving(t, a)
				p := connect()
				for i, b := range tc.send {
					if p.send(b); i < len(tc.send)-1 {
						p.expect(kindAgentHello)
					}
				}
				if r := p.expect(kindAgentBye); r.values["status-code"] != tc.status || r.values["message"] == "" {
					t.Errorf("%+v, want status %d", r, tc.status)
				}
				if r, err := p.receive(); err == nil {
					t.Errorf("after the end: %+v", r)
				}
				stop()
				if n := testutil.ToFloat64(a.faults.WithLabelValues(malformed)); n != 1 {
					t.Errorf("%v faults", n)
				}
			})
		})
	}
}

func TestSlowPeersAreLeft(t *testing.T) {
	for _, tc := range []struct {
		name  string
		send  []byte
		after time.Duration
	}{
		{"silent from the start", nil, helloTimeout},
		{"stops within a frame", helloOf()[:9], frameTimeout},
		{"idle", helloOf(), idleTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				connect, stop := serving(t, newAgent(t, &decider{}))
				p, start := connect(), time.Now()
				if tc.send != nil {
					p.send(tc.send)
				}
				if tc.after == idleTimeout {
					p.expect(kindAgentHello)
				}
				if r := p.expect(kindAgentBye); r.values["status-code"] != uint32(tooSlow) || time.Since(start) != tc.after {
					t.Errorf("%+v after %v, want %v", r, time.Since(start), tc.after)
				}
				stop()
			})
		})
	}
}

func TestAHealthCheckIsAnsweredAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, &decider{})
		connect, stop := serving(t, a)
		p := connect()
		p.send(helloOf(arg{"healthcheck", true}))
		p.expect(kindAgentHello)
		if r, err := p.receive(); err == nil {
			t.Errorf("%+v", r)
		}
		stop()
		if n := testutil.ToFloat64(a.faults.WithLabelValues(malformed)); n != 0 {
			t.Errorf("%v faults", n)
		}
	})
}

// TestAPanicCostsOneAnswer: HAProxy goes on without it, and others get theirs.
func TestAPanicCostsOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, &decider{})
		connect, stop := serving(t, a)
		p := greeted(connect)
		p.send(notifyOf(1, "decide", arg{"claim:sub", "panic"}))
		p.send(notifyOf(2, "decide"))
		if r := p.expect(kindAck); r.stream != 2 {
			t.Errorf("%+v", r)
		}
		_ = p.c.Close()
		stop()
		if n := testutil.ToFloat64(a.faults.WithLabelValues(panicked)); n != 1 {
			t.Errorf("%v panics", n)
		}
	})
}

// TestDecisionsUnderWayAreBounded: one connection does not fill the memory, and a
// stop waits for what was asked.
func TestDecisionsUnderWayAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &decider{block: make(chan struct{})}
		connect, stop := serving(t, newAgent(t, d))
		p := greeted(connect)
		for i := range maxPending + 1 { // the last waits for a place
			p.send(notifyOf(uint64(i), "decide"))
		}
		read := make(chan struct{})
		go func() {
			p.send(notifyOf(1000, "decide"))
			close(read)
		}()
		synctest.Wait()
		select {
		case <-read:
			t.Error("more is read than may be under way")
		default:
		}
		close(d.block)
		for range maxPending + 2 {
			p.expect(kindAck)
		}
		<-read
		d.block = nil
		go stop()
		if r := p.expect(kindAgentBye); r.values["status-code"] != uint32(normal) {
			t.Errorf("%+v", r)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t, &decider{})
		connect, stop := serving(t, a)
		all := make([]*peer, maxConnections)
		for i := range all {
			all[i] = connect()
		}
		one := connect()
		if r, err := one.receive(); err == nil {
			t.Errorf("%+v", r)
		}
		if n := testutil.ToFloat64(a.faults.WithLabelValues(tooMany)); n != 1 {
			t.Errorf("%v refused", n)
		}
		for _, p := range all {
			_ = p.c.Close()
		}
		stop()
	})
}

// FuzzFrames: whatever a peer sends is a request or an error, never a panic, and a
// request is small.
func FuzzFrames(f *testing.F) {
	f.Add(helloOf())
	f.Add(notifyOf(1, "decide", arg{"src", net.ParseIP("10.0.0.1")}, arg{"path", "/a?b"}, arg{"headers", headers}, arg{"header:x-account", "a"}, arg{"claim:sub", nil}, arg{"field:rooted", true}))
	f.Add(notifyOf(1, "decide", arg{"src", net.ParseIP("2001:db8::1")}, arg{"id", []byte("r")}, arg{"field:status", int64(3)}, arg{"field:asn", uint64(3)}))
	f.Add(frameOf(kindNotify, whole, 1, 1, append(appendUvarint(nil, 1<<63), 'x')))
	f.Add(notifyOf(1, Outcome, arg{"decision_id", decisionID}, arg{"status", int32(200)}, arg{"latency_us", "1"}, arg{"auth", "success"}))
	a := newAgent(f, &decider{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < lengthBytes || len(raw) > maxFrame {
			return
		}
		binary.BigEndian.PutUint32(raw, uint32(len(raw)-lengthBytes)) // as read has checked
		if len(raw) == lengthBytes {
			return
		}
		fr, err := decode(raw)
		if err != nil {
			return
		}
		outcomes, _ := told(fr.Messages)
		for _, o := range outcomes {
			if o.DecisionID == "" || len(o.DecisionID) > len(raw) || min(o.Status, o.LatencyMicros, o.ResponseBytes) < 0 || o.Status > maxStatus {
				t.Errorf("outcome %+v", o)
			}
		}
		in, err := describe(fr.Messages)
		if in == nil {
			return
		}
		size := 0
		for name, values := range in.Header {
			if name != http.CanonicalHeaderKey(name) || len(values) == 0 {
				t.Errorf("header %q: %q", name, values)
			}
			for _, v := range values {
				size += len(name) + len(v)
			}
		}
		if size > 2*len(raw) {
			t.Errorf("%d bytes of headers in a frame of %d", size, len(raw))
		}
		req := a.deps.Reader.Read(in)
		for _, e := range req.Entities {
			if e.Key == "" {
				t.Errorf("%s without a key (%v)", e.Kind, err)
			}
		}
	})
}
