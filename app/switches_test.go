package app

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app/push"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/sandbox"
)

// withRedis returns settings for a Redis of the test's own.
func withRedis(t *testing.T) Config {
	t.Helper()
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
	return cfg
}

// silentLog is a Kafka that does not answer. It notes how long it might take.
type silentLog struct {
	push.Log
	allowed time.Duration
}

func (l *silentLog) Offsets(ctx context.Context, _ string) ([]kafka.OffsetRange, error) {
	if end, ok := ctx.Deadline(); ok {
		l.allowed = time.Until(end)
	}
	return nil, context.DeadlineExceeded
}

// TestASwitchDoesNotWaitForKafka: a rule that only a silent Kafka may know is switched
// within the second in which switches take effect, with a warning.
func TestASwitchDoesNotWaitForKafka(t *testing.T) {
	var pushed silentLog
	o := switches.Object{Scope: switches.Rule, Name: "of-a-push", Owner: "ann", Reason: "a test", Expires: time.Hour.Milliseconds()}
	added, err := PutSwitch(t.Context(), withRedis(t), slog.New(slog.DiscardHandler), o, &pushed)
	if err != nil || !strings.Contains(added.Warning, "of-a-push") {
		t.Errorf("it warns %q, %v", added.Warning, err)
	}
	if pushed.allowed <= 0 || pushed.allowed > lookTime {
		t.Errorf("it waits for Kafka for %v", pushed.allowed)
	}
}

// TestReadingSwitchesLogsNothing: the console reads them for every page.
func TestReadingSwitchesLogsNothing(t *testing.T) {
	cfg := withRedis(t)
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	for _, rule := range []string{"credential-stuffing-ip", "login-failures-ip"} {
		o := switches.Object{Scope: switches.Rule, Name: rule, Owner: "ann", Reason: "a test", Expires: time.Hour.Milliseconds()}
		if _, err := PutSwitch(t.Context(), cfg, log, o, nil); err != nil {
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
