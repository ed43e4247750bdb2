package clickhouse_test

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/sink/clickhouse"
)

// discard is for those who have nothing to say.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// asVersion makes the tables as a program of an older version made them, with rows in
// each of them; 0 is none.
func asVersion(t *testing.T, addr string, version int) clickhouse.Config {
	t.Helper()
	c := clickhouse.Defaults()
	c.Addrs, c.FlushAge = []string{addr}, 20*time.Millisecond
	c.Database = fmt.Sprintf("v%d_%d", version, time.Now().UnixNano())
	if version == 0 {
		return c
	}
	all := append(statementsOf(t, version),
		"INSERT INTO {database}.events (stream, incarnation, src_offset, received, time, client_ip) SELECT 'weir', 1, 7, now64(3), now64(3), '203.0.113.9'",
		"INSERT INTO {database}.signals (stream, incarnation, received, time, rule, entity_kind, entity, weight) SELECT 'weir', 1, now64(3), now64(3), 'old', 'ip', '203.0.113.9', 90")
	if version >= 9 { // whose writers count, and wrote the rows of copies with those of events
		all = append(all, "INSERT INTO {database}.entity_minutes (entity_kind, minute, stream, incarnation, block, version, day, tenants, entities, events, failures, errors, refused) "+
			"SELECT 'ip', toStartOfMinute(now()), 'weir', 1, 0, 1, today(), [''], ['203.0.113.9'], [1], [0], [0], [0]")
	}
	conn := connect(t, c)
	for _, s := range all {
		if err := conn.Exec(t.Context(), strings.ReplaceAll(s, "{database}", c.Database)); err != nil {
			t.Fatalf("%v in\n%s", err, s)
		}
	}
	for table, columns := range filled(t, c) {
		var values []string
		for _, column := range columns {
			name, kind, _ := strings.Cut(column, " ")
			values = append(values, anyValue(name, kind))
		}
		if err := conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s.%s SELECT %s", c.Database, table, strings.Join(values, ", "))); err != nil {
			t.Fatalf("%s: %v", table, err)
		}
	}
	return c
}

// statementsOf returns the DDL of a version. The versions 7 and 8 were in no release.
// What lies between 6 and 9 without copies and counts is these tables.
func statementsOf(t *testing.T, version int) (all []string) {
	t.Helper()
	read := func(version int) []string {
		ddl, err := os.ReadFile(fmt.Sprintf("testdata/schema_v%d.sql", version))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(ddl)), ";")), ";\n")
	}
	if version != 7 && version != 8 {
		return read(version)
	}
	all = read(6)
	between := []string{"labels", "audit", "superseded_streams"}[:version-5] // the third came last
	for _, s := range read(9) {
		for _, table := range between {
			if strings.HasPrefix(s, "CREATE TABLE IF NOT EXISTS {database}."+table) {
				all = append(all, s)
			}
		}
	}
	return append(all, fmt.Sprintf("INSERT INTO {database}.schema_version SELECT %d", version))
}

// filled lists the tables that programs write, with their columns.
func filled(t *testing.T, c clickhouse.Config) map[string][]string {
	t.Helper()
	rows, err := connect(t, c).Query(t.Context(), "SELECT name FROM system.tables WHERE database = '"+c.Database+"' AND engine = 'ReplacingMergeTree' AND name NOT IN "+
		"('schema_version', 'entity_events', 'event_ids', 'decision_ids', 'named_signals')")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := map[string][]string{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		all[name] = columns(t, c, name)
	}
	return all
}

// anyValue is a value for a column, as SQL: of no row that the test asks for.
func anyValue(name, kind string) string {
	inner := strings.TrimSuffix(strings.TrimPrefix(kind, "Array("), ")")
	switch {
	case inner != strings.TrimSuffix(kind, ")"):
		return "[" + anyValue(name, inner) + "]"
	case strings.HasPrefix(kind, "Map("):
		return "map('kind', 'its " + name + "')"
	case strings.HasPrefix(kind, "Date"):
		return "now()"
	case strings.HasPrefix(kind, "UInt"), strings.HasPrefix(kind, "Int"):
		return "7"
	case name == "stream":
		return "'another'"
	}
	return "'its " + name + "'"
}

