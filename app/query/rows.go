package query

import (
	"context"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Column is a value of a row, as text.
type Column struct{ Name, Text string }

// Rows returns the rows of a query. Columns that are empty, which is how absent
// values are stored, are left out.
func Rows(ctx context.Context, conn driver.Conn, sql string, args ...any) ([][]Column, error) {
	found, err := fetch(ctx, conn, sql, args...)
	if err != nil {
		return nil, err
	}
	all := make([][]Column, len(found))
	for i, r := range found {
		for _, c := range r {
			if !c.empty() {
				all[i] = append(all[i], Column{c.name, c.text()})
			}
		}
	}
	return all, nil
}
