package clickhouse

import (
	"fmt"
	"strings"
)

// historyPrefix is the prefix of streams into which a file was read.
const historyPrefix = "history-"

// superseded lists the streams of files that were read again. A log that has grown
// has other content, so it is another stream, which contains all lines of the
// former one: a query over both counts those lines twice.
//
// One run replaces another if it is longer and contains both the other's first line
// and its last but one, at the same offsets; of two equal ones, the one read later
// does. The last line does not matter, because a log in use is often cut in the
// middle of it. Only what the gateway wrote is compared, never derived fields.
const superseded = `CREATE OR REPLACE VIEW %[1]s.v_superseded AS
WITH
    lines AS
    (
        SELECT stream, incarnation, src_partition, src_offset, received, sipHash64(time, method, path, status, response_bytes) AS print
        FROM %[1]s.events
        WHERE startsWith(stream, '%[2]s')
    ),
    runs AS
    (
        SELECT stream, incarnation, max(src_offset) AS last, max(received) AS read,
            (min(src_offset), argMin(print, src_offset)) AS head,
            arrayDistinct(groupArraySorted(8)((-toInt64(src_offset), print))) AS ends,
            arrayElement(ends, least(2, length(ends))) AS end
        FROM lines
        GROUP BY stream, incarnation
        HAVING max(src_partition) = 0
    ),
    probes AS
    (
        SELECT stream, incarnation, arrayDistinct([head, (toUInt64(-end.1), end.2)]) AS all, length(all) AS want, arrayJoin(all) AS probe,
            probe.1 AS src_offset, probe.2 AS print
        FROM runs
    ),
    found AS
    (
        SELECT p.stream AS stream, p.incarnation AS incarnation, l.stream AS by_stream, l.incarnation AS by_incarnation
        FROM lines AS l
        INNER JOIN probes AS p ON l.src_offset = p.src_offset AND l.print = p.print
        WHERE l.src_partition = 0 AND (l.stream, l.incarnation) != (p.stream, p.incarnation)
        GROUP BY stream, incarnation, by_stream, by_incarnation
        HAVING uniqExact(p.src_offset) = any(p.want)
    )
SELECT f.stream AS stream, f.incarnation AS incarnation, f.by_stream AS by_stream, f.by_incarnation AS by_incarnation
FROM found AS f
INNER JOIN runs AS old ON old.stream = f.stream AND old.incarnation = f.incarnation
INNER JOIN runs AS new ON new.stream = f.by_stream AND new.incarnation = f.by_incarnation
WHERE (new.last, new.read, new.stream, new.incarnation) > (old.last, old.read, old.stream, old.incarnation)`

// current shows a table as an analyst expects it: each row once, and only the
// newest run of a file that was read several times.
const current = `CREATE OR REPLACE VIEW %[1]s.v_%[2]s AS
SELECT * FROM %[1]s.%[2]s FINAL
WHERE ` + isCurrent

// isCurrent does not ask v_superseded, which takes longer than most questions. The
// writers of files keep its answer in a table. That table is read while the query is
// planned, so that the condition has a list of constants. After NOT IN (SELECT …),
// ClickHouse would read all columns of all rows before it takes the newest ones; with
// constants, it reads wide columns only of rows that it shows. The last element, which
// names no stream, gives an empty list its type.
const isCurrent = "(stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM %[1]s." + supersededTable + "), ('', 0))"

const supersededTable = "superseded_streams"

const supersededDDL = `CREATE TABLE IF NOT EXISTS %[1]s.` + supersededTable + ` (stream String, incarnation UInt32, by_stream String, by_incarnation UInt32)
ENGINE = ReplacingMergeTree ORDER BY (stream, incarnation, by_stream, by_incarnation)`

// keepSuperseded stores which streams are superseded now. It is repeated after each
// insert into such a stream.
const keepSuperseded = "INSERT INTO %[1]s." + supersededTable + " SELECT stream, incarnation, by_stream, by_incarnation FROM %[1]s.v_superseded"

// With optimize_move_to_prewhere_if_final, ClickHouse reads the columns of the key
// first, and all others only in rows with the key that is asked for. It moves no
// condition on other columns, for which FINAL must choose the row first.
//
// split_intersecting_parts_ranges_into_layers_final divides what is read among threads by
// the first columns of the key. One thread would get all rows of an entity, and the
// others would look for theirs in vain.

