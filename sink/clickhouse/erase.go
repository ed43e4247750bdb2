package clickhouse

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/printable"
)

// Trace is where a subject is named in a table.
type Trace struct {
	Table string
	Rows  uint64 // copies that are not merged yet included
	Gone  bool   // an erasure deletes the rows; otherwise it takes the name out of them
}

// Erase removes a subject from all tables of a database: rows about it are deleted,
// and rows about others lose its name. It returns when all copies are rewritten, and
// says what there was. It needs the rights ALTER DELETE and ALTER UPDATE.
func Erase(ctx context.Context, c Config, e facet.Entity) (all []Trace, err error) {
	counted, err := countedBlocks(ctx, c, e)
	if err != nil {
		return nil, err
	}
	err = forEachTrace(ctx, c, e, func(conn driver.Conn, table string, w wound, rows uint64) error {
		if rows == 0 {
			return nil
		}
		all = append(all, Trace{table, rows, w.assign == ""})
		if table == entityMinutesTable {
			return nil // others are named in the same rows, which are counted anew
		}
		change := "DELETE"
		args := w.args
		if w.assign != "" {
			change, args = "UPDATE "+w.assign, append(slices.Clone(w.assigned), w.args...)
		}
		sql := fmt.Sprintf("ALTER TABLE %s.%s%s %s WHERE %s SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1", c.Database, c.stored(table), c.onCluster(), change, w.where)
		if err := conn.Exec(ctx, sql, args...); err != nil {
			return fmt.Errorf("erase from %s: %w", table, err)
		}
		return nil
	})
	if err != nil {
		return all, err
	}
	return all, recount(ctx, c, counted)
}

// Remains returns where a subject is still named.
func Remains(ctx context.Context, c Config, e facet.Entity) (all []Trace, err error) {
	err = forEachTrace(ctx, c, e, func(_ driver.Conn, table string, w wound, rows uint64) error {
		if rows > 0 {
			all = append(all, Trace{table, rows, w.assign == ""})
		}
		return nil
	})
	return all, err
}

// Erasures returns the offsets, in the topic of controls, of the erasures of an
// entity that the audit holds, by the entity's digest.
func Erasures(ctx context.Context, c Config, stream Stream, digest string) (offsets []uint64, err error) {
	conn, err := Open(c)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	err = conn.QueryRow(ctx, "SELECT groupArray(src_offset) FROM "+c.Database+".audit FINAL WHERE stream = ? AND incarnation = ? AND action = 'erase' AND entity_digest = ?",
		stream.Name, stream.Incarnation, digest).Scan(&offsets)
	return offsets, err
}

// wound is one way in which rows of a table name a subject.
type wound struct {
	where    string
	args     []any
	assign   string // takes the name out; "": the row is about the subject
	assigned []any
}

func forEachTrace(ctx context.Context, c Config, e facet.Entity, yield func(conn driver.Conn, table string, w wound, rows uint64) error) error {
	conn, err := Open(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	tables, err := columnsOf(ctx, conn, c)
	if err != nil {
		return err
	}
	for _, t := range tables {
		for _, w := range wounds(c, t, e) {
			var rows uint64
			if err := conn.QueryRow(ctx, fmt.Sprintf("SELECT count() FROM %s.%s WHERE %s", c.Database, t.name, w.where), w.args...).Scan(&rows); err != nil {
				return fmt.Errorf("look into %s: %w", t.name, err)
			}
			if err := yield(conn, t.name, w, rows); err != nil {
				return err
			}
		}
	}
	return nil
}

// table is a table that keeps rows, with its columns.
type table struct {
	name    string
	columns []string
}

func (t table) has(column string) bool { return slices.Contains(t.columns, column) }

// columnsOf lists the tables of the database, those that find rows of others by a hash
// first: whose they are can only be told while those rows exist. Tables that a later
// version adds are searched as well, as long as they name entities in the same columns.
func columnsOf(ctx context.Context, conn driver.Conn, c Config) (all []table, err error) {
	engine := "%MergeTree"
	if c.Cluster != "" {
		engine = "Distributed"
	}
	rows, err := conn.Query(ctx, `SELECT c.table, groupArray(c.name) FROM system.columns AS c
		INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
		WHERE c.database = ? AND t.engine LIKE ? GROUP BY c.table ORDER BY countIf(c.name = 'id_hash') = 0, c.table`, c.Database, engine)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var t table
		if err := rows.Scan(&t.name, &t.columns); err != nil {
			return nil, fmt.Errorf("list the tables: %w", err)
		}
		all = append(all, t)
	}
	return all, rows.Err()
}

