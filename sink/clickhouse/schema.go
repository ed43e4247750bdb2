package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/event"
)

// schemaVersion is raised with every change of the tables. A program does not write
// to tables of a newer version.
const schemaVersion = 12

// field is a column: its name, its type, its compression.
type field struct{ name, kind string }

const (
	packed  = " CODEC(ZSTD(1))"
	rising  = " CODEC(Delta, ZSTD(1))"
	texted  = "String" + packed
	coded   = "LowCardinality(String)" + packed // a text of which there are few different ones
	codes   = "Array(LowCardinality(String))" + packed
	numbers = "UInt32" + packed
	bounded = "UInt64 CODEC(T64, ZSTD(1))" // numbers without order, of one range
	moments = "DateTime64(3, 'UTC')" + rising
)

// mediumReads has ClickHouse read and unpack less of each of many columns around a row
// that an id finds. Smaller granules and blocks save little more, and cost a tenth more
// bytes. Tables that were made with larger ones keep them.
const mediumReads = "\nSETTINGS index_granularity = 2048, min_compress_block_size = 32768"

// eventsDDL begins with the columns that name a row. They do not depend on the
// event's content, so a second ingest of the same record writes the same key. The
// partition key is a block of offsets, never a claimed time, which one gateway with
// a wrong clock could spread over hundreds of parts.
const eventsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s,
    INDEX by_time time TYPE minmax GRANULARITY 4,
    INDEX by_tenant tenant TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_account account TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_client_ip client_ip TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_device device TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_token token TYPE bloom_filter(0.01) GRANULARITY 16
)
ENGINE = ReplacingMergeTree(owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, src_partition, src_offset)%[3]s` + mediumReads

// eventFields returns the columns of events: the position, and the table of fields.
func eventFields() []field {
	all := []field{
		{"stream", texted}, {"incarnation", numbers}, {"src_partition", numbers}, {"src_offset", "UInt64" + rising},
		{"owner", "UInt64" + rising}, {"received", moments},
	}
	for _, f := range event.Fields() {
		all = append(all, field{f.Name, columnType(f)})
	}
	return all
}

// columnType returns the type of an event's field. Absent values are the type's
// zero, because a Nullable column costs a second file.
func columnType(f event.Spec) string {
	switch {
	case f.Field == event.Time:
		return moments
	case f.Kind == event.KindTime: // those of clients and tokens do not rise with the position
		return "DateTime64(3, 'UTC')" + packed
	case f.Kind == event.KindInt:
		return "Int64" + packed
	case f.Kind == event.KindBool:
		return "UInt8" + packed
	case fewValues(f):
		return coded
	}
	return texted
}

// fewValues reports whether most events have one of a few thousand values of a text. A
// client that invents values makes the column a little larger than a String, not more.
// Names of people, devices and addresses are no such texts: how many there are depends
// on the installation.
func fewValues(f event.Spec) bool {
	switch f.Field {
	case event.Gateway, event.Tenant, event.Grant, event.Method, event.Host, event.Route, event.UserAgent, event.JA4,
		event.DeviceModel, event.OS, event.OSVersion, event.PatchLevel, event.App, event.AppVersion, event.SIM, event.SignatureReason,
		event.ObjectType, event.Country, event.City, event.ASOrg, event.Build:
		return true
	}
	return len(f.Enum) > 0
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
		{"rule", texted}, {"rules_version", coded}, {"tenant", coded}, {"entity_kind", coded}, {"entity", texted},
		{"group_kind", coded}, {"group_key", texted}, {"category", coded}, {"reason", coded}, {"phase", coded},
		{"tier", "UInt8"}, {"weight", "UInt8"}, {"half_life_s", numbers}, {"lowers", "UInt8"}, {"clears", "UInt8"}, {"asks", coded},
		{"evidence", texted}, {"time", moments},
		{"src_partition", numbers}, {"src_offset", "UInt64" + rising}, {"late", "UInt8"}, {"received", moments},
	}
}

// decisionsDDL names a row by its content: a record that a gate wrote twice has two
// positions, and must be one row.
const decisionsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s,
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_request_id request_id TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_entity mapValues(entities) TYPE bloom_filter(0.01) GRANULARITY 16
)
ENGINE = ReplacingMergeTree
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, time, id)%[3]s` + mediumReads

