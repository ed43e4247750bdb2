package clickhouse

import "fmt"

// historyPrefix begins the names of streams that a file was read into.
const historyPrefix = "history-"

// superseded lists the streams of files that were read again. A log that has grown
// is another file by its content, and so another stream, which holds all of the
// former one's lines: who counts both counts those lines twice.
//
// One run stands for another if what the other has first, and what it has last but
// one, stand at the same offsets in it, and it is longer; of two equal ones, the
// one that was read later. The last line does not matter, since a log that is
// being written to is often cut amid it. What the gateway wrote is compared, never
// what was derived from it.
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

// current shows a table as an analyst means it: each row once, and of a file that
// was read several times the newest run.
const current = `CREATE OR REPLACE VIEW %[1]s.v_%[2]s AS
SELECT * FROM %[1]s.%[2]s FINAL
WHERE (stream, incarnation) NOT IN (SELECT stream, incarnation FROM %[1]s.v_superseded)`

// views makes the views anew: what they show is fixed when they are made, so that
// columns that were added would be missing.
func (c Config) views() []string {
	return []string{
		fmt.Sprintf(superseded, c.Database, historyPrefix),
		fmt.Sprintf(current, c.Database, "events"), fmt.Sprintf(current, c.Database, signalsTable), fmt.Sprintf(current, c.Database, shadowTable),
	}
}
