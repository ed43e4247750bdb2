package gateways

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/proof/proxy"
	"github.com/weirdev/weir/proof/testkit"
)

// The three headers that the API believes.
const (
	actionHeader   = "X-Weir-Action"
	scoreHeader    = "X-Weir-Score"
	decisionHeader = "X-Weir-Decision-Id"
)

// crowd is how many clients send at the same time.
const crowd = 16

// patience is how long a client may wait while the gate does not answer: the longest
// time-out in docs/gateways, and what a busy machine takes.
const patience = 3 * time.Second

// TestGatewaysDoWhatTheirPagesSay runs each configuration as documented, and sends
// requests through it.
func TestGatewaysDoWhatTheirPagesSay(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("clients have loopback addresses of their own, as only Linux has them")
	}
	testkit.Long(t, "it needs real gateways")
	gate := startGate(t, configure(t, miniredis.RunT(t).Addr()))
	front, fail := startFront(t, gate["http"])
	gate["http"] = front
	w := newWorld(t, gate)
	w.fail = fail
	for _, g := range gateways() {
		t.Run(g.name, func(t *testing.T) {
			t.Run("fails open", func(t *testing.T) {
				between := w.startProxy(t, g.asks)
				addr := g.start(t, w, between, false)
				awaitGateway(t, addr)
				t.Run("actions", func(t *testing.T) { actions(t, w, addr) })
				t.Run("what clients forge", func(t *testing.T) { forged(t, addr) })
				t.Run("what the gate is asked", func(t *testing.T) { asked(t, addr) })
				t.Run("large requests", func(t *testing.T) { large(t, addr) })
				t.Run("odd bytes", func(t *testing.T) { oddBytes(t, addr) })
				t.Run("odd paths", func(t *testing.T) { oddPaths(t, addr) })
				t.Run("what the API says", func(t *testing.T) { passedOn(t, w, addr) })
				t.Run("a crowd", func(t *testing.T) { crowded(t, addr) })
				g.whileAway(t, w, addr, between, func(t *testing.T, c *client, _ int) { served(t, c) })
			})
			t.Run("fails closed", func(t *testing.T) {
				between := w.startProxy(t, g.asks)
				addr := g.start(t, w, between, true)
				awaitGateway(t, addr)
				g.whileAway(t, w, addr, between, refused)
			})
		})
	}
}

// awaitGateway waits until decisions arrive.
func awaitGateway(t *testing.T, addr string) {
	t.Helper()
	c := newClient(t, ordinary, addr)
	eventually(t, "the gateway passes no decision on", func() bool {
		got, err := c.send(t.Context(), ask{})
		return err == nil && got.api != nil && got.api.Header.Get(actionHeader) != ""
	})
}

// actions asks with tokens that are named after what is done with them.
func actions(t *testing.T, w *world, addr string) {
	c := newClient(t, ordinary, addr)
	for _, action := range []string{"allow", "tag"} {
		got := c.decided(t, ask{token: action, method: "POST", path: "/orders?a=b%20c", body: "twelve bytes"})
		if got.status != 200 || got.api == nil {
			t.Errorf("%s: %s", action, got)
			continue
		}
		if got.api.Method != "POST" || got.api.URI != "/orders?a=b%20c" || got.api.Body != "twelve bytes" {
			t.Errorf("%s: the API got %+v", action, got.api)
		}
		h := got.api.Header
		if score, err := strconv.Atoi(h.Get(scoreHeader)); err != nil || score < 0 || score > 100 || h.Get(actionHeader) != action || !isUUID(h.Get(decisionHeader)) {
			t.Errorf("%s: the API got %v", action, h)
		}
	}
	for _, tc := range []struct {
		action string
		status int
	}{{"throttle", 429}, {"step_up", 401}, {"challenge", 403}, {"deny", 403}} {
		path := "/refused/" + addr + "/" + tc.action
		got := c.decided(t, ask{token: tc.action, method: "POST", path: path, body: "twelve bytes"})
		if n := w.hits.of(path) - got.before; got.status != tc.status || got.api != nil || n != 0 {
			t.Errorf("%s: the API got it %d times: %s", tc.action, n, got)
			continue
		}
		checkProblem(t, tc.action, got)
		seconds, err := strconv.Atoi(got.header.Get("Retry-After"))
		if throttled := tc.action == "throttle"; throttled != (err == nil && seconds > 0) {
			t.Errorf("%s: Retry-After: %q", tc.action, got.header.Get("Retry-After"))
		}
		challenge := got.header.Values("WWW-Authenticate")
		if stepUp := tc.action == "step_up"; stepUp != (len(challenge) == 1 && strings.HasPrefix(challenge[0], `Bearer error="insufficient_user_authentication"`)) {
			t.Errorf("%s: WWW-Authenticate: %q", tc.action, challenge)
		}
	}
}

