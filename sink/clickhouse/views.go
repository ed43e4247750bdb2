package clickhouse

import "fmt"

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
WHERE (stream, incarnation) NOT IN (SELECT stream, incarnation FROM %[1]s.v_superseded)`

// views recreates the views: their columns are fixed at creation, so columns that
// were added later would be missing.
func (c Config) views() []string {
	return []string{
		fmt.Sprintf(superseded, c.Database, historyPrefix),
		fmt.Sprintf(current, c.Database, "events"), fmt.Sprintf(current, c.Database, signalsTable), fmt.Sprintf(current, c.Database, shadowTable),
	}
}
