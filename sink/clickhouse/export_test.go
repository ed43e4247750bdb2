package clickhouse

import "github.com/ClickHouse/clickhouse-go/v2"

// Statements returns the DDL of new tables, in order, with that of schema_version last.
func Statements(c Config) []string {
	all := append(append(c.begin(), c.tables()...), c.views()...)
	return c.clustered(all)
}

// Retypes returns the statements that change tables of an older version.
func Retypes(c Config) []string { return c.clustered(append(c.retypes(), c.indexes()...)) }

// ClusterSettings returns the settings of a connection that only a cluster needs.
func ClusterSettings(c Config) clickhouse.Settings { return c.clusterSettings() }

// SchemaVersion is the version of the tables.
const SchemaVersion = schemaVersion