// wounds returns the ways in which rows of a table may name a subject.
func wounds(c Config, t table, e facet.Entity) (all []wound) {
	kind := e.Kind.String()
	switch t.name {
	case entityMinutesTable:
		return []wound{{where: "entity_kind = ? AND arrayExists((tenant, entity) -> tenant = ? AND entity = ?, tenants, entities)", args: []any{kind, e.Tenant, e.Key}}}
	case eventIDsTable:
		named, args := namesIt(e)
		return []wound{{where: "(stream, incarnation, src_partition, src_offset) IN (SELECT stream, incarnation, src_partition, src_offset FROM " + c.Database + "." + c.stored(eventsTable) + " WHERE " + named + ")", args: args}}
	case decisionIDsTable:
		// A decision that was written twice has two places, of which decisions keeps
		// one: at its time, rows whose place is gone are its own, or nobody's.
		const place, moment = "(stream, incarnation, src_partition, src_offset)", "(stream, incarnation, time)"
		const named = "tenant = ? AND entities[?] = ?"
		from := c.Database + "." + c.stored(decisionsTable)
		at := moment + " IN (SELECT " + moment + " FROM " + from + " WHERE " + named + ")"
		args := []any{e.Tenant, kind, e.Key}
		return []wound{{
			where: place + " IN (SELECT " + place + " FROM " + from + " WHERE " + named + ") OR " + at + " AND " + place + " NOT IN (SELECT " + place + " FROM " + from + " WHERE " + at + ")",
			args:  slices.Concat(args, args, args),
		}}
	}
	if t.name == deadTable {
		return []wound{inDeadLetters(e)}
	}
	add := func(w wound) {
		if t.has("tenant") {
			w.where, w.args = "tenant = ? AND "+w.where, append([]any{e.Tenant}, w.args...)
		}
		all = append(all, w)
	}
	if t.name == namedSignalsTable { // whose key names the group, and cannot be changed
		add(wound{where: "found_by = 'group' AND name_kind = ? AND name = ?", args: []any{kind, e.Key}})
	}
	if t.has("entity_kind") && t.has("entity") && t.name != entityEventsTable { // whose rows name it by its kind, too
		w := wound{where: "entity_kind = ? AND entity = ?", args: []any{kind, e.Key}}
		if t.name == auditTable { // that something was said stays on record
			w.assign = "entity = ''"
		}
		add(w)
	}
	for _, f := range facet.Names(e.Kind) {
		if t.has(f.String()) && t.has("src_offset") {
			add(wound{where: f.String() + " = ?", args: []any{e.Key}})
		}
	}
	if t.has("entities") {
		add(wound{where: "entities[?] = ?", args: []any{kind, e.Key}})
	}
	if t.has("group_kind") && t.has("group_key") {
		add(wound{where: "group_kind = ? AND group_key = ?", args: []any{kind, e.Key}, assign: "group_kind = '', group_key = ''"})
	}
	if t.has("evidence") {
		quoted := string(event.AppendText(nil, e.Key)) // as facet.AppendEvidence writes it
		add(wound{where: "position(evidence, ?) > 0", args: []any{quoted}, assign: `evidence = replaceAll(evidence, ?, '""')`, assigned: []any{quoted}})
	}
	return all
}

