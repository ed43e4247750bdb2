package clickhouse

import (
	"context"
	"fmt"
	"strings"
	"unsafe"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// texts is a column of texts: bytes one after the other, and the end of each.
type texts struct {
	data  []byte
	ends  []int
	views []string
}

func (t *texts) add(s string) {
	t.data = append(t.data, s...)
	t.ends = append(t.ends, len(t.data))
}

func (t *texts) reset() { t.data, t.ends = t.data[:0], t.ends[:0] }

// strings returns views of the column, valid until it changes.
func (t *texts) strings() []string {
	t.views = t.views[:0]
	start := 0
	for _, end := range t.ends {
		t.views = append(t.views, unsafe.String(unsafe.SliceData(t.data[start:]), end-start))
		start = end
	}
	return t.views
}

// column is a column to insert: its name, and a slice as clickhouse-go takes
// it.
type column struct {
	name string
	data any
}

// insertColumns inserts the rows of columns into a table.
func insertColumns(ctx context.Context, conn driver.Conn, database, table string, columns []column) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	batch, err := conn.PrepareBatch(ctx, fmt.Sprintf("INSERT INTO %s.%s (%s)", database, table, strings.Join(names, ", ")))
	if err != nil {
		return err
	}
	defer batch.Close()
	for i, c := range columns {
		if err := batch.Column(i).Append(c.data); err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
	}
	return batch.Send()
}

// columnOf returns one value of each row.
func columnOf[R, V any](rows []R, of func(*R) V) []V {
	all := make([]V, len(rows))
	for i := range rows {
		all[i] = of(&rows[i])
	}
	return all
}

// repeat returns n times the same value.
func repeat[T any](to []T, v T, n int) []T {
	to = to[:0]
	for range n {
		to = append(to, v)
	}
	return to
}
