package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/listen"
	"github.com/weirdev/weir/proof/servers"
	"github.com/weirdev/weir/proof/testkit"
)

// startHAProxy starts an HAProxy as its page says, in front of upstream, that asks the
// agent at gate, a Unix socket.
func startHAProxy(t *testing.T, gate, upstream string, closed bool) *testkit.Server {
	t.Helper()
	page := testkit.ReadPage(t, "docs/gateways/haproxy.md")
	main, spoe := page.Block(t, "# /etc/haproxy/haproxy.cfg"), page.Block(t, "# /etc/haproxy/spoe.cfg")
	if closed {
		lines := strings.SplitN(page.Block(t, "# haproxy.cfg, to fail closed"), "\n", 4)
		if !strings.Contains(main, lines[1][1:]) {
			t.Fatalf("%q is not in the configuration", lines[1])
		}
		main = strings.Replace(main, lines[1][1:], lines[2][1:], 1)
	}
	return testkit.Web(t, func(addr, dir string) (*servers.Server, error) {
		const path = "/usr/sbin/haproxy"
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%w: haproxy is missing (Debian: apt-get install haproxy)", servers.ErrMissing)
		}
		here := strings.NewReplacer("bind :8080", "bind "+addr, "127.0.0.1:8000", upstream, "127.0.0.1:8192", "unix@"+gate, "/etc/haproxy/", dir+"/")
		file := filepath.Join(dir, "haproxy.cfg")
		err := errors.Join(os.WriteFile(file, []byte(here.Replace(main)), 0o600), os.WriteFile(filepath.Join(dir, "spoe.cfg"), []byte(spoe), 0o600))
		return servers.New(addr, path, "-db", "-f", file), err
	})
}

// TestARealHAProxy: it asks over a Unix socket, refuses as the decision says, and
// serves while nobody answers.
func TestARealHAProxy(t *testing.T) {
	d := &decider{}
	a := newAgent(t, d)
	access, err := listen.New(listen.Defaults())
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "gate.sock")
	l, err := access.Open(t.Context(), "unix:"+socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Header.Get("X-Weir-Action"), r.Header.Get("X-Weir-Score"), strings.Join(r.Header.Values("X-Weir-Decision-Id"), ","))
	}))
	t.Cleanup(upstream.Close)
	open := startHAProxy(t, socket, upstream.Listener.Addr().String(), false)
	closed := startHAProxy(t, socket, upstream.Listener.Addr().String(), true)

	ask := func(proxy *testkit.Server, account string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+proxy.Addr+"/users/17?x=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "api.example"
		req.Header.Set("X-Account", account)
		req.Header.Set("X-Weir-Decision-Id", "mine")
		req.Header.Set("X-Weir-Score", "0")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res, string(b)
	}
	for _, tc := range []struct {
		action, body, header, value string
		status                      int
	}{
		{action: "allow", status: 200, body: "allow 42 " + decisionID},
		{action: "tag", status: 200, body: "tag 42 " + decisionID},
		{action: "throttle", status: 429, body: `"instance":"urn:uuid:` + decisionID, header: "Retry-After", value: "7"},
		{action: "challenge", status: 403, body: "urn:weir:problem:challenge"},
		{action: "step_up", status: 401, body: "urn:weir:problem:step-up", header: "WWW-Authenticate", value: `Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", max_age="300"`},
		{action: "deny", status: 403, body: "urn:weir:problem:denied"},
	} {
		res, body := ask(open, tc.action)
		if res.StatusCode != tc.status || !strings.Contains(body, tc.body) || tc.header != "" && res.Header.Get(tc.header) != tc.value {
			t.Errorf("%s: %d %q %v", tc.action, res.StatusCode, body, res.Header)
		}
		if tc.status != 200 && (res.Header.Get("Content-Type") != "application/problem+json" || res.Header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v", tc.action, res.Header)
		}
	}
	e := d.last.Load().Event
	for f, want := range map[event.Field]string{event.Method: "GET", event.Path: "/users/17?x=1", event.Host: "api.example", event.IP: "127.0.0.1", event.Route: "/users/{id}", event.UserAgent: "Go-http-client/1.1"} {
		if e.Text(f) != want {
			t.Errorf("%s is %q, want %q", f, e.Text(f), want)
		}
	}
	if e.Text(event.RequestID) == "" || d.last.Load().Missing {
		t.Errorf("request %q, missing %v", e.Text(event.RequestID), d.last.Load().Missing)
	}

	if res, body := ask(closed, "allow"); res.StatusCode != 200 {
		t.Errorf("closed: %d %q", res.StatusCode, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if res, body := ask(closed, "allow"); res.StatusCode != 503 {
		t.Errorf("without a gate, closed: %d %q", res.StatusCode, body)
	}
	if res, body := ask(open, "deny"); res.StatusCode != 200 || strings.TrimSpace(body) != "" {
		t.Errorf("without a gate: %d %q", res.StatusCode, body)
	}
	if _, err := net.Dial("unix", socket); err == nil {
		t.Error("the socket is still there")
	}
}