// content is what a table says in some columns, each row once.
func content(t *testing.T, c clickhouse.Config, table string, columns []string) (all string) {
	t.Helper()
	var names []string
	for _, column := range columns {
		name, _, _ := strings.Cut(column, " ")
		names = append(names, "toString("+name+")")
	}
	query(t, c, "SELECT arrayStringConcat(arraySort(groupArray(concatWithSeparator('|', "+strings.Join(names, ", ")+"))), '\n') FROM %s."+table+" FINAL", &all)
	return all
}

func connect(t *testing.T, c clickhouse.Config) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// columns lists those of a table or view, with their types, in order.
func columns(t *testing.T, c clickhouse.Config, table string) (all []string) {
	t.Helper()
	rows, err := connect(t, c).Query(t.Context(), "SELECT name || ' ' || type FROM system.columns WHERE database = '"+c.Database+"' AND table = '"+table+"' ORDER BY position")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func TestTablesOfEveryOlderVersionBecomeThoseOfToday(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	fresh := config(t, s.addr)
	for _, table := range []string{"events", "signals", "shadow_signals", "decisions"} {
		if got := len(columns(t, fresh, table)); got < 20 || got != len(columns(t, fresh, "v_"+table)) {
			t.Fatalf("%s has %d columns, its view %d", table, got, len(columns(t, fresh, "v_"+table)))
		}
	}
	made := []string{"entity_events", "event_ids", "decision_ids", "event_minutes", "entity_minutes", "dead_letters", "v_dead_letters", "rule_versions", "v_rule_versions", "named_signals", "v_named_signals"}
	for _, version := range []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11} {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			c := asVersion(t, s.addr, version)
			before := map[string]string{}
			had := filled(t, c)
			for table, columns := range had {
				before[table] = content(t, c, table, columns)
			}
			w := events(t, c)
			if err := w.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "weir migrate") {
				t.Errorf("check before: %v", err)
			}
			times := 1
			if version == 0 || version == 11 {
				times = 2 // is once
			}
			for range times {
				if err := clickhouse.Migrate(t.Context(), c, discard()); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Check(t.Context()); err != nil {
				t.Errorf("check after: %v", err)
			}
			for table, columns := range had {
				if got := content(t, c, table, columns); got != before[table] || !strings.Contains(got, "another|") {
					t.Errorf("%s says\n%s\nbefore\n%s", table, got, before[table])
				}
			}
			var lines, counted uint64
			query(t, c, "SELECT count() FROM %s.v_entity_events WHERE entity_kind = 'ip' AND entity = '203.0.113.9'", &lines)
			query(t, c, "SELECT sum(events) FROM %s.v_entity_minutes WHERE entity_kind = 'ip' AND entity = '203.0.113.9'", &counted)
			if want := uint64(min(version, 1)); lines != want || counted != want {
				t.Errorf("%d events of before in the time line, %d in the minutes, want %d", lines, counted, want)
			}
			for _, table := range append(made, "events", "signals", "shadow_signals", "decisions", "v_events", "v_signals", "v_shadow_signals", "v_decisions",
				"v_entity_events", "v_event_minutes", "v_entity_minutes") {
				if got, want := columns(t, c, table), columns(t, fresh, table); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s has the columns\n%v\nwant\n%v", table, got, want)
				}
			}
			var indexes uint64
			if query(t, c, "SELECT count() FROM system.data_skipping_indices WHERE database = '%s' AND table = 'named_signals' AND name = 'by_time'", &indexes); indexes != 1 {
				t.Error("named_signals is not indexed by time")
			}
			running(t, w.Run)
			track, e := w.Open(0), sample(t, 1)
			e.SetText(event.Referer, "https://example.com/")
			if err := track.Append(t.Context(), 8, 1, time.Now().UnixMilli(), e); err != nil {
				t.Fatal(err)
			}
			if err := track.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
			var named uint64
			if query(t, c, "SELECT count() FROM %s.v_named_signals WHERE name IN ('old', '203.0.113.9')", &named); named != 2*uint64(min(version, 1)) {
				t.Errorf("%d names of the signal of before, want 2", named)
			}
			var rows, old, referers, signals uint64
			query(t, c, "SELECT count(), countIf(client_ip = '203.0.113.9' AND referer = ''), countIf(referer != '') FROM %s.v_events WHERE stream = 'weir'", &rows, &old, &referers)
			query(t, c, "SELECT count() FROM %s.v_signals WHERE rule = 'old' AND group_key = '' AND lowers = 0 AND clears = 0 AND asks = ''", &signals)
			want := uint64(min(version, 1))
			if rows != want+1 || old != want || referers != 1 || signals != want {
				t.Errorf("%d rows, %d of before, %d of now, %d signals of before", rows, old, referers, signals)
			}
		})
	}
}

