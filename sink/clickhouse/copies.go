package clickhouse

import (
	"fmt"
	"strings"
	"time"
)

// Copies are tables that hold rows of another table in another order, for questions
// that the order by position answers slowly (ADR 21). ClickHouse fills them by
// materialised views, in the same insert. A repeated insert repeats their rows, which
// are named by the same position, so they replace themselves.

const (
	entityEventsTable = "entity_events"
	eventIDsTable     = "event_ids"
	decisionIDsTable  = "decision_ids"
	namedSignalsTable = "named_signals"
)

// smallReads has ClickHouse read and unpack little around the few rows that a question
// wants. Tables of version 9 keep their larger granules, which cannot be changed.
const smallReads = "\nSETTINGS index_granularity = 512, min_compress_block_size = 16384"

// entityEventsDDL holds an event once for each of its narrow entities, in the order of
// entities: the rows of one entity are neighbours.
const entityEventsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s
)
ENGINE = ReplacingMergeTree(owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (entity_kind, entity, stream, incarnation, src_partition, src_offset)%[3]s` + smallReads

func entityEventFields() []field {
	return []field{
		{"entity_kind", coded}, {"entity", texted}, {"stream", coded}, {"incarnation", numbers}, {"src_partition", numbers}, {"src_offset", "UInt64" + rising},
		{"owner", "UInt64" + packed}, {"day", "Date" + packed}, {"time", moments}, {"tenant", coded},
		{"account", texted}, {"device", texted}, {"client_ip", texted}, {"method", coded}, {"route", coded}, {"object_type", coded}, {"object", texted},
		{"status", "UInt16" + packed}, {"auth", coded}, {"signature", coded}, {"decision_action", coded},
		{"country", coded}, {"city", coded}, {"asn", numbers}, {"anonymiser", coded}, {"build", coded}, {"late", "UInt8" + packed},
	}
}

// entityEvents selects the rows of entity_events from those of events.
const entityEvents = `SELECT named.1 AS entity_kind, named.2 AS entity, stream, incarnation, src_partition, src_offset, owner, toDate(received) AS day, time, tenant,
    account, device, client_ip, method, route, object_type, object, toUInt16(status) AS status, auth, signature, decision_action,
    country, city, toUInt32(asn) AS asn, anonymiser, build, delayed AS late
FROM %[1]s.events
ARRAY JOIN arrayFilter(e -> e.2 != '', [('account', account), ('device', device), ('ip', client_ip)]) AS named`

// eventIDsDDL finds events by an id. It holds hashes, of which some are alike, so the
// found events are compared with the id.
const eventIDsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s
)
ENGINE = ReplacingMergeTree
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (id_hash, stream, incarnation, src_partition, src_offset)%[3]s` + smallReads

func eventIDFields() []field {
	return []field{
		{"id_hash", "UInt32" + rising}, {"stream", coded}, {"incarnation", numbers}, {"src_partition", numbers}, {"src_offset", bounded}, {"day", "Date" + packed},
	}
}

// idsOfEvent are the columns of events that event_ids finds.
const idsOfEvent = "id, request_id, trace_id, decision, session, token, token_family, key_id"

const eventIDs = `SELECT arrayJoin(arrayDistinct(arrayMap(v -> toUInt32(cityHash64(v)), arrayFilter(v -> v != '', [` + idsOfEvent + `])))) AS id_hash,
    stream, incarnation, src_partition, src_offset, toDate(received) AS day
FROM %[1]s.events`

// decisionIDsDDL finds decisions by an id, or the key of an entity. The time and the
// id are their key.
const decisionIDsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s
)
ENGINE = ReplacingMergeTree
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (id_hash, stream, incarnation, time, src_partition, src_offset)%[3]s` + smallReads

func decisionIDFields() []field {
	return []field{
		{"id_hash", "UInt32" + rising}, {"stream", coded}, {"incarnation", numbers}, {"time", moments}, {"src_partition", numbers}, {"src_offset", bounded},
		{"day", "Date" + packed},
	}
}

// idsOfDecision are what decision_ids finds decisions by.
const idsOfDecision = "arrayConcat([id, request_id, trace_id], mapValues(entities))"

const decisionIDs = `SELECT arrayJoin(arrayDistinct(arrayMap(v -> toUInt32(cityHash64(v)), arrayFilter(v -> v != '', ` + idsOfDecision + `)))) AS id_hash,
    stream, incarnation, time, src_partition, src_offset, toDate(received) AS day
FROM %[1]s.decisions`

// namedSignalsDDL holds a signal once for each of its names, in their order: its rule,
// its entity, and the group that it is about. Some rules have a fifth of all signals, of
// which a dashboard asks for those of a few hours: by_time finds them.
const namedSignalsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s,
    INDEX by_time time TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY (stream, incarnation, intDiv(facet_offset, 33554432))
ORDER BY (found_by, name_kind, name, stream, incarnation, facet_partition, facet_offset, facet_index, rule)%[3]s` + smallReads

func namedSignalFields() []field {
	return append(append([]field{{"found_by", coded}, {"name_kind", coded}, {"name", texted}}, signalFields()...), field{"day", "Date" + packed})
}

// namedSignals selects the rows of named_signals from those of signals.
func namedSignals() string {
	var columns []string
	for _, f := range signalFields() {
		columns = append(columns, f.name)
	}
	return `SELECT named.1 AS found_by, named.2 AS name_kind, named.3 AS name, ` + strings.Join(columns, ", ") + `, toDate(received) AS day
FROM %[1]s.signals
ARRAY JOIN arrayFilter(e -> e.3 != '', [('rule', '', rule), ('entity', entity_kind, entity), ('group', group_kind, group_key)]) AS named`
}

// copied is a copy: its table, and the query that its rows come from.
type copied struct {
	since      uint32 // version of the schema that has it first
	table, ddl string
	fields     []field
	from       string // the table that it copies
	query      string
}

func copies() []copied {
	return []copied{
		{9, entityEventsTable, entityEventsDDL, entityEventFields(), eventsTable, entityEvents},
		{9, eventIDsTable, eventIDsDDL, eventIDFields(), eventsTable, eventIDs},
		{9, decisionIDsTable, decisionIDsDDL, decisionIDFields(), decisionsTable, decisionIDs},
		{10, namedSignalsTable, namedSignalsDDL, namedSignalFields(), signalsTable, namedSignals()},
	}
}

// keep returns how long rows are kept: as long as those that they copy.
func (t copied) keep(c Config) time.Duration {
	switch t.from {
	case decisionsTable:
		return c.DecisionRetention
	case signalsTable:
		return c.SignalRetention
	}
	return c.Retention
}

// copyTables returns the statements that create the copies and what feeds them.
func (c Config) copyTables() (all []string) {
	for _, t := range copies() {
		all = append(all,
			c.create(t.ddl, t.table, t.fields, "day", t.keep(c)),
			fmt.Sprintf("CREATE MATERIALIZED VIEW IF NOT EXISTS %[1]s.feed_%[2]s TO %[1]s.%[2]s AS\n", c.Database, t.table)+fmt.Sprintf(t.query, c.Database))
	}
	return all
}

// fill returns the statement that copies the existing rows of some positions.
func (t copied) fill(database string, where string) string {
	names := make([]string, len(t.fields))
	for i, f := range t.fields {
		names[i] = f.name
	}
	return fmt.Sprintf("INSERT INTO %s.%s (%s)\n", database, t.table, strings.Join(names, ", ")) + fmt.Sprintf(t.query, database) + "\nWHERE " + where
}

// quoted escapes a text for a statement.
func quoted(s string) string { return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) }
