package clickhouse

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/event"
)

// schemaVersion is raised with every change of the tables. A program does not write
// to tables of a newer version.
const schemaVersion = 10

// field is a column: its name, its type, its compression.
type field struct{ name, kind string }

const (
	packed  = " CODEC(ZSTD(1))"
	rising  = " CODEC(Delta, ZSTD(1))"
	texted  = "String" + packed
	numbers = "UInt32" + packed
	moments = "DateTime64(3, 'UTC')" + rising
)

// eventsDDL begins with the columns that name a row. They do not depend on the
// event's content, so a second ingest of the same record writes the same key. The
// partition key is a block of offsets, never a claimed time, which one gateway with
// a wrong clock could spread over hundreds of parts.
const eventsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s,
    INDEX by_time time TYPE minmax GRANULARITY 1,
    INDEX by_tenant tenant TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_account account TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_client_ip client_ip TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_device device TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_token token TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, src_partition, src_offset)%[3]s`

// eventFields returns the columns of events: the position, and the table of fields.
func eventFields() []field {
	all := []field{
		{"stream", texted}, {"incarnation", numbers}, {"src_partition", numbers}, {"src_offset", "UInt64" + rising},
		{"owner", "UInt64" + packed}, {"received", moments},
	}
	for _, f := range event.Fields() {
		all = append(all, field{f.Name, columnType(f.Kind)})
	}
	return all
}

// columnType returns the type of an event's field. Absent values are the type's
// zero, because a Nullable column costs a second file.
func columnType(k event.Kind) string {
	switch k {
	case event.KindInt:
		return "Int64" + packed
	case event.KindTime:
		return moments
	case event.KindBool:
		return "UInt8" + packed
	}
	return texted
}

const signalsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s,
    INDEX by_time time TYPE minmax GRANULARITY 1,
    INDEX by_entity entity TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY (stream, incarnation, intDiv(facet_offset, 33554432))
ORDER BY (stream, incarnation, facet_partition, facet_offset, facet_index, rule)%[3]s`

func signalFields() []field {
	return []field{
		{"stream", texted}, {"incarnation", numbers}, {"facet_partition", numbers}, {"facet_offset", "UInt64" + rising}, {"facet_index", numbers},
		{"rule", texted}, {"rules_version", texted}, {"tenant", texted}, {"entity_kind", texted}, {"entity", texted},
		{"group_kind", texted}, {"group_key", texted}, {"category", texted}, {"reason", texted}, {"phase", texted},
		{"tier", "UInt8"}, {"weight", "UInt8"}, {"half_life_s", numbers}, {"lowers", "UInt8"}, {"clears", "UInt8"}, {"asks", texted},
		{"evidence", texted}, {"time", moments},
		{"src_partition", numbers}, {"src_offset", "UInt64" + rising}, {"late", "UInt8"}, {"received", moments},
	}
}