// TestALogThatHasGrownCountsOnce: each run of a file is a stream of its own.
func TestALogThatHasGrownCountsOnce(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	now := time.Now().UnixMilli()
	// A run is a text: each letter is a line, and what stands for nothing does not
	// read.
	for _, tc := range []struct {
		name string
		runs []string // in the order in which they were read
		live string
		want int
	}{
		{"one log", []string{"abc"}, "", 3},
		{"a log that has grown", []string{"abc", "abcdef"}, "", 6},
		{"one that has grown three times", []string{"ab", "abcd", "abcde", "abcdefgh"}, "", 8},
		{"one of a single line that has grown", []string{"a", "abc"}, "", 3},
		{"a log that was cut amid its last line", []string{"abX", "abcd"}, "", 4},
		{"lines that do not read", []string{".ab.c", ".ab.cd."}, "", 4},
		{"a second reading that is not through", []string{"abcdef", "abc"}, "", 6},
		{"two logs", []string{"abc", "xyz"}, "", 6},
		{"two logs with the same first line", []string{"abc", "axyz"}, "", 7},
		{"two logs with the same last line", []string{"abcz", "xyzz"}, "", 8},
		{"the same lines, one later", []string{"abc", "zabc"}, "", 7},
		{"live traffic beside it", []string{"abc", "abcdef"}, "abcdef", 12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := config(t, s.addr)
			conn := connect(t, c)
			write := func(stream, lines string, read int) {
				for i, l := range lines {
					if l == '.' {
						continue
					}
					for range 2 { // written again after a crash
						if err := conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s.events (stream, incarnation, src_offset, received, time, path, status) "+
							"SELECT '%s', 1, %d, fromUnixTimestamp64Milli(%d), fromUnixTimestamp64Milli(%d), '/%c', 200", c.Database, stream, i, now+int64(read), now, l)); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s.signals (stream, incarnation, received, time, rule) SELECT '%s', 1, now64(3), now64(3), '%s'", c.Database, stream, stream)); err != nil {
					t.Fatal(err)
				}
			}
			for i, lines := range tc.runs {
				write(fmt.Sprintf("history-%d", i), lines, i)
			}
			if tc.live != "" {
				write("weir", tc.live, 0)
			}
			if err := clickhouse.Migrate(t.Context(), c, discard()); err != nil { // as a writer does after each insert
				t.Fatal(err)
			}
			var n, streams, signals uint64
			query(t, c, "SELECT count(), uniqExact(stream) FROM %s.v_events", &n, &streams)
			query(t, c, "SELECT count() FROM %s.v_signals", &signals)
			if n != uint64(tc.want) || signals != streams {
				t.Errorf("%d events of %d streams, want %d; %d signals", n, streams, tc.want, signals)
			}
		})
	}
}
