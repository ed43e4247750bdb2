package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/sink/clickhouse"
)

// deciding is a gate that runs in this process.
type deciding struct {
	*Gate
	stop func()
}

func startGate(t *testing.T, cfg Config) *deciding {
	t.Helper()
	cfg.Gate.Listen = "127.0.0.1:0"
	g, err := NewGate(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	return &deciding{g, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the gate: %v", err)
		}
	}}
}

// post sends a body to the gate, and returns its answer.
func (d *deciding) post(t *testing.T, path, body string) map[string]any {
	t.Helper()
	w := httptest.NewRecorder()
	d.gate.Handler().ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader(body)))
	answer := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code >= 300 {
		t.Fatalf("%s: %d %s (%v)", path, w.Code, w.Body, err)
	}
	return answer
}

// tables waits until a query has the given result.
func tables(t *testing.T, cfg Config, sql string, want ...uint64) {
	t.Helper()
	conn, err := clickhouse.OpenToRead(cfg.ClickHouse)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	got := make([]uint64, len(want))
	into := make([]any, len(want))
	for i := range got {
		into[i] = &got[i]
	}
	for {
		if err := conn.QueryRow(ctx, sql).Scan(into...); err != nil {
			t.Fatalf("%s: %v; last %v, want %v", sql, err, got, want)
		}
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v, want %v", sql, got, want)
		}
	}
}

