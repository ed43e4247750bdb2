package clickhouse

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// firstWithCounts is the first version of the schema that counts events per minute.
const firstWithCounts = 9

// filledAtOnce is the number of offsets whose rows one statement copies.
const filledAtOnce = 1 << 20

// span is a raw partition, or one of decisions, whose rows are in a table.
type span struct {
	Stream
	partition   uint32
	first, last uint64 // offsets
}

// backfill fills the copies and counts that tables of version have lack, from the rows
// that were there before. What it writes twice is one row, so it may be repeated, and
// workers may write meanwhile.
func backfill(ctx context.Context, conn driver.Conn, c Config, have uint32, log *slog.Logger) error {
	for _, from := range []string{eventsTable, decisionsTable, signalsTable} {
		var lacking []copied
		for _, t := range copies() {
			if t.from == from && t.since > have {
				lacking = append(lacking, t)
			}
		}
		counts := from == eventsTable && have < firstWithCounts
		if len(lacking) == 0 && !counts {
			continue
		}
		spans, err := spansOf(ctx, conn, c.Database+"."+from)
		if err != nil {
			return err
		}
		for _, s := range spans {
			log.Info("filling new tables", "from", from, "stream", s.Name, "partition", s.partition, "offsets", s.last-s.first+1)
			for at := s.first; at <= s.last; at += filledAtOnce {
				if err := fill(ctx, conn, c.Database, lacking, counts, s, at, min(s.last, at+filledAtOnce-1)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func spansOf(ctx context.Context, conn driver.Conn, table string) (all []span, err error) {
	rows, err := conn.Query(ctx, "SELECT stream, incarnation, src_partition, min(src_offset), max(src_offset) FROM "+table+" GROUP BY stream, incarnation, src_partition ORDER BY stream, incarnation, src_partition")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s span
		if err := rows.Scan(&s.Name, &s.Incarnation, &s.partition, &s.first, &s.last); err != nil {
			return nil, err
		}
		s.first -= s.first % blockOffsets
		all = append(all, s)
	}
	return all, rows.Err()
}

// fill copies the rows at the offsets first … last of a span to some tables, and counts
// them.
func fill(ctx context.Context, conn driver.Conn, database string, to []copied, counts bool, s span, first, last uint64) error {
	where := fmt.Sprintf("stream = '%s' AND incarnation = %d AND src_partition = %d AND src_offset BETWEEN %d AND %d", quoted(s.Name), s.Incarnation, s.partition, first, last)
	for _, t := range to {
		if err := conn.Exec(ctx, t.fill(database, where)); err != nil {
			return fmt.Errorf("%s: %w", t.table, err)
		}
	}
	if !counts {
		return nil
	}
	var all []block
	for n := first / blockOffsets; n <= last/blockOffsets; n++ {
		all = append(all, block{s.partition, n})
	}
	return count(ctx, conn, database, s.Stream, all)
}
