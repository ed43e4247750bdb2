package app

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/policy"
)

// TestAGateIsReadyWhateverRedisIs: without Redis it answers by its policy. A gate
// that is taken out of service would not answer at all.
func TestAGateIsReadyWhateverRedisIs(t *testing.T) {
	up := miniredis.RunT(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, addr, says string }{
		{"it answers", up.Addr(), "ok"},
		{"nobody listens", gone.Addr().String(), "degraded: "},
		{"it hangs", silent.Addr().String(), "degraded: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Defaults()
			cfg.Stream.Secret, cfg.Redis.Addrs = "an example, never a real secret!", []string{tc.addr}
			g, err := NewGate(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer g.reader.Close()
			w, start := httptest.NewRecorder(), time.Now()
			g.admin.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
			var report map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil || w.Code != 200 || !strings.HasPrefix(report["risk"], tc.says) {
				t.Errorf("%d %s (%v), want %q", w.Code, w.Body, err, tc.says)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("after %v", took)
			}
		})
	}
}

// TestALimitHoldsWithAndWithoutRedis goes through the whole gate.
func TestALimitHoldsWithAndWithoutRedis(t *testing.T) {
	server := miniredis.RunT(t)
	cfg := Defaults()
	cfg.Stream.Secret, cfg.Redis.Addrs = "an example, never a real secret!", []string{server.Addr()}
	cfg.Redis.ReadTimeout, cfg.Redis.DialTimeout = 10*time.Second, 10*time.Second // tests share their machine
	cfg.Gate.Policy = filepath.Join(t.TempDir(), "policy.yaml")
	text := `
policies: [{id: all, failure: open, budget: 10s}]
limits: [{id: login, when: route_class == "login", per: [account, ip], most: 3, window: 1h}]
`
	if err := os.WriteFile(cfg.Gate.Policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := NewGate(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer g.reader.Close()
	ask := func(account string) gate.Decision {
		req, err := gate.ParseRequest([]byte(`{"tenant":"shop","route":"/login","request":{"method":"POST"},"entities":{"account":"` + account + `","ip":"203.0.113.9"}}`))
		if err != nil {
			t.Fatal(err)
		}
		return g.gate.Decide(t.Context(), req)
	}
	check := func(what, account string, degraded bool) {
		t.Helper()
		for n, want := range []policy.Action{policy.Allow, policy.Allow, policy.Allow, policy.Throttle} {
			d := ask(account)
			if d.Action != want || d.Degraded != degraded || len(d.Limits) != 1 || d.Limits[0].Remaining != max(0, 2-n) {
				t.Errorf("%s: request %d: %+v", what, n, d)
			}
		}
	}
	check("with Redis", "alice", false)
	for _, key := range server.Keys() {
		if strings.Contains(key, "alice") || strings.Contains(key, "203.0.113") {
			t.Errorf("a key names an entity: %s", key)
		}
	}
	server.Close()
	check("without Redis", "bob", true)
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	for d := ask("carol"); d.Degraded; d = ask("carol") { // the breaker opened for a second
		runtime.Gosched()
	}
	if d := ask("alice"); d.Action != policy.Throttle || d.Degraded {
		t.Errorf("Redis has kept its counts: %+v", d)
	}
}

// TestLogsNeedEvents, and come from this machine alone.
func TestLogsNeedEvents(t *testing.T) {
	cfg := GateDefaults()
	cfg.LogListen = "127.0.0.1:0"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "set gate.events: on") {
		t.Error(err)
	}
	cfg.Emit.Events = emit.On
	for addr, refused := range map[string]bool{"": false, "127.0.0.1:0": false, "unix:/run/weir/log.sock": false, "unix:": true, "0.0.0.0:8194": true} {
		cfg.LogListen = addr
		if err := cfg.Validate(); (err != nil) != refused || refused && !strings.Contains(err.Error(), "gate.log_listen") {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

// TestHAProxyNeedsCertificatesBeyondLoopback: its protocol carries no token.
func TestHAProxyNeedsCertificatesBeyondLoopback(t *testing.T) {
	cfg := GateDefaults()
	cfg.Access.Token = "a token of an example"
	for addr, refused := range map[string]bool{"": false, "127.0.0.1:0": false, "unix:/run/weir/haproxy.sock": false, "unix:": true, "0.0.0.0:8192": true} {
		cfg.HAProxyListen = addr
		if err := cfg.Validate(); (err != nil) != refused || refused && !strings.Contains(err.Error(), "gate.haproxy_listen") {
			t.Errorf("%q: %v", addr, err)
		}
	}
	cfg.HAProxyListen, cfg.Listen = "127.0.0.1:0", "" // HAProxy alone is enough
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

// TestACheckOfAGateTriesItsState: a directory to which nothing can be written is refused,
// with what to do. One that can be is left empty.
func TestACheckOfAGateTriesItsState(t *testing.T) {
	cfg := Defaults()
	cfg.Stream.Secret = "a secret of the tests"
	cfg.Gate.Lookup.State = filepath.Join(t.TempDir(), "state")
	if err := CheckGate(cfg); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(cfg.Gate.Lookup.State); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("there is no directory that nobody may write to")
	}
	cfg.Gate.Lookup.State = "/proc/self"
	err := CheckGate(cfg)
	if wrong := (*Misconfigured)(nil); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "gate.state: nothing can be saved there: ") || !strings.Contains(err.Error(), "name a directory that this user may write") {
		t.Errorf("it says %v", err)
	}
}
