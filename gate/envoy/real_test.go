package envoy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/proof/servers"
	"github.com/weirdev/weir/proof/testkit"
)

// startEnvoy starts an Envoy in front of upstream that asks at a Unix socket, and
// logs to it.
func startEnvoy(t *testing.T, socket, upstream string) *testkit.Server {
	t.Helper()
	return testkit.Web(t, func(addr, dir string) (*servers.Server, error) {
		b, err := os.ReadFile("testdata/envoy.yaml")
		if err != nil {
			return nil, err
		}
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		_, upstreamPort, err := net.SplitHostPort(upstream)
		if err != nil {
			return nil, err
		}
		return servers.Envoy(addr, dir, strings.NewReplacer("port_value: 8080", "port_value: "+port, "port_value: 8000", "port_value: "+upstreamPort, "/run/weir/envoy.sock", socket).Replace(string(b)))
	})
}

// TestARealEnvoy: it asks, does as it is told, and logs how requests ended.
func TestARealEnvoy(t *testing.T) {
	dir := t.TempDir()
	s := onSocketAt(t, filepath.Join(dir, "gate.sock"))
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names := []string{}
		for name := range r.Header {
			if strings.Contains(strings.ToLower(name), "weir") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		_, _ = fmt.Fprintf(w, "%s %s %s %s", r.Header.Get("X-Weir-Action"), r.Header.Get("X-Weir-Score"), strings.Join(r.Header.Values("X-Weir-Decision-Id"), ","), names)
	}))
	t.Cleanup(upstream.Close)
	proxy := startEnvoy(t, filepath.Join(dir, "gate.sock"), upstream.Listener.Addr().String())

	ask := func(account string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+proxy.Addr+"/users/17?x=1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "api.example"
		req.Header = http.Header{"X-Account": {account}, "X-Weir-Decision-Id": {"mine"}, "X-Weir-Score": {"0"}, "X-Weir-Token": {"t"}, "X_weir_action": {"allow"}}
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
	logged := func() emit.Outcome {
		t.Helper()
		select {
		case <-s.outcomes.heard:
		case <-time.After(20 * time.Second):
			t.Fatal("Envoy logs nothing")
		}
		s.outcomes.mu.Lock()
		defer s.outcomes.mu.Unlock()
		return s.outcomes.all[len(s.outcomes.all)-1]
	}
	const names = " [X-Weir-Action X-Weir-Decision-Id X-Weir-Score]"
	for _, tc := range []struct {
		action, body, header, value string
		status                      int
	}{
		{action: "allow", status: 200, body: "allow 42 " + decisionID + names},
		{action: "tag", status: 200, body: "tag 42 " + decisionID + names},
		{action: "throttle", status: 429, body: `"instance":"urn:uuid:` + decisionID, header: "Retry-After", value: "7"},
		{action: "challenge", status: 403, body: "urn:weir:problem:challenge"},
		{action: "step_up", status: 401, body: "urn:weir:problem:step-up", header: "WWW-Authenticate", value: `Bearer error="insufficient_user_authentication", error_description="A different authentication level is required", max_age="300"`},
		{action: "deny", status: 403, body: "urn:weir:problem:denied"},
	} {
		res, body := ask(tc.action)
		if res.StatusCode != tc.status || !strings.Contains(body, tc.body) || tc.header != "" && res.Header.Get(tc.header) != tc.value {
			t.Errorf("%s: %d %q %v", tc.action, res.StatusCode, body, res.Header)
		}
		if tc.status != 200 && (res.Header.Get("Content-Type") != "application/problem+json" || res.Header.Get("Cache-Control") != "no-store") {
			t.Errorf("%s: %v", tc.action, res.Header)
		}
		e, o := s.decider.last.Load().Event, logged()
		if o.DecisionID != decisionID || o.RequestID == "" || o.RequestID != e.Text(event.RequestID) || o.Status != int64(tc.status) || o.ResponseBytes != int64(len(body)) || o.LatencyMicros == 0 || o.Action != "" {
			t.Errorf("%s: logged as %+v, the request was %q", tc.action, o, e.Text(event.RequestID))
		}
	}
	req := s.decider.last.Load()
	for f, want := range map[event.Field]string{event.Method: "GET", event.Path: "/users/17?x=1", event.Host: "api.example", event.IP: "127.0.0.1", event.Route: "/users/{id}", event.Tenant: "shop"} {
		if got := req.Event.Text(f); got != want {
			t.Errorf("%s is %q, want %q", f, got, want)
		}
	}
	if id := req.Event.Text(event.ID); id == "" || id == req.Event.Text(event.RequestID) || req.Missing {
		t.Errorf("id %q, missing %v", id, req.Missing)
	}

	// When the gate fails, Envoy serves; its log says so.
	if res, body := ask("panic"); res.StatusCode != 200 {
		t.Errorf("after a failure: %d %q", res.StatusCode, body)
	}
	if o := logged(); o.DecisionID != "" || o.Action != "allow" || o.Status != 200 {
		t.Errorf("after a failure: %+v", o)
	}
	s.outcomes.mu.Lock()
	defer s.outcomes.mu.Unlock()
	for f, want := range map[event.Field]string{event.Method: "GET", event.Path: "/users/17?x=1", event.Host: "api.example", event.IP: "127.0.0.1", event.Route: "/users/{id}"} {
		if got := s.outcomes.last.Event.Text(f); got != want {
			t.Errorf("by the log, %s is %q, want %q", f, got, want)
		}
	}
}