// checkProblem checks what a refused client learns: what to do, and nothing about
// rules and scores.
func checkProblem(t *testing.T, action string, got answer) {
	t.Helper()
	var problem struct {
		Type, Title, Instance string
		Status                int
	}
	if err := json.Unmarshal([]byte(got.body), &problem); err != nil || problem.Status != got.status || problem.Type == "" || problem.Title == "" {
		t.Errorf("%s: the body is no problem (%v): %s", action, err, got.body)
	}
	if id, is := strings.CutPrefix(problem.Instance, "urn:uuid:"); !is || !isUUID(id) {
		t.Errorf("%s: instance %q", action, problem.Instance)
	}
	if got.header.Get("Content-Type") != "application/problem+json" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %v", action, got.header)
	}
	all := strings.ToLower(got.body + fmt.Sprint(got.header))
	for _, secret := range []string{"score", "rule", "weight", "reason", "policy", "x-weir-action", ruleOfScore, reasonOfScore, reasonOfBlock, "ann"} {
		if strings.Contains(all, secret) {
			t.Errorf("%s: the client learns of %q: %s", action, secret, got)
		}
	}
}

// forged sends what only the gate may say, and addresses that are not the client's.
func forged(t *testing.T, addr string) {
	c := newClient(t, ordinary, addr)
	h := c.decided(t, ask{token: "tag", header: forgery()}).apiHeader(t)
	if got := h.Values(actionHeader); len(got) != 1 || got[0] != "tag" {
		t.Errorf("%s: %q", actionHeader, got)
	}
	if got := h.Values(scoreHeader); len(got) != 1 || got[0] == "77" {
		t.Errorf("%s: %q", scoreHeader, got)
	}
	if got := h.Values(decisionHeader); len(got) != 1 || !isUUID(got[0]) {
		t.Errorf("%s: %q", decisionHeader, got)
	}
	// Headers that Connection names are for one hop, and proxies remove them. Some refuse
	// the request.
	hops := http.Header{"Connection": {strings.Join([]string{
		"X-Forwarded-For", "X-Forwarded-Method", "X-Forwarded-Uri", "X-Original-Method", "X-Original-Uri", "X-Real-Ip", actionHeader, scoreHeader, decisionHeader,
	}, ", ")}}
	if got := newClient(t, blocked, addr).decided(t, ask{header: hops}); got.api != nil {
		t.Errorf("a blocked address hides behind Connection: %s", got)
	}
	eventually(t, "Connection removes what the gate said", func() bool {
		got := c.do(t, ask{token: "tag", header: hops})
		return got.api == nil || got.api.Header.Get(actionHeader) == "tag"
	})
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "X-Envoy-External-Address", "Forwarded", "True-Client-Ip"} {
		elsewhere := http.Header{name: {"198.51.100.7"}}
		if name == "Forwarded" {
			elsewhere = http.Header{name: {"for=198.51.100.7"}}
		}
		if got := newClient(t, blocked, addr).decided(t, ask{header: elsewhere}); got.status != 403 || got.api != nil {
			t.Errorf("a blocked address hides behind %s: %s", name, got)
		}
		if got := c.decided(t, ask{header: http.Header{name: {blocked}}}); got.status != 200 || got.api == nil {
			t.Errorf("an address is taken from the client's %s: %s", name, got)
		}
	}
	for _, header := range []http.Header{
		{"X-Forwarded-Uri": {"/open"}, "X-Original-Uri": {"/open"}, "X-Original-Url": {"/open"}, "X-Envoy-Original-Path": {"/open"}},
		{"X-Forwarded-Method": {"GET"}, "X-Original-Method": {"GET"}, "X-Http-Method-Override": {"GET"}},
		hops,
	} {
		if got := c.decided(t, ask{method: "DELETE", path: "/guarded", header: header}); got.status/100 != 4 || got.api != nil {
			t.Errorf("a request hides behind %v: %s", header, got)
		}
	}
}