// TestFromAGateToTheTables runs a gate and a worker with the embedded servers: what
// was decided, and what became of the requests, is in the tables once. An event that
// the gate refused reaches no rule.
func TestFromAGateToTheTables(t *testing.T) {
	_, cfg := servers(t)
	cfg.Gate.Emit.Events, cfg.Gate.Emit.OutcomeWait = emit.On, 500*time.Millisecond
	block := switches.Object{Scope: switches.Entity, Kind: "ip", Name: "203.0.113.9", Action: "deny", Owner: "a test", Reason: "abuse", Expires: time.Hour.Milliseconds()}
	if _, err := PutSwitch(t.Context(), cfg, slog.New(slog.DiscardHandler), block, nil); err != nil {
		t.Fatal(err)
	}
	w := start(t, cfg)
	g := startGate(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(g.switches.List()) == 0 {
		<-tick.C
	}

	const ask = `{"route":"/login","request":{"method":"POST","request_id":"%s"},"entities":{"account":"alice","ip":"%s"}}`
	denied := g.post(t, "/v1/decide", fmt.Sprintf(ask, "r-denied", "203.0.113.9"))
	if denied["action"] != "deny" {
		t.Fatalf("the blocked address: %v", denied)
	}
	served := g.post(t, "/v1/decide", fmt.Sprintf(ask, "r-served", "198.51.100.7"))
	unjoined := g.post(t, "/v1/decide", fmt.Sprintf(ask, "r-unjoined", "198.51.100.8"))
	for _, outcome := range []string{
		fmt.Sprintf(`{"decision_id":"%s","status":403,"latency_us":150}`, denied["decision_id"]),
		`{"request_id":"r-served","status":401,"latency_us":2300,"response_bytes":64,"auth":"failure"}`,
	} {
		if answer := g.post(t, "/v1/outcome", outcome); answer["joined"] != true {
			t.Errorf("%s: %v", outcome, answer)
		}
	}

	// The gate repeats a produce whose reply was lost, and somebody writes garbage.
	c := kafkaOf(t, cfg)
	defer c.Close()
	topic := cfg.Stream.Topic("decisions")
	var b kafka.Batch
	for len(b.Records) < 4 { // the first says which policies are in force
		if err := c.Fetch(ctx, topic, 0, 0, &b); err != nil {
			t.Fatal(err)
		}
	}
	again := kafka.Produce{Records: []kafka.Outgoing{{Key: b.Records[0].Key, Value: b.Records[0].Value, Headers: b.Records[0].Headers}, {Key: b.Records[1].Key, Value: b.Records[1].Value}, {Value: []byte("garbage")}}}
	if err := c.Produce(ctx, topic, []kafka.Produce{again}); err != nil {
		t.Fatal(err)
	}

	decided := `SELECT count(), uniqExact(id), countIf(action = 'deny' AND switch != '' AND entities['ip'] = '203.0.113.9' AND request_id = 'r-denied'),
		countIf(action = 'allow' AND policy = 'default') FROM v_decisions`
	tables(t, cfg, decided, 3, 3, 1, 2)
	tables(t, cfg, fmt.Sprintf(`SELECT count(), countIf(request_id = 'r-denied' AND decision_action = 'deny' AND status = 403 AND client_ip = '203.0.113.9' AND decision = '%s'),
		countIf(request_id = 'r-served' AND decision_action = 'allow' AND status = 401 AND auth = 'failure' AND latency_us = 2300 AND decision = '%s'),
		countIf(request_id = 'r-unjoined' AND id = decision AND status = 0 AND decision = '%s') FROM v_events`, denied["decision_id"], served["decision_id"], unjoined["decision_id"]), 3, 1, 1, 1)
	g.stop()

	// The garbage is behind the last decision: once it is passed, all is committed.
	group := cfg.Stream.Group("decisions")
	for {
		got, err := c.Committed(ctx, group, topic)
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Offset == 7 {
			break
		}
		<-tick.C
	}
	w.stop()
	if err := w.end(t, cfg.Stop.Timeout); err != nil {
		t.Fatal(err)
	}
	if l := ledgerOf(t, c, cfg); l.Accepted != 3 || l.Refused != 1 || l.Dead != 0 {
		t.Errorf("the ledger of ingest is %+v; one of three events was refused", l)
	}

	// The commits are undone, as if the worker had been killed before them. Its
	// rows stay.
	undo, undone := context.WithCancel(ctx)
	defer undone()
	if err := c.Join(undo, group, topic, func(ctx context.Context, l *kafka.Lease) error {
		defer undone()
		return l.Commit(ctx, 0, "")
	}); err != nil {
		t.Fatal(err)
	}
	w = start(t, cfg)
	tables(t, cfg, "SELECT toUInt64(count() > 3) FROM decisions", 1) // written again
	tables(t, cfg, decided, 3, 3, 1, 2)
	tables(t, cfg, `SELECT countIf(kind = 'policies' AND program = 'weir-gate' AND count > 0 AND text LIKE '%policies:%'),
		countIf(kind = 'rules' AND program = 'weir-worker' AND version = (SELECT any(version) FROM rule_versions WHERE kind = 'rules') AND startsWith(text, '# file: ')) FROM v_rule_versions`, 1, 2)
	w.stop()
	if err := w.end(t, cfg.Stop.Timeout); err != nil {
		t.Fatal(err)
	}
}

// ledgerOf returns the sum of ingest's ledgers.
func ledgerOf(t *testing.T, c *kafka.Client, cfg Config) (sum ingest.Ledger) {
	t.Helper()
	commits, err := c.Committed(t.Context(), cfg.Stream.Group("ingest"), cfg.Stream.Topic("events"))
	if err != nil {
		t.Fatal(err)
	}
	for _, commit := range commits {
		p, err := ingest.ParseProgress(commit.Metadata)
		if err != nil {
			t.Fatal(err)
		}
		sum = sum.Plus(p.Ledger)
	}
	return sum
}

// TestWhereAGateWrites: a gate needs no Kafka unless it is configured.
func TestWhereAGateWrites(t *testing.T) {
	for name, tc := range map[string]struct {
		broker, decisions, events string
		want                      emit.Topics
	}{
		"by default":                 {"127.0.0.1:9092", "auto", "off", emit.Topics{}},
		"where Kafka is configured":  {"kafka:9092", "auto", "off", emit.Topics{Decisions: "weir.decisions"}},
		"where it is not wanted":     {"kafka:9092", "off", "off", emit.Topics{}},
		"to a broker on the machine": {"127.0.0.1:9092", "on", "off", emit.Topics{Decisions: "weir.decisions"}},
		"events":                     {"127.0.0.1:9092", "auto", "on", emit.Topics{Events: "weir.events"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Defaults()
			cfg.Stream.Secret, cfg.Kafka.Brokers = "an example, never a real secret!", []string{tc.broker}
			cfg.Gate.Emit.Decisions, cfg.Gate.Emit.Events = tc.decisions, tc.events
			if got := cfg.emitted(); got != tc.want {
				t.Errorf("it writes to %+v, want %+v", got, tc.want)
			}
			g, err := NewGate(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer g.reader.Close()
			if (g.kafka != nil) != (tc.want != emit.Topics{}) {
				t.Error("a client of Kafka is there where it should not be, or the other way round")
			}
		})
	}
}