// viewed lists the views beside those of whole tables: a name, with the query that it
// shows. Those with a placeholder are called with a value: v_events_by_id(id = 'r-1').
var viewed = []struct{ name, query string }{
	{"entity_events", `SELECT entity_kind, entity, tenant, time, account, device, client_ip, method, route, object_type, object, status, auth, signature, decision_action,
    country, city, asn, anonymiser, build, late, stream, incarnation, src_partition, src_offset
FROM %[1]s.entity_events FINAL
WHERE %[2]s
SETTINGS optimize_move_to_prewhere_if_final = 1, split_intersecting_parts_ranges_into_layers_final = 0`},
	{"named_signals", `SELECT * EXCEPT (day) FROM %[1]s.named_signals FINAL
WHERE %[2]s
SETTINGS optimize_move_to_prewhere_if_final = 1`},
	{"event_minutes", `SELECT minute, tenant, route, method, status, auth, decision_action, events, latency_us, bytes, stream, incarnation
FROM %[1]s.event_minutes FINAL
ARRAY JOIN tenants AS tenant, routes AS route, methods AS method, statuses AS status, auths AS auth, actions AS decision_action, events AS events,
    latencies_us AS latency_us, bytes AS bytes
WHERE %[2]s
SETTINGS optimize_move_to_prewhere_if_final = 1`},
	{"entity_minutes", `SELECT entity_kind, minute, tenant, entity, events, failures, errors, refused, stream, incarnation
FROM %[1]s.entity_minutes FINAL
ARRAY JOIN tenants AS tenant, entities AS entity, events AS events, failures AS failures, errors AS errors, refused AS refused
WHERE %[2]s
SETTINGS optimize_move_to_prewhere_if_final = 1`},
	{"events_by_id", eventsByID},
	{"decisions_by_id", decisionsByID},
}

const eventsByID = `SELECT * FROM %[1]s.events FINAL
WHERE (stream, incarnation, src_partition, src_offset) IN
    (SELECT stream, incarnation, src_partition, src_offset FROM %[1]s.event_ids WHERE id_hash = toUInt32(cityHash64({id:String})) AND %[2]s)
    AND {id:String} IN (` + idsOfEvent + `)
SETTINGS optimize_move_to_prewhere_if_final = 1`

const decisionsByID = `SELECT * FROM %[1]s.decisions FINAL
WHERE (stream, incarnation, time) IN
    (SELECT stream, incarnation, time FROM %[1]s.decision_ids WHERE id_hash = toUInt32(cityHash64({id:String})) AND %[2]s)
    AND has(` + idsOfDecision + `, {id:String})
SETTINGS optimize_move_to_prewhere_if_final = 1`

// EventsByID has the rows of v_events_by_id(id = ?), to stand after FROM in a question
// to the connection's database. It takes the id twice. ClickHouse plans each column of a
// view several times: all columns take 12 to 15 ms longer through the view.
func EventsByID() string { return subquery(eventsByID) }

// DecisionsByID is to v_decisions_by_id(id = ?) what EventsByID is to v_events_by_id.
func DecisionsByID() string { return subquery(decisionsByID) }

func subquery(of string) string {
	of = strings.NewReplacer("%[2]s", isCurrent, "{id:String}", "?").Replace(of)
	return "(" + strings.ReplaceAll(of, "%[1]s.", "") + ")"
}

// views recreates the views: their columns are fixed at creation, so columns that
// were added later would be missing.
func (c Config) views() []string {
	all := []string{fmt.Sprintf(superseded, c.Database, historyPrefix)}
	for _, table := range []string{eventsTable, signalsTable, shadowTable, decisionsTable, labelsTable, auditTable, deadTable, versionsTable} {
		all = append(all, fmt.Sprintf(current, c.Database, table))
	}
	for _, v := range viewed {
		all = append(all, fmt.Sprintf("CREATE OR REPLACE VIEW %s.v_%s AS\n", c.Database, v.name)+fmt.Sprintf(v.query, c.Database, fmt.Sprintf(isCurrent, c.Database)))
	}
	return all
}