// inDeadLetters is the way in which dead letters may name a subject: in texts that did
// not read, of which nobody can say what they name, or whose tenant. The row stays,
// because it is counted, and loses its texts. A name counts as found where no letter
// and no digit is beside it.
func inDeadLetters(e facet.Entity) (w wound) {
	var any []string
	forms := []string{e.Key, inQuotes(event.AppendText(nil, e.Key)), inQuotes(escapedJSON(e.Key))}
	for _, form := range slices.Compact(forms) {
		pattern := `(^|[^0-9A-Za-z])` + regexp.QuoteMeta(printable.Text(form)) + `($|[^0-9A-Za-z])`
		for _, column := range []string{"record_key", "sample", "detail"} {
			any, w.args = append(any, "match("+column+", ?)"), append(w.args, pattern)
		}
	}
	w.where, w.assign = "("+strings.Join(any, " OR ")+")", "record_key = '', sample = '', detail = ''"
	return w
}

// escapedJSON returns a text in JSON of writers that also escape what has a meaning in
// HTML.
func escapedJSON(s string) []byte {
	b, _ := json.Marshal(s) // cannot fail: a text
	return b
}

// inQuotes returns what stands between the quotation marks of a text in JSON.
func inQuotes(b []byte) string { return string(b[1 : len(b)-1]) }

// namesIt is the condition that a row of events names a subject.
func namesIt(e facet.Entity) (where string, args []any) {
	var any []string
	args = append(args, e.Tenant)
	for _, f := range facet.Names(e.Kind) {
		any, args = append(any, f.String()+" = ?"), append(args, e.Key)
	}
	return "tenant = ? AND (" + strings.Join(any, " OR ") + ")", args
}

// streamBlocks are blocks of a stream.
type streamBlocks struct {
	Stream
	blocks []block
}

// countedBlocks lists the blocks in which events name a subject, or counts do: those
// of an erasure that did not come to its end.
func countedBlocks(ctx context.Context, c Config, e facet.Entity) (all []streamBlocks, err error) {
	conn, err := Open(c)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	where, args := namesIt(e)
	counted := wounds(c, table{name: entityMinutesTable}, e)[0]
	rows, err := conn.Query(ctx, fmt.Sprintf(`SELECT DISTINCT stream, incarnation, src_partition, block FROM
(
    SELECT stream, incarnation, src_partition, intDiv(src_offset, %[1]d) AS block FROM %[2]s.%[3]s WHERE %[4]s
    UNION ALL
    SELECT stream, incarnation, src_partition, block FROM %[2]s.%[5]s WHERE %[6]s
)
ORDER BY stream, incarnation, src_partition, block`, blockOffsets, c.Database, eventsTable, where, entityMinutesTable, counted.where), append(args, counted.args...)...)
	if err != nil {
		return nil, fmt.Errorf("look into events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s Stream
		var b block
		if err := rows.Scan(&s.Name, &s.Incarnation, &b.partition, &b.number); err != nil {
			return nil, fmt.Errorf("look into events: %w", err)
		}
		if len(all) == 0 || all[len(all)-1].Stream != s {
			all = append(all, streamBlocks{Stream: s})
		}
		all[len(all)-1].blocks = append(all[len(all)-1].blocks, b)
	}
	return all, rows.Err()
}

// recount counts blocks anew of which events were deleted. Their counts are deleted
// first, because the new ones have lower versions.
func recount(ctx context.Context, c Config, all []streamBlocks) error {
	conn, err := Open(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, s := range all {
		for some := range slices.Chunk(s.blocks, mostBlocks) {
			_, numbers := ranges(some)
			for _, t := range []string{minutesTable, entityMinutesTable} {
				sql := fmt.Sprintf("ALTER TABLE %s.%s%s DELETE WHERE stream = ? AND incarnation = ? AND (%s) SETTINGS mutations_sync = 2", c.Database, c.stored(t), c.onCluster(), numbers)
				if err := conn.Exec(ctx, sql, s.Name, s.Incarnation); err != nil {
					return fmt.Errorf("erase from %s: %w", t, err)
				}
			}
			if err := count(ctx, conn, c.Database, s.Stream, some); err != nil {
				return fmt.Errorf("count anew: %w", err)
			}
		}
	}
	return nil
}
