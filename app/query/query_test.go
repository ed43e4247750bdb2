package query

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/sink/clickhouse"
)

// leave creates the data that a demonstration leaves: tables, and one event in two
// copies.
func leave(t *testing.T) (dir string) {
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
	for range 2 {
		if err := conn.Exec(t.Context(), "INSERT INTO weir.events (stream, incarnation, src_offset, received, time, client_ip, path, status, user_agent) "+
			"SELECT 'weir', 1, 7, now64(3), toDateTime64('2026-01-02 03:04:05.678', 3), '203.0.113.9', '/login', 401, 'a\\tb\\x1b[31m'"); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(conn.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestWhatADemonstrationHasLeft(t *testing.T) {
	dir := leave(t)
	run := func(data, output, sql string) (string, error) {
		var out bytes.Buffer
		err := Run(t.Context(), Options{ClickHouse: clickhouse.Defaults(), Data: data, Output: output}, sql, &out, slog.New(slog.DiscardHandler))
		return out.String(), err
	}
	for _, c := range []struct{ name, output, sql, want string }{
		{"an event counts once", "tsv", "SELECT count() AS n FROM v_events;", "n\n1\n"},
		{"with the database, too", "tsv", "SELECT count() AS n FROM weir.v_events", "n\n1\n"},
		{"a table", "table", "SELECT client_ip, status, time FROM v_events", "client_ip    status  time\n───────────  ──────  ───────────────────────\n203.0.113.9     401  2026-01-02 03:04:05.678\n1 row\n"},
		{"a table without rows", "table", "SELECT status FROM v_events WHERE status = 1", "status\n──────\n0 rows\n"},
		{"a row as a block", "vertical", "SELECT client_ip, status FROM v_events", "Row 1\n  client_ip  203.0.113.9\n  status     401\n"},
		{"what a client wrote does not reach the terminal", "vertical", "SELECT user_agent FROM v_events", "Row 1\n  user_agent  a\\tb\\x1b[31m\n"},
		{"nor does it break lines of TSV", "tsv", "SELECT 'a\\tb\\nc' AS x", "x\na\\tb\\nc\n"},
		{"CSV", "csv", "SELECT 'a,\"b' AS x, 1 AS y", "x,y\n\"a,\"\"b\",1\n"},
		{"every kind of value", "json", "SELECT [1, 2] AS a, map('k', 1) AS m, NULL AS n, toNullable('x') AS s, 1.5 AS f, toFloat32(0.1) AS g, true AS b, ('t', 2) AS t, toDate('2026-01-02') AS d, " +
			"toDateTime('2026-01-02 03:04:05', 'UTC') AS dt, nan AS nan, toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS u, toDecimal32(1.25, 2) AS dec, toIPv4('10.0.0.1') AS ip, 18446744073709551615 AS big, '<&>' AS h",
			`{"a":[1,2],"m":{"k":1},"n":null,"s":"x","f":1.5,"g":0.1,"b":true,"t":["t",2],"d":"2026-01-02","dt":"2026-01-02 03:04:05","nan":"nan","u":"61f0c404-5cb3-11e7-907b-a6006ad3dba0","dec":"1.25","ip":"10.0.0.1","big":18446744073709551615,"h":"<&>"}` + "\n"},
		{"nested values", "tsv", "SELECT ['it\\'s'] AS a, map('k', [1]) AS m", "a\tm\n['it\\\\'s']\t{'k':[1]}\n"},
		{"the views there are", "tsv", "SHOW TABLES LIKE 'v\\_%'", "name\nv_audit\nv_dead_letters\nv_decisions\nv_decisions_by_id\nv_entity_events\nv_entity_minutes\nv_event_minutes\nv_events\nv_events_by_id\nv_labels\nv_named_signals\nv_rule_versions\nv_shadow_signals\nv_signals\nv_superseded\n"},
		{"settings of its own", "tsv", "SELECT 1 AS x SETTINGS max_threads = 1", "x\n1\n"},
	} {
		got, err := run(dir, c.output, c.sql)
		if err != nil || got != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.name, err, got, c.want)
		}
		if c.output == "json" && !json.Valid([]byte(got)) {
			t.Errorf("%s: no JSON", c.name)
		}
	}
	if got, err := run(filepath.Join(dir, "sandbox"), "tsv", "SELECT count() AS n FROM v_events"); err != nil || got != "n\n1\n" {
		t.Errorf("the sandbox's own directory: %q, %v", got, err)
	}
	empty := t.TempDir()
	for _, c := range []struct{ name, data, sql, want string }{
		{"an unknown table", dir, "SELECT * FROM event", "the tables of weir are v_events, v_signals and v_decisions"},
		{"an unknown column", dir, "SELECT adress FROM v_events", "`weir query 'DESCRIBE v_events'` lists the columns"},
		{"no SQL", dir, "SELEC 1", "Syntax error"},
		{"nothing", dir, " ; ", "there is no SQL to run"},
		{"a write", dir, "INSERT INTO events (stream) VALUES ('x')", "weir query only reads"},
		{"the end of a table", dir, "DROP TABLE events", "weir query only reads"},
		{"a write behind WITH", dir, "WITH 1 AS x INSERT INTO schema_version SELECT x", "weir query only reads"},
		{"a directory that is not there", filepath.Join(empty, "x"), "SELECT 1", "-data: stat"},
		{"a directory of something else", empty, "SELECT 1", "ClickHouse has left nothing there"},
	} {
		if got, err := run(c.data, "tsv", c.sql); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "DB::Exception") {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("a question has made %v (%v)", left, err)
	}
}

func TestAServerThatIsAway(t *testing.T) {
	c := clickhouse.Defaults()
	c.Addrs = []string{"127.0.0.1:1"}
	err := Run(t.Context(), Options{ClickHouse: c, Output: "tsv"}, "SELECT 1", new(bytes.Buffer), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "-clickhouse.addrs names another; -data DIR") {
		t.Error(err)
	}
}
