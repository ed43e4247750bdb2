package clickhouse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Two tables hold counts per minute. They are no sums of inserts, which would count a
// repeated insert twice. A row holds the counts of one minute within one block of
// offsets of one raw partition. Whenever events of a block were inserted, its rows are
// counted anew from the events as they stand, and replace the former ones.

const (
	minutesTable       = "event_minutes"
	entityMinutesTable = "entity_minutes"
)

// blockOffsets is the number of offsets in a block: as many as ClickHouse reads at
// once.
const blockOffsets = 8192

const minutesDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s,
    INDEX by_block block TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (stream, incarnation, intDiv(block, 4096))
ORDER BY (minute, stream, incarnation, src_partition, block)%[3]s
SETTINGS index_granularity = 512`

// entityMinutesDDL has small granules, because a row has the names of a minute: an hour of
// a kind of entities is some hundred rows.
const entityMinutesDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s,
    INDEX by_block block TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (stream, incarnation, intDiv(block, 4096))
ORDER BY (entity_kind, minute, stream, incarnation, src_partition, block)%[3]s
SETTINGS index_granularity = 64`

const numberList = "Array(UInt32)" + packed

// counted are the columns that name a row of both tables.
func counted() []field {
	return []field{
		{"minute", "DateTime('UTC') CODEC(Delta, ZSTD(1))"}, {"stream", coded}, {"incarnation", numbers}, {"src_partition", numbers}, {"block", "UInt64" + rising},
		{"version", "UInt64" + packed}, {"day", "Date" + packed},
	}
}

func minuteFields() []field {
	return append(counted(),
		field{"tenants", codes}, field{"routes", codes}, field{"methods", codes}, field{"statuses", "Array(UInt16)" + packed},
		field{"auths", codes}, field{"actions", codes},
		field{"events", numberList}, field{"latencies_us", "Array(UInt64)" + packed}, field{"bytes", "Array(UInt64)" + packed})
}

func entityMinuteFields() []field {
	return append(append([]field{{"entity_kind", coded}}, counted()...),
		field{"tenants", codes}, field{"entities", "Array(String)" + packed},
		field{"events", numberList}, field{"failures", numberList}, field{"errors", numberList}, field{"refused", numberList})
}

// countMinutes counts the events of some blocks anew. Its version is that of the whole
// block. Since rows of events only come, and are only replaced by those of higher
// owners, a later count of a block has a higher version, or is the same. A minute that
// an earlier count found, and this one does not, gets a row without counts.
const countMinutes = `INSERT INTO %[1]s.event_minutes (minute, stream, incarnation, src_partition, block, version, day, tenants, routes, methods, statuses, auths, actions, events, latencies_us, bytes)
SELECT minute, {stream:String}, {incarnation:UInt32}, src_partition, block, max(max(version)) OVER (PARTITION BY src_partition, block), max(day),
    groupArrayIf(tenant, n > 0), groupArrayIf(route, n > 0), groupArrayIf(method, n > 0), groupArrayIf(status, n > 0),
    groupArrayIf(auth, n > 0), groupArrayIf(action, n > 0), groupArrayIf(n, n > 0), groupArrayIf(latency, n > 0), groupArrayIf(size, n > 0)
FROM
(
    SELECT toStartOfMinute(time) AS minute, src_partition, intDiv(src_offset, %[2]d) AS block, sum(sum(owner + 1)) OVER (PARTITION BY src_partition, block) AS version,
        max(toDate(received)) AS day, tenant, route, method, toUInt16(status) AS status, auth, decision_action AS action,
        toUInt32(count()) AS n, toUInt64(sum(latency_us)) AS latency, toUInt64(sum(response_bytes)) AS size
    FROM %[1]s.events FINAL
    WHERE stream = {stream:String} AND incarnation = {incarnation:UInt32} AND (%[3]s)
    GROUP BY minute, src_partition, block, tenant, route, method, status, auth, action
    UNION ALL
    SELECT minute, src_partition, block, 0, day, '', '', '', 0, '', '', 0, 0, 0
    FROM %[1]s.event_minutes
    WHERE stream = {stream:String} AND incarnation = {incarnation:UInt32} AND (%[4]s)
)
GROUP BY minute, src_partition, block
SETTINGS do_not_merge_across_partitions_select_final = 1`

