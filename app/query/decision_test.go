package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/sink/clickhouse"
)

// decided creates the data of a gate that denied one request and served another, in a
// directory.
func decided(t *testing.T) (dir string) {
	t.Helper()
	testkit.ChDB(t)
	dir = t.TempDir()
	log := slog.New(slog.DiscardHandler)
	s, err := sandbox.New(sandbox.Config{Dir: filepath.Join(dir, "sandbox"), ClickHouseAddr: "127.0.0.1:0"}, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	c := clickhouse.Defaults()
	c.Addrs = []string{s.Addresses().ClickHouse}
	if err := clickhouse.Migrate(t.Context(), c, log); err != nil {
		t.Fatal(err)
	}
	conn, err := clickhouse.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("toDateTime64('%s', 3, 'UTC')", time.Now().UTC().Format("2006-01-02 15:04:05.678"))
	const reasons = `[{"rule":"credential-stuffing-ip","reason":"many_accounts","category":"account_takeover","weight":90,"phase":"enforce","entity":"ip"},` +
		`{"rule":"known-device","reason":"seen_for_weeks","category":"trust","weight":20,"lowers":true,"phase":"enforce","entity":"device"}]`
	for _, sql := range []string{
		`INSERT INTO weir.decisions (stream, incarnation, src_offset, received, id, time, tenant, route, request_id, entities, action, would, phase, score, reasons, policy, latency_us)
			SELECT 'weir', 1, 7, now64(3), 'd-1', ` + at + `, 'shop', '/login', 'r-1', map('ip', '203.0.113.9', 'device', 'it''s'), 'deny', 'deny', 'enforce', 90, '` + reasons + `', 'default', 812`,
		`INSERT INTO weir.decisions (stream, incarnation, src_offset, received, id, time, request_id, action, would, phase, reasons, policy, degraded, degraded_by)
			SELECT 'weir', 1, 8, now64(3), 'd-2', ` + at + `, 'a\x1b[31m', 'allow', 'step_up', 'observe', '[]', 'default', 1, 'timeout'`,
		`INSERT INTO weir.decisions (stream, incarnation, src_offset, received, id, time, request_id, action, would, phase, switch, reasons)
			SELECT 'weir', 1, 9, now64(3), 'd-3', ` + at + `, 'r-1', 'deny', 'deny', 'enforce', 'entity:ip:203.0.113.9', '[]'`,
		// A gate's clock is a day behind, and another one's a day ahead.
		`INSERT INTO weir.decisions (stream, incarnation, src_offset, received, id, time, tenant, entities, action, would, phase, reasons)
			SELECT 'weir', 1, 10 + number, now64(3), 'off-' || toString(number), ` + at + ` + INTERVAL number * 2 - 1 DAY, 'shop', map('ip', '203.0.113.9'), 'deny', 'deny', 'enforce', '` + reasons + `' FROM numbers(2)`,
		`INSERT INTO weir.events (stream, incarnation, src_offset, received, time, id, decision)
			SELECT 'weir', 1, 10 + number, now64(3), ` + at + `, 'r-off', 'off-' || toString(number) FROM numbers(2)`,
		`INSERT INTO weir.events (stream, incarnation, src_offset, received, time, id, client_ip, path, status, decision, decision_action)
			SELECT 'weir', 1, 7, now64(3), ` + at + `, 'r-1', '203.0.113.9', '/login', 403, 'd-1', 'deny'`,
		`INSERT INTO weir.signals (stream, incarnation, facet_offset, received, time, rule, tenant, entity_kind, entity, weight, evidence)
			SELECT 'weir', 1, number, now64(3), ` + at + ` - number, 'credential-stuffing-ip', 'shop', 'ip', '203.0.113.9', 90, '{"distinct":' || toString(12 - number) || '}' FROM numbers(2)`,
	} {
		for range 2 { // written twice
			if err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(conn.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAllThatIsKnownOfADecision(t *testing.T) {
	dir := decided(t)
	run := func(id, output string) (string, error) {
		var out bytes.Buffer
		err := Decision(t.Context(), Options{ClickHouse: clickhouse.Defaults(), Data: dir, Output: output}, id, &out, slog.New(slog.DiscardHandler))
		return out.String(), err
	}
	for id, want := range map[string][]string{
		"d-1": {
			"Decision d-1, 20", "  action      deny\n", "  tenant      shop\n", "  latency_us  812\n",
			"  90  credential-stuffing-ip: many_accounts (account_takeover, enforce), about ip 203.0.113.9\n      2 signals, from 20", "      last evidence {\"distinct\":12}\n",
			"  −20  known-device: seen_for_weeks (trust, enforce), about device it's\n      no signal of it is stored\n",
			"Event r-1, 20", "  status           403\n", "  decision_action  deny\n",
			"weir query 'SELECT time, method, path, status, auth FROM v_events WHERE client_ip = '\\''203.0.113.9'\\''", "weir switch set release ip 203.0.113.9 -tenant shop -for 24h",
			"weir switch set rule credential-stuffing-ip -for 24h",
		},
		"d-2":   {"request_id   a\\x1b[31m\n", "in phase enforce it would have been step_up", "(timeout): see docs/gate.md", "no event names this decision yet"},
		"d-3":   {"entity:ip:203.0.113.9 decided, before any policy: `weir switch list`"},
		"off-0": {"      2 signals, from 20", "\nEvent r-off, 20"},
		"off-1": {"      2 signals, from 20", "\nEvent r-off, 20"},
		"r-1":   {"Decision d-1, 20", "\n\nDecision d-3, 20"}, // both were on that request
	} {
		said, err := run(id, "vertical")
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(said, w) {
				t.Errorf("%s: it does not say %q", id, w)
			}
		}
		if strings.Contains(said, "\x1b") || id == "d-1" && strings.Contains(said, "d-3") {
			t.Errorf("%s: too much is said", id)
		}
		if t.Failed() {
			t.Log(said)
		}
	}
	said, err := run("d-1", "json")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Decision struct {
			ID       string            `json:"id"`
			Score    int               `json:"score"`
			Entities map[string]string `json:"entities"`
		} `json:"decision"`
		Reasons []struct {
			Rule, Key, Last string
			Signals         int
			Lowers          bool
			Evidence        map[string]int
		} `json:"reasons"`
		Events []struct {
			Status int `json:"status"`
		} `json:"events"`
		Next []string `json:"next"`
	}
	if err := json.Unmarshal([]byte(said), &got); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	if strings.Count(said, "\n") != 1 || got.Decision.ID != "d-1" || got.Decision.Score != 90 || got.Decision.Entities["device"] != "it's" || len(got.Events) != 1 || got.Events[0].Status != 403 || len(got.Next) != 3 {
		t.Errorf("%s", said)
	}
	if len(got.Reasons) != 2 || got.Reasons[0].Signals != 2 || got.Reasons[0].Evidence["distinct"] != 12 || got.Reasons[0].Key != "203.0.113.9" || !got.Reasons[1].Lowers {
		t.Errorf("%s", said)
	}
	for _, id := range []string{"d-9", "' OR 1 = 1 --", ""} {
		if said, err := run(id, "vertical"); !errors.Is(err, ErrNoDecision) || said != "" || !strings.Contains(err.Error(), "clickhouse.retention") {
			t.Errorf("%q: %q, %v", id, said, err)
		}
	}
}
