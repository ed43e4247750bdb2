package app

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/app/canary"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/tracing/tracetest"
	"github.com/weirdev/weir/notices"
)

// TestFromAnEventToPeople runs a worker with the embedded servers: it finds the attacks
// of a canary, about which nobody is told, and the same by a client of a shop, about
// which a receiver is told. Its way is in a trace.
func TestFromAnEventToPeople(t *testing.T) {
	_, cfg := servers(t)
	const secret = "a secret of the tests"
	told := make(chan notices.Notice, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var n notices.Notice
		if err == nil {
			err = json.Unmarshal(body, &n)
		}
		if err != nil || r.Header.Get(notices.HeaderSignature) != notices.Sign(secret, r.Header.Get(notices.HeaderTimestamp), body) {
			t.Errorf("%s is not signed, or does not read: %v", body, err)
		}
		told <- n
	}))
	defer receiver.Close()
	cfg.Notices.File = filepath.Join(t.TempDir(), "notices.yaml")
	for name, text := range map[string]string{
		"secret": secret, "notices.yaml": "group: {wait: 1s}\nchannels:\n  - {id: it, webhook: {url: '" + receiver.URL + "', secret_file: secret}}\n",
	} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(cfg.Notices.File), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	traces := tracetest.New(t)
	cfg.Tracing.Endpoint, cfg.Tracing.Events = traces.URL, 1
	w := start(t, cfg)
	c := kafkaOf(t, cfg)
	defer c.Close()
	begun := func() bool {
		got, err := c.Committed(t.Context(), cfg.Stream.Group("notices"), cfg.Stream.Topic("signals"))
		return err == nil && len(got) > 0 && got[0].Offset >= 0
	}
	for tick := time.Tick(50 * time.Millisecond); !begun(); {
		<-tick
	}

	set, err := LoadRules("")
	if err != nil {
		t.Fatal(err)
	}
	attacks, err := canary.Choose(canary.Options{Rules: set, Ingest: cfg.Ingest, Detect: cfg.Detect.Config, Longest: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	attacks = slices.DeleteFunc(attacks, func(a canary.Attack) bool { return a.Why != "" })
	one := canary.New(canary.Config{
		Events: cfg.Stream.Topic("events"), Signals: cfg.Stream.Topic("signals"), Within: 30 * time.Second, Log: c, Logger: slog.New(slog.DiscardHandler), Name: func() string { return "one" },
	}, attacks, nil)
	all, err := one.Once(t.Context(), attacks[:1]) // a name for each run is needed for more
	if err != nil || len(attacks) != 2 || len(all) != 1 || !all[0].Caught {
		t.Fatalf("%+v, %v", all, err)
	}

	event := fmt.Sprintf(`{"id":"e1","time":%d,"tenant":"shop","trace_id":"`+traceOfTest+`","ip":"203.0.113.9","method":"GET","route":"/api/v1/config.bak","status":403}`, time.Now().UnixMilli())
	if err := c.Produce(t.Context(), cfg.Stream.Topic("events"), []kafka.Produce{{Records: []kafka.Outgoing{{Key: []byte("e1"), Value: []byte(event)}}}}); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-told:
		if n.Status != notices.Firing || n.Tenant != "shop" || n.Stream != "weir" || len(n.Findings) != 1 || n.Findings[0].Entity != "203.0.113.9" || !strings.Contains(n.Text(), "203.0.113.9") {
			t.Errorf("told: %+v", n)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was told")
	}
	w.stop()
	if err := w.end(t, cfg.Stop.Timeout); err != nil {
		t.Fatal(err)
	}
	// The trace: of the gateway's trace, the event links to it, and so do its signals.
	spans := traces.Spans()
	if of := spans["event"]; spans["ingest"].Trace != traceOfTest || len(of.Links) != 1 || of.Links[0] != traceOfTest || spans["ingest"].Links[0] != of.Trace ||
		spans["signal"].Trace != of.Trace || spans["signal"].Parent != of.ID || spans["signal"].Attributes["weir.rule"] != "known-weak-spots-ip" ||
		spans["store event"].Parent != of.ID || spans["store signal"].Parent != spans["signal"].ID {
		t.Errorf("spans: %+v", spans)
	}
	if len(told) > 0 {
		t.Errorf("also told: %+v", <-told)
	}
}
