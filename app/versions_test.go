package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/sink/clickhouse"
)

// keepsItsRules: a worker that starts while ClickHouse takes no rows detects. It stores
// its rules when ClickHouse takes rows again, and its signals after them.
func keepsItsRules(t *testing.T, c *kafka.Client, cfg Config) {
	cfg.Stages = []string{"ingest", "detect"}
	conn, err := clickhouse.Open(cfg.ClickHouse)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	alter := func(what string) {
		t.Helper()
		if err := conn.Exec(t.Context(), "ALTER TABLE weir.rule_versions "+what); err != nil {
			t.Fatal(err)
		}
	}
	var before uint64
	if err := conn.QueryRow(t.Context(), "SELECT count() FROM weir.rule_versions").Scan(&before); err != nil {
		t.Fatal(err)
	}
	alter("ADD CONSTRAINT full CHECK 0")
	var said bytes.Buffer
	told := signalsOf(t, c, cfg)
	w := startWith(t, cfg, slog.New(slog.NewTextHandler(&said, nil)))
	event := fmt.Sprintf(`{"id":"of-keeping","time":%d,"tenant":"keeping","ip":"203.0.113.9","method":"GET","route":"/api/v1/config.bak","status":403}`, time.Now().UnixMilli())
	if err := c.Produce(t.Context(), cfg.Stream.Topic("events"), []kafka.Produce{{Records: []kafka.Outgoing{{Key: []byte("of-keeping"), Value: []byte(event)}}}}); err != nil {
		t.Fatal(err)
	}
	for tick := time.Tick(20 * time.Millisecond); signalsOf(t, c, cfg) == told; {
		select {
		case <-tick:
		case err := <-w.ended:
			t.Fatalf("the worker ended: %v", err)
		}
	}
	tables(t, cfg, "SELECT countIf(tenant = 'keeping') FROM v_events", 1)
	const both = "SELECT (SELECT count() FROM rule_versions), (SELECT count() FROM v_signals WHERE tenant = 'keeping' AND rule = 'known-weak-spots-ip')"
	tables(t, cfg, both, before, 0)
	alter("DROP CONSTRAINT full")
	tables(t, cfg, both, before+1, 1)
	w.stop()
	if err := w.end(t, cfg.Stop.Timeout); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"clickhouse does not take rows; trying again", "clickhouse takes rows again"} {
		if !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "table=rule_versions") {
			t.Errorf("the log does not say %q:\n%s", want, said.String())
		}
	}
}

// signalsOf returns how many records the topic of signals has.
func signalsOf(t *testing.T, c *kafka.Client, cfg Config) (n int64) {
	t.Helper()
	all, err := c.Offsets(t.Context(), cfg.Stream.Topic("signals"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		n += p.End
	}
	return n
}
