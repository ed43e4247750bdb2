package clickhouse

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/event"
)

// schemaVersion is raised with every change of the tables. A program does not
// write to tables of a newer version.
const schemaVersion = 2

// position is what names a row of events: nothing of it comes from what the
// event says, so a second ingest of the same record writes the same key. The
// partition key is a block of offsets, never a claimed time, which one gateway
// with a wrong clock could spread over hundreds of parts.
const eventsTable = `CREATE TABLE IF NOT EXISTS %[1]s.events
(
    stream String CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    owner UInt64 CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
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

const signalsTable = `CREATE TABLE IF NOT EXISTS %[1]s.signals
(
    stream String CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    facet_partition UInt32 CODEC(ZSTD(1)),
    facet_offset UInt64 CODEC(Delta, ZSTD(1)),
    facet_index UInt32 CODEC(ZSTD(1)),
    rule String CODEC(ZSTD(1)),
    rules_version String CODEC(ZSTD(1)),
    tenant String CODEC(ZSTD(1)),
    entity_kind String CODEC(ZSTD(1)),
    entity String CODEC(ZSTD(1)),
    group_kind String CODEC(ZSTD(1)),
    group_key String CODEC(ZSTD(1)),
    category String CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    phase String CODEC(ZSTD(1)),
    tier UInt8,
    weight UInt8,
    half_life_s UInt32 CODEC(ZSTD(1)),
    evidence String CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    late UInt8,
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX by_time time TYPE minmax GRANULARITY 1,
    INDEX by_entity entity TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY (stream, incarnation, intDiv(facet_offset, 33554432))
ORDER BY (stream, incarnation, facet_partition, facet_offset, facet_index, rule)%[2]s`

const versionTable = `CREATE TABLE IF NOT EXISTS %s.schema_version (version UInt32) ENGINE = ReplacingMergeTree ORDER BY version`

// columnType is the type of an event's field. Absent values are the type's
// zero: a column of Nullable costs a second file.
func columnType(k event.Kind) string {
	switch k {
	case event.KindInt:
		return "Int64 CODEC(ZSTD(1))"
	case event.KindTime:
		return "DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))"
	case event.KindBool:
		return "UInt8 CODEC(ZSTD(1))"
	}
	return "String CODEC(ZSTD(1))"
}

// statements makes the DDL.
func statements(c Config) []string {
	var columns []string
	for _, f := range event.Fields() {
		columns = append(columns, "    "+f.Name+" "+columnType(f.Kind))
	}
	ttl := ""
	if c.Retention > 0 {
		ttl = fmt.Sprintf("\nTTL toDateTime(received) + INTERVAL %d HOUR", int(c.Retention.Hours()))
	}
	return []string{
		"CREATE DATABASE IF NOT EXISTS " + c.Database,
		fmt.Sprintf(versionTable, c.Database),
		fmt.Sprintf(eventsTable, c.Database, strings.Join(columns, ",\n"), ttl),
		fmt.Sprintf(signalsTable, c.Database, ttl),
		// Since version 2.
		"ALTER TABLE " + c.Database + ".signals ADD COLUMN IF NOT EXISTS group_kind String CODEC(ZSTD(1)) AFTER entity",
		"ALTER TABLE " + c.Database + ".signals ADD COLUMN IF NOT EXISTS group_key String CODEC(ZSTD(1)) AFTER group_kind",
		fmt.Sprintf("INSERT INTO %s.schema_version SELECT %d", c.Database, schemaVersion),
	}
}

// Migrate makes the database and its tables, and adds what tables of an older
// version lack. It changes nothing else.
func Migrate(ctx context.Context, c Config, log *slog.Logger) error {
	conn, err := Open(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	all := statements(c)
	for i, s := range all {
		// The version is looked at as soon as its table is there.
		if i == 2 {
			if err := refuseNewer(ctx, conn, c); err != nil {
				return err
			}
		}
		if err := conn.Exec(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", strings.SplitN(s, "\n", 2)[0], err)
		}
	}
	log.Debug("clickhouse schema made", "database", c.Database, "version", schemaVersion)
	return nil
}

// refuseNewer fails where the tables were made by a newer program.
func refuseNewer(ctx context.Context, conn driver.Conn, c Config) error {
	var have uint32
	if err := conn.QueryRow(ctx, "SELECT max(version) FROM "+c.Database+".schema_version").Scan(&have); err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if have > schemaVersion {
		return fmt.Errorf("the tables have schema version %d; this program knows %d and would damage them: use a newer one", have, schemaVersion)
	}
	return nil
}

// check fails where the tables are not what this program writes.
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
	return refuseNewer(ctx, conn, c)
}
