package clickhouse

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// On a cluster, a table of rows is two tables: NAME_local, whose replicas hold the rows
// of one shard, and NAME, which is Distributed over all shards and holds none (ADR 27).
// Writers and views use NAME. What feeds a copy stays within a shard: from NAME_local to
// NAME_local.

// Sharding keys depend on columns of the sorting key only, so all writes of a row reach
// the same shard, where they replace each other.
const (
	shardOfRecord = "cityHash64(stream, incarnation, src_partition)"
	shardOfSignal = "cityHash64(stream, incarnation, facet_partition)"
)

// shardingKey returns the sharding key of a table. "" is that of copies: nobody inserts
// into them but their feeds.
func shardingKey(table string) string {
	switch table {
	case eventsTable, minutesTable, entityMinutesTable, labelsTable, auditTable, deadTable:
		return shardOfRecord
	case signalsTable, shadowTable:
		return shardOfSignal
	case decisionsTable: // a decision that was written twice may have two positions
		return "cityHash64(id)"
	case versionsTable:
		return "cityHash64(stream, version)"
	}
	return ""
}

// everywhere lists the tables that every node holds as a whole, because views of all
// shards read them.
func everywhere() []string { return []string{"schema_version", supersededTable} }

// stored returns the table that holds the rows of a table.
func (c Config) stored(table string) string {
	if c.Cluster == "" || slices.Contains(everywhere(), table) {
		return table
	}
	return table + "_local"
}

// onCluster returns the clause that has all nodes execute a statement.
func (c Config) onCluster() string {
	if c.Cluster == "" {
		return ""
	}
	return " ON CLUSTER '" + c.Cluster + "'"
}

// clusterSettings returns settings of a connection to a cluster. An insert returns once
// a majority of the shard's replicas has it. The order of replicas is fixed, so that
// minutes are counted where the events were just written.
func (c Config) clusterSettings() clickhouse.Settings {
	if c.Cluster == "" {
		return nil
	}
	return clickhouse.Settings{
		"distributed_foreground_insert": 1, "insert_quorum": "auto",
		"load_balancing": "in_order", "prefer_localhost_replica": 0,
		"distributed_ddl_task_timeout": int(longestChange.Seconds()),
	}
}

var (
	createTable = regexp.MustCompile(`^CREATE TABLE IF NOT EXISTS (\w+)\.(\w+)`)
	alterTable  = regexp.MustCompile(`^ALTER TABLE (\w+)\.(\w+)`)
	createFeed  = regexp.MustCompile(`^(CREATE MATERIALIZED VIEW IF NOT EXISTS \w+\.\w+) TO (\w+)\.(\w+)`)
	createView  = regexp.MustCompile(`^CREATE OR REPLACE VIEW \w+\.\w+`)
	mergeTree   = regexp.MustCompile(`ENGINE = ReplacingMergeTree(?:\((\w+)\))?`)
	fromTable   = regexp.MustCompile(`(FROM \w+\.)(\w+)`)
	lookup      = regexp.MustCompile(`(FROM \w+\.)(event_ids|decision_ids)\b`)
)

// clustered returns the statements of a single node as those of the cluster, if there
// is one.
func (c Config) clustered(statements []string) (all []string) {
	if c.Cluster == "" {
		return statements
	}
	for _, s := range statements {
		all = append(all, c.spread(s)...)
	}
	return all
}

// spread returns what a statement of a single node is on the cluster.
func (c Config) spread(s string) []string {
	on := c.onCluster()
	if m := createTable.FindStringSubmatch(s); m != nil {
		return c.replicate(s, m[2])
	}
	if m := alterTable.FindStringSubmatch(s); m != nil {
		rest := strings.TrimPrefix(s, m[0])
		stored := "ALTER TABLE " + m[1] + "." + c.stored(m[2]) + on + rest
		if strings.Contains(rest, " INDEX ") { // of rows, of which a Distributed table has none
			return []string{stored}
		}
		return []string{stored, m[0] + on + rest}
	}
	if m := createFeed.FindStringSubmatch(s); m != nil {
		rest := fromTable.ReplaceAllStringFunc(strings.TrimPrefix(s, m[0]), func(from string) string {
			at := strings.LastIndex(from, ".") + 1
			return from[:at] + c.stored(from[at:])
		})
		return []string{m[1] + on + " TO " + m[2] + "." + c.stored(m[3]) + rest}
	}
	if head := createView.FindString(s); head != "" {
		// An id is looked up in the shard that holds its row.
		return []string{head + on + lookup.ReplaceAllString(strings.TrimPrefix(s, head), "${1}${2}_local")}
	}
	if strings.HasPrefix(s, "CREATE DATABASE") {
		return []string{s + on}
	}
	return []string{s} // an insert
}

// replicate returns the statements for a table: the replicated one, and the distributed
// one above it.
func (c Config) replicate(s, table string) []string {
	head, shard, replica := createTable.FindString(s), "{shard}", "{replica}"
	stored := c.stored(table)
	if stored == table {
		shard, replica = "all", "{shard}-{replica}"
	}
	s = "CREATE TABLE IF NOT EXISTS " + c.Database + "." + stored + c.onCluster() + strings.TrimPrefix(s, head)
	s = mergeTree.ReplaceAllStringFunc(s, func(engine string) string {
		args := fmt.Sprintf("'/clickhouse/tables/%s/%s/%s', '%s'", shard, c.Database, stored, replica)
		if version := mergeTree.FindStringSubmatch(engine)[1]; version != "" {
			args += ", " + version
		}
		return "ENGINE = ReplicatedReplacingMergeTree(" + args + ")"
	})
	if stored == table {
		return []string{s}
	}
	args := fmt.Sprintf("'%s', '%s', '%s'", c.Cluster, c.Database, stored)
	if key := shardingKey(table); key != "" {
		args += ", " + key
	}
	return []string{s, fmt.Sprintf("CREATE TABLE IF NOT EXISTS %[1]s.%[2]s%[3]s AS %[1]s.%[4]s ENGINE = Distributed(%[5]s)", c.Database, table, c.onCluster(), stored, args)}
}

// refuseOtherLayout fails if the tables are those of a cluster and no cluster is set, or
// the other way round. A Distributed table that is taken for another acknowledges rows
// before they are stored.
func refuseOtherLayout(ctx context.Context, conn driver.Conn, c Config) error {
	var engine string
	if err := conn.QueryRow(ctx, "SELECT any(engine) FROM system.tables WHERE database = ? AND name = ?", c.Database, eventsTable).Scan(&engine); err != nil {
		return fmt.Errorf("look at the table events: %w", err)
	}
	switch {
	case engine == "" || (engine == "Distributed") == (c.Cluster != ""):
		return nil
	case c.Cluster == "":
		return schemaErrorf("the tables of database %s are those of a cluster: set clickhouse.cluster to its name", c.Database)
	}
	return schemaErrorf("the tables of database %s are those of a single node, and clickhouse.cluster is set: name another database in clickhouse.database, or unset it", c.Database)
}
