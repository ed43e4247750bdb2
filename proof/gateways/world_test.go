package gateways

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirdev/weir/proof/proxy"
)

// world is what stands behind the gateways: an API, and a gate that may be cut off.
type world struct {
	api  string            // address of the API
	hits *hits             // requests that reached it
	gate map[string]string // addresses of the gate, by how it is asked
	fail *atomic.Bool      // the gate answers HTTP with 503

	dir     string // for what is built
	service string // the program of docs/gateways/go.md, once it is built

	with         []string          // changes of the configurations
	log          string            // address that takes logs
	certificates *strings.Replacer // names of files with certificates, by those in the pages
}

// newWorld starts an API.
func newWorld(t *testing.T, gate map[string]string) *world {
	t.Helper()
	w := &world{gate: gate, dir: t.TempDir(), certificates: strings.NewReplacer()}
	w.api, w.hits = startAPI(t)
	return w
}

// seen is what the API got, and answers with.
type seen struct {
	Method string
	URI    string
	Header http.Header
	Body   string
}

// byAPI marks what the API answered.
const byAPI = "X-Answered-By-Api"

// hits counts requests by path.
type hits struct {
	mu sync.Mutex
	n  map[string]int
}

func (h *hits) add(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n[path]++
}

func (h *hits) of(path string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n[path]
}

// abort is a path below which the API breaks the connection off without an answer.
const abort = "/abort/"

// signIn is a path below which the API says that a sign-in failed.
const signIn = "/sign-in/"

// startAPI starts an API that answers with what it got, and with the status that
// paths such as /status/503 ask for.
func startAPI(t *testing.T) (addr string, counted *hits) {
	t.Helper()
	counted = &hits{n: map[string]int{}}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		counted.add(r.URL.Path)
		body, err := io.ReadAll(r.Body)
		if err != nil || strings.HasPrefix(r.URL.Path, abort) {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set(byAPI, "yes")
		w.Header().Set("Content-Type", "application/json")
		if strings.HasPrefix(r.URL.Path, signIn) {
			w.Header().Set("X-Weir-Auth", "failure")
		}
		if asked, is := strings.CutPrefix(r.URL.Path, "/status/"); is {
			status, _ := strconv.Atoi(asked) // the tests ask for numbers
			w.WriteHeader(status)
		}
		_ = json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.Header, string(body)}) // the client may be gone
	}))
	t.Cleanup(api.Close)
	return api.Listener.Addr().String(), counted
}

// startFront stands before the gate's HTTP, and breaks it where that is asked for.
func startFront(t *testing.T, gate string) (addr string, fail *atomic.Bool) {
	t.Helper()
	fail = new(atomic.Bool)
	pass := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", gate, r.In.Host
		r.Out.Header = r.In.Header.Clone() // X-Forwarded-For and its like included
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fail.Load() {
			http.Error(w, "broken", http.StatusServiceUnavailable)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.Listener.Addr().String(), fail
}

// startProxy stands between a gateway and the gate.
func (w *world) startProxy(t *testing.T, asks string) *proxy.Proxy {
	t.Helper()
	p, err := proxy.Listen(w.gate[asks], 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// client sends requests from one address of the loopback network.
type client struct {
	http *http.Client
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
	to   string // address of the gateway
	tls  bool
}

// Addresses of clients. The gate trusts 127.0.0.1 alone, from which gateways ask.
const (
	ordinary = "127.0.0.2"
	blocked  = "127.0.0.9" // requests from here are denied
)

func newClient(t *testing.T, from, to string) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	transport := &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: crowd}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{dial: d.DialContext, to: to, http: &http.Client{
		Transport: transport, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// ask is a request to a gateway.
type ask struct {
	method, path string // GET / where empty
	host         string // that of the gateway where empty
	token        string
	header       http.Header
	body         string
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	api    *seen // nil unless the API answered
	took   time.Duration
	before int // how often it was served without a decision before
}

func (c *client) send(ctx context.Context, a ask) (answer, error) {
	method, path := "GET", "/"
	if a.method != "" {
		method = a.method
	}
	if a.path != "" {
		path = a.path
	}
	scheme := "http://"
	if c.tls {
		scheme = "https://"
	}
	r, err := http.NewRequestWithContext(ctx, method, scheme+c.to+path, strings.NewReader(a.body))
	if err != nil {
		return answer{}, err
	}
	r.Host = a.host
	for name, values := range a.header {
		r.Header[name] = values
	}
	if a.token != "" {
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	start := time.Now()
	res, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	got := answer{status: res.StatusCode, header: res.Header, body: string(body), took: time.Since(start)}
	if err == nil && res.Header.Get(byAPI) != "" {
		got.api = &seen{}
		if len(body) > 0 { // a 204 has none
			err = json.Unmarshal(body, got.api)
		}
	}
	return got, err
}

// reaches sends a request byte for byte, and reports whether the API answers.
func (c *client) reaches(t *testing.T, raw string) bool {
	t.Helper()
	conn, err := c.dial(t.Context(), "tcp", c.to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, raw); err != nil {
		return false
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	for err == nil && res.StatusCode == http.StatusContinue {
		res, err = http.ReadResponse(in, nil)
	}
	return err == nil && res.Header.Get(byAPI) != ""
}

func (c *client) do(t *testing.T, a ask) answer {
	t.Helper()
	got, err := c.send(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// decided sends a request until there is a decision on it. Configurations serve it
// without one where the gate takes longer than 100 ms, as on a busy machine.
func (c *client) decided(t *testing.T, a ask) (got answer) {
	t.Helper()
	undecided := 0
	eventually(t, "there is no decision", func() bool {
		if got = c.do(t, a); got.undecided() {
			undecided++
		}
		return !got.undecided()
	})
	got.before = undecided
	return got
}

func (a answer) undecided() bool { return a.api != nil && a.api.Header.Get(actionHeader) == "" }

func eventually(t *testing.T, otherwise string, is func() bool) {
	t.Helper()
	tick, end := time.NewTicker(20*time.Millisecond), time.NewTimer(20*time.Second)
	defer tick.Stop()
	defer end.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatal(otherwise)
		}
	}
}