// decisionsDDL names a row by its content: a record that a gate wrote twice has two
// positions, and must be one row.
const decisionsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s,
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_request_id request_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_entity mapValues(entities) TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, time, id)%[3]s`

func decisionFields() []field {
	return []field{
		{"stream", texted}, {"incarnation", numbers}, {"src_partition", numbers}, {"src_offset", "UInt64" + rising}, {"received", moments},
		{"id", texted}, {"time", moments}, {"gateway", texted}, {"tenant", texted}, {"route", texted}, {"request_id", texted}, {"trace_id", texted},
		{"entities", "Map(String, String)" + packed}, {"action", texted}, {"would", texted}, {"phase", texted}, {"level", texted},
		{"score", "UInt8"}, {"observed_score", "UInt8"}, {"rules", "Array(String)" + packed}, {"reason_codes", "Array(String)" + packed}, {"reasons", texted},
		{"limits", "Array(String)" + packed}, {"limited_by", texted}, {"switch", texted}, {"policy", texted}, {"policy_version", texted},
		{"degraded", "UInt8"}, {"degraded_by", texted}, {"last_known_good", "UInt8"}, {"latency_us", "Int64" + packed},
	}
}

const versionTable = `CREATE TABLE IF NOT EXISTS %s.schema_version (version UInt32) ENGINE = ReplacingMergeTree ORDER BY version`

// create returns the statement for a table that does not exist yet. Its rows are
// deleted when the time in column age is longer ago than keep, unless that is 0.
func (c Config) create(ddl, table string, fields []field, age string, keep time.Duration) string {
	lines := make([]string, len(fields))
	for i, f := range fields {
		lines[i] = "    " + f.name + " " + f.kind
	}
	ttl := ""
	if keep > 0 {
		if age == "day" {
			keep += 24 * time.Hour // from the end of the day
		}
		ttl = fmt.Sprintf("\nTTL toDateTime(%s) + INTERVAL %d HOUR", age, int(keep.Hours()))
	}
	return fmt.Sprintf(ddl, c.Database, strings.Join(lines, ",\n"), ttl, table)
}

// complete returns the statement that adds the missing columns to a table of an
// older version, each in its place in a new table.
func (c Config) complete(table string, fields []field) string {
	adds := make([]string, len(fields))
	for i, f := range fields {
		adds[i] = "ADD COLUMN IF NOT EXISTS " + f.name + " " + f.kind
		if i > 0 {
			adds[i] += " AFTER " + fields[i-1].name
		}
	}
	return fmt.Sprintf("ALTER TABLE %s.%s\n    %s", c.Database, table, strings.Join(adds[1:], ",\n    "))
}

// statements returns the DDL, in order.
func statements(c Config) []string {
	events, signals, decisions := eventFields(), signalFields(), decisionFields()
	all := []string{
		"CREATE DATABASE IF NOT EXISTS " + c.Database,
		fmt.Sprintf(versionTable, c.Database), fmt.Sprintf(supersededDDL, c.Database),
		c.create(eventsDDL, eventsTable, events, "received", c.Retention),
		c.create(signalsDDL, signalsTable, signals, "received", c.SignalRetention), c.create(signalsDDL, shadowTable, signals, "received", c.SignalRetention),
		c.create(decisionsDDL, decisionsTable, decisions, "received", c.DecisionRetention),
		c.complete(eventsTable, events), c.complete(signalsTable, signals), c.complete(shadowTable, signals), c.complete(decisionsTable, decisions),
		c.create(minutesDDL, minutesTable, minuteFields(), "day", c.MinuteRetention),
		c.create(entityMinutesDDL, entityMinutesTable, entityMinuteFields(), "day", c.Retention), // it holds names
	}
	all = append(all,
		c.create(deadDDL, deadTable, deadFields(), "received", c.DeadLetterRetention),
		c.create(versionsDDL, versionsTable, versionFields(), "", 0)) // there are few, and they name no entity
	all = append(append(all, c.controlTables()...), c.copyTables()...)
	return append(append(all, c.views()...), fmt.Sprintf(keepSuperseded, c.Database))
}

// Migrate creates the database, its tables and views, adds what tables of an older
// version lack, and fills new tables from the rows of old ones. It changes no row, and
// removes nothing. After a failure it can be repeated.
func Migrate(ctx context.Context, c Config, log *slog.Logger) error {
	conn, err := Open(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	have := uint32(0)
	for i, s := range statements(c) {
		// The version is checked as soon as its table exists.
		if i == 2 {
			if have, err = refuseNewer(ctx, conn, c); err != nil {
				return err
			}
		}
		if err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", strings.SplitN(s, "\n", 2)[0], err)
		}
	}
	if have > 0 && have < schemaVersion {
		if err := backfill(ctx, conn, c, have, log); err != nil {
			return fmt.Errorf("fill the new tables from the old ones: %w", err)
		}
	}
	// The version is written last: a reader that finds it finds everything.
	if err := conn.Exec(ctx, fmt.Sprintf("INSERT INTO %s.schema_version SELECT %d", c.Database, schemaVersion)); err != nil {
		return fmt.Errorf("write the schema's version: %w", err)
	}
	log.Debug("clickhouse schema made", "database", c.Database, "version", schemaVersion)
	return nil
}

// refuseNewer returns the version of the tables, 0 if there are none. It fails if a
// newer program made them.
func refuseNewer(ctx context.Context, conn driver.Conn, c Config) (have uint32, err error) {
	if err := conn.QueryRow(ctx, "SELECT max(version) FROM "+c.Database+".schema_version").Scan(&have); err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	if have > schemaVersion {
		return 0, fmt.Errorf("the tables have schema version %d; this program knows %d and would damage them: use a newer one", have, schemaVersion)
	}
	return have, nil
}

// check fails if the tables are not those that this program writes.
func check(ctx context.Context, conn driver.Conn, c Config) error {
	var have uint32
	err := conn.QueryRow(ctx, "SELECT max(version) FROM "+c.Database+".schema_version").Scan(&have)
	switch {
	case err != nil && permanent(err):
		return fmt.Errorf("the tables are not there; `weir migrate` makes them: %w", err)
	case err != nil:
		return err
	case have < schemaVersion:
		return fmt.Errorf("the tables have schema version %d, this program needs %d; `weir migrate` brings them up to date", have, schemaVersion)
	}
	_, err = refuseNewer(ctx, conn, c)
	return err
}