// forgery is what a client sends to be taken for someone whom the gate let through.
func forgery() http.Header {
	return http.Header{actionHeader: {"allow", "allow"}, scoreHeader: {"77"}, decisionHeader: {"forged"}}
}

// asked checks that the gate learns method and path of the request.
func asked(t *testing.T, addr string) {
	c := newClient(t, ordinary, addr)
	for _, tc := range []struct {
		method, path string
		status       int
	}{
		{"DELETE", "/guarded", 403}, {"DELETE", "/guarded?with=a&query", 403},
		{"GET", "/guarded", 200}, {"DELETE", "/open", 200},
	} {
		if got := c.decided(t, ask{method: tc.method, path: tc.path, body: "a body"}); got.status != tc.status {
			t.Errorf("%s %s: %s", tc.method, tc.path, got)
		}
	}
}

// large sends requests of a blocked address that are as large as gateways take. If a
// question about one could not be asked, it would be served without a decision.
func large(t *testing.T, addr string) {
	c := newClient(t, blocked, addr)
	headers := func(n, size int) http.Header {
		h := http.Header{}
		for i := range n {
			h.Set(fmt.Sprintf("X-Filler-%d", i), strings.Repeat("x", size))
		}
		return h
	}
	all := []ask{
		{header: headers(2, 3000)}, {header: headers(4, 3000)}, {header: headers(10, 3000)}, {header: headers(20, 3000)}, {header: headers(90, 10)},
		{host: strings.Repeat("h", 5000) + ".example", header: headers(4, 2400)}, {host: strings.Repeat("h", 7000) + ".example"},
		{path: "/" + strings.Repeat("p", 7000), header: headers(2, 3000)}, {path: "/?" + strings.Repeat("q", 7900)},
		{header: http.Header{"Cookie": {strings.Repeat("c=d; ", 1500)}, "Authorization": {"Bearer " + strings.Repeat("t", 6000)}}},
		{header: http.Header{"X-Forwarded-For": {strings.Repeat("198.51.100.7, ", 500) + "198.51.100.7"}}},
		{method: strings.Repeat("M", 200)},
	}
	for size := 2700; size <= 3100; size += 20 { // around the 15 KiB that HAProxy takes
		all = append(all, ask{host: strings.Repeat("h", 240) + ".example", header: headers(5, size)}, ask{path: "/" + strings.Repeat("p", 5*size-8000), header: headers(4, 2000)})
	}
	for _, a := range all {
		t.Run(fmt.Sprintf("method of %d, path of %d, host of %d bytes, headers of %d", len(a.method), len(a.path), len(a.host), bytesOf(a.header)), func(t *testing.T) {
			eventually(t, "a blocked address hides in size", func() bool {
				got, err := c.send(t.Context(), a)
				return err != nil || got.api == nil
			})
		})
	}
}

