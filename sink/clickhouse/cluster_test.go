package clickhouse_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/sink/clickhouse"
)

var update = flag.Bool("update", false, "write golden files anew")

// onOne returns a configuration for a cluster that the engine has: one shard, itself.
func onOne(addr string) clickhouse.Config {
	c := clickhouse.Defaults()
	c.Addrs, c.FlushAge, c.Cluster = []string{addr}, 20*time.Millisecond, "one"
	c.Database = fmt.Sprintf("c%d", time.Now().UnixNano())
	return c
}

// TestTablesOfAClusterAreTheseStatements holds them to a file, for review.
func TestTablesOfAClusterAreTheseStatements(t *testing.T) {
	c := clickhouse.Defaults()
	c.Cluster = "abuse"
	got := strings.Join(clickhouse.Statements(c), ";\n") + ";\n"
	const file = "testdata/cluster.sql"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil { //nolint:gosec // a file of the repository
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the statements are not those of %s; -update writes\n%s", file, got)
	}
}

var (
	replicatedAs = regexp.MustCompile(`TABLE IF NOT EXISTS weir\.(\w+) ON CLUSTER[\s\S]*ENGINE = ReplicatedReplacingMergeTree[\s\S]*ORDER BY \(?([\w, ]+)`)
	distributed  = regexp.MustCompile(`ENGINE = Distributed\('abuse', 'weir', '(\w+)'(?:, cityHash64\(([\w, ]+)\))?\)`)
)

// A row that is written again reaches the shard of the first, or it would count twice.
func TestAShardIsChosenByTheSortingKey(t *testing.T) {
	c := clickhouse.Defaults()
	c.Cluster = "abuse"
	sorted, sharded := map[string][]string{}, 0
	for _, s := range clickhouse.Statements(c) {
		if m := replicatedAs.FindStringSubmatch(s); m != nil {
			sorted[m[1]] = strings.Split(m[2], ", ")
		}
		m := distributed.FindStringSubmatch(s)
		if m == nil || m[2] == "" {
			continue
		}
		sharded++
		for _, column := range strings.Split(m[2], ", ") {
			if !slices.Contains(sorted[m[1]], column) {
				t.Errorf("%s is sharded by %s, which is not in its sorting key %v", m[1], column, sorted[m[1]])
			}
		}
	}
	if sharded != 10 || len(sorted) != 16 {
		t.Errorf("%d tables are sharded, %d replicated", sharded, len(sorted))
	}
}

// alone takes out of a statement what needs Keeper, which the engine has not.
func alone(s string) string {
	s = strings.ReplaceAll(s, " ON CLUSTER 'one'", "")
	return regexp.MustCompile(`Replicated(ReplacingMergeTree\()'[^']*', '[^']*'(?:, )?`).ReplaceAllString(s, "$1")
}

// TestTablesOfAClusterAnswer executes all but what needs Keeper: local tables,
// Distributed ones above them, feeds and views.
func TestTablesOfAClusterAnswer(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	c := onOne(s.addr)
	conn := connect(t, c)
	for _, all := range [][]string{clickhouse.Statements(c), clickhouse.Retypes(c)} {
		for _, statement := range all {
			for _, prefix := range []string{"EXPLAIN AST ", ""} { // as it is; and without what needs Keeper
				sql := prefix + statement
				if prefix == "" {
					sql = alone(statement)
				}
				if err := conn.Exec(t.Context(), sql); err != nil {
					t.Fatalf("%v in\n%s", err, sql)
				}
			}
		}
	}
	if err := conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s.schema_version SELECT %d", c.Database, clickhouse.SchemaVersion)); err != nil {
		t.Fatal(err)
	}
	w := events(t, c)
	if err := w.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	running(t, w.Run)
	track, e, now := w.Open(3), new(event.Event), time.Now().UnixMilli()
	for range 2 { // written again after a crash
		for i := range int64(10) {
			e.Reset()
			e.SetNum(event.Time, now)
			e.SetText(event.ClientIP, "203.0.113.9")
			e.SetText(event.RequestID, fmt.Sprintf("r-%d", i))
			if err := track.Append(t.Context(), i, 1, now, e); err != nil {
				t.Fatal(err)
			}
		}
		if err := track.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	line, byID, routes, addresses := answers(t, c, "203.0.113.9", "r-4")
	if line != 10 || byID != 1 || routes != 10 || addresses != 10 {
		t.Errorf("%d events of an address, %d with an id, %d by route, %d by address; want 10, 1, 10, 10", line, byID, routes, addresses)
	}
	traces, err := clickhouse.Remains(t.Context(), c, facet.Entity{Kind: facet.IP, Key: "203.0.113.9"})
	found := map[string]uint64{}
	for _, one := range traces {
		found[one.Table] += one.Rows
	}
	if err != nil || found["events"] == 0 || found["entity_events"] == 0 || found["event_ids"] == 0 || found["entity_minutes"] == 0 {
		t.Errorf("an erasure finds %v (%v)", traces, err)
	}
	_, err = clickhouse.Erase(t.Context(), c, facet.Entity{Kind: facet.IP, Key: "203.0.113.9"})
	if err == nil || !strings.Contains(err.Error(), "Replicated DDL queries are disabled") {
		t.Errorf("an erasure ends with %v; want that it asks all nodes, which the engine cannot", err)
	}
	for _, table := range []string{"signals", "shadow_signals", "decisions", "labels", "audit", "dead_letters", "rule_versions", "named_signals", "superseded"} {
		var n uint64
		if query(t, c, "SELECT count() FROM %s.v_"+table, &n); n != 0 {
			t.Errorf("%d rows in v_%s", n, table)
		}
	}
	var n uint64
	if query(t, c, "SELECT count() FROM %[1]s.v_decisions_by_id(id = 'd-1')", &n); n != 0 {
		t.Errorf("%d decisions", n)
	}
}

func TestTablesOfTheOtherLayoutAreRefused(t *testing.T) {
	s := start(t, "127.0.0.1:0")
	single := config(t, s.addr)
	single.Cluster = "one"
	if err := clickhouse.Migrate(t.Context(), single, discard()); err == nil || !strings.Contains(err.Error(), "single node") {
		t.Errorf("a cluster's program migrates tables of a single node: %v", err)
	}
	if err := events(t, single).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "single node") {
		t.Errorf("a cluster's worker writes tables of a single node: %v", err)
	}
	c := onOne(s.addr)
	conn := connect(t, c)
	for _, statement := range clickhouse.Statements(c) {
		if err := conn.Exec(t.Context(), alone(statement)); err != nil {
			t.Fatal(err)
		}
	}
	c.Cluster = ""
	if err := clickhouse.Migrate(t.Context(), c, discard()); err == nil || !strings.Contains(err.Error(), "set clickhouse.cluster") {
		t.Errorf("a single node's program migrates tables of a cluster: %v", err)
	}
}

// Rows must be stored when an insert returns, or their offsets would be committed too
// early.
func TestAnInsertIntoAClusterWaits(t *testing.T) {
	c := clickhouse.Defaults()
	if s := clickhouse.ClusterSettings(c); len(s) != 0 {
		t.Errorf("a single node has the settings %v", s)
	}
	c.Cluster = "abuse"
	s := clickhouse.ClusterSettings(c)
	if s["distributed_foreground_insert"] != 1 || s["insert_quorum"] != "auto" || s["load_balancing"] != "in_order" || s["prefer_localhost_replica"] != 0 {
		t.Errorf("a cluster has the settings %v", s)
	}
	c.Cluster = "a'b"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "clickhouse.cluster") {
		t.Errorf("a name with a quote: %v", err)
	}
}