func decisionFields() []field {
	return []field{
		{"stream", texted}, {"incarnation", numbers}, {"src_partition", numbers}, {"src_offset", "UInt64" + rising}, {"received", moments},
		{"id", texted}, {"time", moments}, {"gateway", coded}, {"tenant", coded}, {"route", coded}, {"request_id", texted}, {"trace_id", texted},
		{"entities", "Map(String, String)" + packed}, {"action", coded}, {"would", coded}, {"phase", coded}, {"level", coded},
		{"score", "UInt8"}, {"observed_score", "UInt8"}, {"rules", codes}, {"reason_codes", codes}, {"reasons", texted},
		{"limits", codes}, {"limited_by", coded}, {"switch", coded}, {"policy", coded}, {"policy_version", coded},
		{"degraded", "UInt8"}, {"degraded_by", coded}, {"last_known_good", "UInt8"}, {"latency_us", "Int64" + packed},
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

// retype returns the statement that gives the columns of an older version's table the
// types and compression of today.
func (c Config) retype(table string, fields []field) string {
	changes := make([]string, len(fields))
	for i, f := range fields {
		changes[i] = "MODIFY COLUMN " + f.name + " " + f.kind
	}
	return fmt.Sprintf("ALTER TABLE %s.%s\n    %s", c.Database, table, strings.Join(changes, ",\n    "))
}

// begin returns the statements that come before the schema's version is known.
func (c Config) begin() []string {
	return []string{"CREATE DATABASE IF NOT EXISTS " + c.Database, fmt.Sprintf(versionTable, c.Database)}
}

// tables returns the DDL of all tables and of what feeds them, in order.
func (c Config) tables() []string {
	events, signals, decisions := eventFields(), signalFields(), decisionFields()
	all := []string{
		fmt.Sprintf(supersededDDL, c.Database),
		c.create(eventsDDL, eventsTable, events, "received", c.Retention),
		c.create(signalsDDL, signalsTable, signals, "received", c.SignalRetention), c.create(signalsDDL, shadowTable, signals, "received", c.SignalRetention),
		c.create(decisionsDDL, decisionsTable, decisions, "received", c.DecisionRetention),
		c.complete(eventsTable, events), c.complete(signalsTable, signals), c.complete(shadowTable, signals), c.complete(decisionsTable, decisions),
		c.create(minutesDDL, minutesTable, minuteFields(), "day", c.MinuteRetention),
		c.create(entityMinutesDDL, entityMinutesTable, entityMinuteFields(), "day", c.Retention), // it holds names
		c.create(deadDDL, deadTable, deadFields(), "received", c.DeadLetterRetention),
		c.create(versionsDDL, versionsTable, versionFields(), "", 0), // there are few, and they name no entity
	}
	return append(append(all, c.controlTables()...), c.copyTables()...)
}

// retypes returns the statements that give tables of an older version the types and
// compression of today.
func (c Config) retypes() []string {
	all := []string{
		c.retype(eventsTable, eventFields()), c.retype(signalsTable, signalFields()), c.retype(shadowTable, signalFields()), c.retype(decisionsTable, decisionFields()),
	}
	for _, t := range copies() {
		all = append(all, c.retype(t.table, t.fields))
	}
	return all
}

// indexes returns the statements that give tables of an older version the indexes of
// today, for new rows and, in the background, for old ones.
func (c Config) indexes() []string {
	alter := "ALTER TABLE " + c.Database + "." + namedSignalsTable + "\n    "
	return []string{alter + "ADD INDEX IF NOT EXISTS by_time time TYPE minmax GRANULARITY 1", alter + "MATERIALIZE INDEX by_time"}
}

// longestChange is how long ClickHouse may say nothing while it rewrites columns that
// have another type than before.
const longestChange = 12 * time.Hour

// Migrate creates the database, its tables and views, adds what tables of an older
// version lack, gives their columns the types of today, and fills new tables from the
// rows of old ones. It changes no value, and removes nothing. After a failure it can be
// repeated.
func Migrate(ctx context.Context, c Config, log *slog.Logger) error {
	c.ReadTimeout = max(c.ReadTimeout, longestChange)
	conn, err := Open(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := refuseOtherLayout(ctx, conn, c); err != nil {
		return err
	}
	if err := execute(ctx, conn, c.clustered(c.begin())); err != nil {
		return err
	}
	have, err := refuseNewer(ctx, conn, c)
	if err != nil {
		return err
	}
	older := have > 0 && have < schemaVersion
	all := c.tables()
	if older {
		all = append(append(all, c.retypes()...), c.indexes()...)
	}
	if err := execute(ctx, conn, c.clustered(append(append(all, c.views()...), fmt.Sprintf(keepSuperseded, c.Database)))); err != nil {
		return err
	}
	if older {
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

func execute(ctx context.Context, conn driver.Conn, statements []string) error {
	for _, s := range statements {
		if err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", strings.SplitN(s, "\n", 2)[0], err)
		}
	}
	return nil
}

// ErrSchema is an error about the tables of a server that answers. Its text says what
// to do.
var ErrSchema = errors.New("the tables are not as they must be")

// schemaError is an [ErrSchema] with a text of its own.
type schemaError string

func (e schemaError) Error() string        { return string(e) }
func (e schemaError) Is(target error) bool { return target == ErrSchema }

func schemaErrorf(format string, args ...any) error {
	return schemaError(fmt.Sprintf(format, args...))
}

// refuseNewer returns the version of the tables, 0 if there are none. It fails if a
// newer program made them.
func refuseNewer(ctx context.Context, conn driver.Conn, c Config) (have uint32, err error) {
	if err := conn.QueryRow(ctx, "SELECT max(version) FROM "+c.Database+".schema_version").Scan(&have); err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	if have > schemaVersion {
		return 0, schemaErrorf("the tables have schema version %d; this program knows %d and would damage them: use a newer one", have, schemaVersion)
	}
	return have, nil
}

// check fails if the tables are not those that this program writes.
func check(ctx context.Context, conn driver.Conn, c Config) error {
	var have uint32
	err := conn.QueryRow(ctx, "SELECT max(version) FROM "+c.Database+".schema_version").Scan(&have)
	switch {
	case missing(err):
		return schemaErrorf("database %s has no tables of Weir; `weir migrate` makes them", c.Database)
	case err != nil:
		return err
	case have < schemaVersion:
		return schemaErrorf("the tables have schema version %d, this program needs %d; `weir migrate` brings them up to date", have, schemaVersion)
	}
	if _, err = refuseNewer(ctx, conn, c); err != nil {
		return err
	}
	return refuseOtherLayout(ctx, conn, c)
}