// oddBytes sends what a gateway may take, and the gate may not. If it answered with an
// error, the request would be served without a decision.
func oddBytes(t *testing.T, addr string) {
	c := newClient(t, blocked, addr)
	const host = "Host: api.example\r\n"
	eventually(t, "requests that are written byte for byte do not arrive", func() bool {
		return newClient(t, ordinary, addr).reaches(t, "GET / HTTP/1.1\r\n"+host+"\r\n")
	})
	for _, raw := range []string{
		"GET / HTTP/1.1\r\n" + host + "X-Odd: \x01\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X-Odd: \x7f\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X-Odd: a\tb\xff\xfe\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "User-Agent: \x1b[31m\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Cookie: \x08\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X_Odd: a\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X(Odd): a\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X\xe9: a\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + ": a\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X-Odd:\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X-Odd: a\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a<b>\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"GET http://a.example/x HTTP/1.1\r\n" + host + "\r\n",
		"GET /\xff\xfe HTTP/1.1\r\n" + host + "\r\n",
		"GET /%00%0d%0a HTTP/1.1\r\n" + host + "\r\n",
		"GET /a#b HTTP/1.1\r\n" + host + "\r\n",
		"G=T / HTTP/1.1\r\n" + host + "\r\n",
		"get / HTTP/1.1\r\n" + host + "\r\n",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 0\r\nExpect: nothing\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Upgrade: h2c\r\nHTTP2-Settings: AAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Range: bytes=0-1\r\nIf-None-Match: *\r\nIf-Match: x\r\nIf-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "Traceparent: \x01\r\nX-Request-Id: \xff\r\nX-Forwarded-For: \xff, \x01\r\n\r\n",
		"GET / HTTP/1.1\r\n" + host + "X-Weir-Token: wrong\r\nAuthorization: \x01\r\nContent-Type: \x01\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\n" + host + "\r\n",
		"TRACE / HTTP/1.1\r\n" + host + "\r\n",
	} {
		t.Run(strconv.Quote(raw), func(t *testing.T) {
			eventually(t, "a blocked address hides behind odd bytes", func() bool { return !c.reaches(t, raw) })
		})
	}
}

func bytesOf(h http.Header) (n int) {
	for name, values := range h {
		n += len(name) + len(strings.Join(values, ""))
	}
	return n
}

// oddPaths are served as any other: the gate takes no offence at them.
func oddPaths(t *testing.T, addr string) {
	c := newClient(t, ordinary, addr)
	for _, path := range []string{"//two//slashes", "/a/../b", "/a/./b/", "/a%2Fb", "/%E2%82%AC?q=%zz", "/a;b=c?d&&e=%20", "/v1/forward-auth/generic", "/" + strings.Repeat("long/", 500)} {
		if got := c.do(t, ask{path: path}); got.api == nil {
			t.Errorf("%.40s: %s", path, got)
		}
	}
}

// passedOn checks that a gateway leaves alone what the API answers, and asks it once.
func passedOn(t *testing.T, w *world, addr string) {
	c := newClient(t, ordinary, addr)
	for _, status := range []int{204, 401, 403, 404, 429, 500, 502, 503, 504} {
		if got := c.do(t, ask{path: fmt.Sprintf("/status/%d", status)}); got.status != status || got.header.Get(byAPI) == "" {
			t.Errorf("the API said %d: %s", status, got)
		}
	}
	path := abort + addr
	got, err := c.send(t.Context(), ask{method: "POST", path: path, body: "an order"}) // HAProxy breaks off, too
	if err == nil && got.status < 500 || w.hits.of(path) != 1 {
		t.Errorf("the API broke off and got the request %d times: %s (%v)", w.hits.of(path), got, err)
	}
}

// crowded sends requests of different clients at the same time over connections that
// stay open: each gets its own answer.
func crowded(t *testing.T, addr string) {
	c := newClient(t, ordinary, addr)
	want := map[string]int{"allow": 200, "tag": 200, "throttle": 429, "deny": 403}
	var without atomic.Int64
	g, ctx := errgroup.WithContext(t.Context())
	for range crowd {
		g.Go(func() error {
			for range 5 {
				for action, status := range want {
					got, err := c.send(ctx, ask{token: action})
					switch {
					case err != nil:
						return err
					case got.undecided():
						without.Add(1)
					case got.status != status || got.api != nil && got.api.Header.Get(actionHeader) != action:
						return fmt.Errorf("%s: %s", action, got)
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if n, all := without.Load(), int64(crowd*5*len(want)); n > all/2 {
		t.Errorf("%d of %d requests had no decision", n, all)
	}
}

// whileAway checks what happens while the gate is down, while it is slow, and while it
// fails, and that decisions are back when the gate is. The check gets the status of
// refusals.
func (g *gateway) whileAway(t *testing.T, w *world, addr string, between *proxy.Proxy, check func(t *testing.T, c *client, status int)) {
	c := newClient(t, ordinary, addr)
	away := func(name string, status int, begin, end func()) {
		t.Run(name, func(t *testing.T) {
			begin()
			check(t, c, status)
			end()
			eventually(t, "decisions do not come back", func() bool { return c.do(t, ask{token: "deny"}).status == 403 && c.do(t, ask{}).status == 200 })
		})
	}
	pass := func() { between.Set(proxy.Pass, 0) }
	away("the gate is down", g.away.down, func() { between.Set(proxy.Refuse, 0) }, pass)
	away("the gate is slow", g.away.slow, func() { between.Set(proxy.Blackhole, 0) }, pass)
	if g.asks == "http" {
		away("the gate fails", g.away.fails, func() { w.fail.Store(true) }, func() { w.fail.Store(false) })
	}
}

// served checks that requests are served without a decision, and that nothing a
// client sent is taken for one.
func served(t *testing.T, c *client) {
	t.Helper()
	for _, a := range []ask{{}, {token: "deny"}, {method: "POST", path: "/orders?x", body: "twelve bytes", header: forgery()}} {
		got := c.do(t, a)
		if got.status != 200 || got.api == nil || got.took > patience {
			t.Errorf("%+v: %s after %v", a, got, got.took)
			continue
		}
		if a.body != got.api.Body || a.method == "POST" && (got.api.Method != "POST" || got.api.URI != a.path) {
			t.Errorf("%+v: the API got %+v", a, got.api)
		}
		for _, name := range []string{actionHeader, scoreHeader, decisionHeader} {
			if v := got.api.Header.Values(name); len(v) != 0 {
				t.Errorf("%s: %q without a decision", name, v)
			}
		}
	}
	if got := c.do(t, ask{path: "/status/503"}); got.status != 503 || got.header.Get(byAPI) == "" {
		t.Errorf("the API said 503: %s", got)
	}
}

// refused checks that no request is served without a decision.
func refused(t *testing.T, c *client, status int) {
	t.Helper()
	for _, a := range []ask{{}, {token: "allow"}, {method: "POST", body: "twelve bytes", header: forgery()}} {
		if got := c.do(t, a); got.status != status || got.api != nil || got.took > patience {
			t.Errorf("%+v: %s after %v, want %d", a, got, got.took, status)
		}
	}
}

func isUUID(s string) bool {
	return len(s) == 36 && strings.Count(s, "-") == 4 && strings.Trim(s, "0123456789abcdef-") == ""
}

// apiHeader returns the headers that the API got.
func (a answer) apiHeader(t *testing.T) http.Header {
	t.Helper()
	if a.api == nil {
		t.Fatalf("the API was not asked: %s", a)
	}
	return a.api.Header
}

func (a answer) String() string {
	return fmt.Sprintf("%d, answered by the API: %t, %v\n%.300s", a.status, a.api != nil, a.header, a.body)
}
