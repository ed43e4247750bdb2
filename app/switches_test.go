package app

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/sandbox"
)

// TestReadingSwitchesLogsNothing: the console reads them for every page.
func TestReadingSwitchesLogsNothing(t *testing.T) {
	s, err := sandbox.New(sandbox.Config{RedisAddr: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	cfg := Defaults()
	cfg.Stream.Secret = "a secret of the tests"
	cfg.Redis.Addrs = []string{s.Addresses().Redis}
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	for _, rule := range []string{"credential-stuffing-ip", "login-failures-ip"} {
		o := switches.Object{Scope: switches.Rule, Name: rule, Owner: "ann", Reason: "a test", Expires: time.Hour.Milliseconds()}
		if _, err := PutSwitch(t.Context(), cfg, log, o, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if all, err := ListSwitches(t.Context(), cfg, log); err != nil || len(all) != 2 {
			t.Fatalf("%d switches, %v", len(all), err)
		}
	}
	if logged.Len() > 0 {
		t.Errorf("it logged:\n%s", logged.String())
	}
}