const countEntityMinutes = `INSERT INTO %[1]s.entity_minutes (entity_kind, minute, stream, incarnation, src_partition, block, version, day, tenants, entities, events, failures, errors, refused)
SELECT entity_kind, minute, {stream:String}, {incarnation:UInt32}, src_partition, block, max(max(version)) OVER (PARTITION BY src_partition, block), max(day),
    groupArrayIf(tenant, n > 0), groupArrayIf(entity, n > 0), groupArrayIf(n, n > 0), groupArrayIf(failed, n > 0), groupArrayIf(wrong, n > 0), groupArrayIf(held, n > 0)
FROM
(
    SELECT named.1 AS entity_kind, toStartOfMinute(time) AS minute, src_partition, intDiv(src_offset, %[2]d) AS block, sum(sum(owner + 1)) OVER (PARTITION BY src_partition, block) AS version,
        max(toDate(received)) AS day, tenant, named.2 AS entity,
        toUInt32(count()) AS n, toUInt32(countIf(auth = 'failure')) AS failed, toUInt32(countIf(status >= 400)) AS wrong,
        toUInt32(countIf(decision_action IN ('throttle', 'challenge', 'step_up', 'deny'))) AS held
    FROM %[1]s.events FINAL
    ARRAY JOIN arrayFilter(e -> e.2 != '', [('account', account), ('device', device), ('ip', client_ip), ('net', net), ('asn', if(asn = 0, '', toString(asn))),
        ('country', country), ('ja4', ja4), ('build', build)]) AS named
    WHERE stream = {stream:String} AND incarnation = {incarnation:UInt32} AND (%[3]s)
    GROUP BY entity_kind, minute, src_partition, block, tenant, entity
    UNION ALL
    SELECT entity_kind, minute, src_partition, block, 0, day, '', '', 0, 0, 0, 0
    FROM %[1]s.entity_minutes
    WHERE stream = {stream:String} AND incarnation = {incarnation:UInt32} AND (%[4]s)
)
GROUP BY entity_kind, minute, src_partition, block
SETTINGS do_not_merge_across_partitions_select_final = 1`

// block is a block of offsets of a raw partition.
type block struct {
	partition uint32
	number    uint64
}

// blocks returns the blocks of some positions, each once, in order.
func blocks(partitions []uint32, offsets []uint64) []block {
	seen := map[block]bool{}
	for i, p := range partitions {
		seen[block{p, offsets[i] / blockOffsets}] = true
	}
	all := make([]block, 0, len(seen))
	for b := range seen {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b block) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.number, b.number))
	})
	return all
}

// mostBlocks limits the blocks that one statement counts.
const mostBlocks = 64

// count counts blocks anew, in the tables of minutes, and notes which runs of files
// their stream replaces.
func count(ctx context.Context, conn driver.Conn, database string, s Stream, all []block) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"stream": s.Name, "incarnation": fmt.Sprint(s.Incarnation)}))
	for some := range slices.Chunk(all, mostBlocks) {
		positions, numbers := ranges(some)
		for _, q := range []string{countMinutes, countEntityMinutes} {
			if err := conn.Exec(ctx, fmt.Sprintf(q, database, blockOffsets, positions, numbers)); err != nil {
				return err
			}
		}
	}
	if strings.HasPrefix(s.Name, historyPrefix) {
		return conn.Exec(ctx, fmt.Sprintf(keepSuperseded, database))
	}
	return nil
}

// ranges returns the conditions that an event, and that a row of counts, is of one of
// some blocks, which are in order.
func ranges(some []block) (positions, numbers string) {
	var offsets, blocks []string
	for i := 0; i < len(some); {
		first := some[i]
		end := first.number + 1
		for i++; i < len(some) && some[i].partition == first.partition && some[i].number == end; i++ {
			end++
		}
		offsets = append(offsets, fmt.Sprintf("src_partition = %d AND src_offset >= %d AND src_offset < %d", first.partition, first.number*blockOffsets, end*blockOffsets))
		blocks = append(blocks, fmt.Sprintf("src_partition = %d AND block >= %d AND block < %d", first.partition, first.number, end))
	}
	return strings.Join(offsets, " OR "), strings.Join(blocks, " OR ")
}
