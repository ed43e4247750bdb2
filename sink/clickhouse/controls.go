package clickhouse

import (
	"context"
	"errors"
	"log/slog"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/internal/facet"
)

const (
	labelsTable = "labels"
	auditTable  = "audit"
)

// Both tables name a row by the position of its control record. A second ingest of
// the record writes the same key.
const controlsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s
)
ENGINE = ReplacingMergeTree(owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, src_partition, src_offset)%[3]s`

func controlFields() []field {
	return []field{
		{"stream", texted}, {"incarnation", numbers}, {"src_partition", numbers}, {"src_offset", "UInt64" + rising},
		{"owner", "UInt64" + packed}, {"received", moments},
		{"id", texted}, {"time", moments}, {"tenant", texted}, {"entity_kind", texted}, {"entity", texted}, {"rule", texted},
		{"who", texted}, {"reason", texted}, {"expires", moments},
	}
}

func labelFields() []field { return append(controlFields(), field{"label", texted}) }

func auditFields() []field {
	return append(controlFields(), field{"action", texted}, field{"category", texted}, field{"entity_digest", texted}, field{"origin", texted}, field{"gate_action", texted})
}

// controlTables returns the DDL of the tables of control records.
func (c Config) controlTables() []string {
	return []string{
		c.create(controlsDDL, labelsTable, labelFields(), "received", c.Retention), c.create(controlsDDL, auditTable, auditFields(), "received", c.Retention),
		c.complete(labelsTable, labelFields()), c.complete(auditTable, auditFields()),
	}
}

// Controls writes the tables labels and audit.
type Controls struct {
	labels, audit *writer
	digest        func(facet.Entity) string
}

// NewControls creates a writer; [Controls.Run] does the work. digest names an entity
// in the audit where its key must not be kept.
func NewControls(c Config, s Stream, digest func(facet.Entity) string, log *slog.Logger, r prometheus.Registerer) (*Controls, error) {
	labels, err := newWriter(labelsTable, c, newControlRows(c, s, labelsTable), newControlRows(c, s, labelsTable), log, r)
	if err != nil {
		return nil, err
	}
	audit, err := newWriter(auditTable, c, newControlRows(c, s, auditTable), newControlRows(c, s, auditTable), log, r)
	if err != nil {
		return nil, err
	}
	return &Controls{labels: labels, audit: audit, digest: digest}, nil
}

// Run inserts until ctx ends, then inserts the rest. It returns early only on an
// error that no retry can fix.
func (w *Controls) Run(ctx context.Context) error {
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return w.labels.run(ctx) })
	both.Go(func() error { return w.audit.run(ctx) })
	return both.Wait()
}

// Open creates a track for the control records of the stream.
func (w *Controls) Open() *ControlTrack {
	return &ControlTrack{labels: w.labels.open(), audit: w.audit.open(), digest: w.digest}
}

// ControlTrack takes control records, in order of offset.
type ControlTrack struct {
	labels, audit *track
	digest        func(facet.Entity) string
}

// Append copies c: every record is a row of the audit, and labels are rows of
// labels, too. The audit does not keep the key of an erased entity. Append blocks
// while two batches are full, until ctx ends. received is Unix ms; owner identifies
// the writer of a row that is written twice.
func (t *ControlTrack) Append(ctx context.Context, offset int64, owner uint64, received int64, c *control.Record) error {
	row := controlRow{Record: *c, offset: uint64(offset), owner: owner, received: received}
	if c.Action != control.GateOff && c.Action != control.GateOn { // which are about no entity
		row.digest = t.digest(c.Entity())
	}
	switch action, _ := facet.ParseAction(c.Action); action {
	case facet.FalsePositive, facet.TruePositive:
		if err := t.labels.add(ctx, offset, func() { t.labels.w.filling.(*controlRows).add(row) }); err != nil {
			return err
		}
	case facet.Erase:
		row.Key = ""
	}
	return t.audit.add(ctx, offset, func() { t.audit.w.filling.(*controlRows).add(row) })
}

// Stored returns an offset below which every appended record is acknowledged.
func (t *ControlTrack) Stored() int64 { return min(t.labels.Stored(), t.audit.Stored()) }

// Drain inserts pending rows now, and returns when they are acknowledged.
func (t *ControlTrack) Drain(ctx context.Context) error {
	return errors.Join(t.labels.Drain(ctx), t.audit.Drain(ctx))
}

type controlRow struct {
	control.Record
	offset, owner uint64
	received      int64
	digest        string
}

// controlRows is a batch of control records. There are few.
type controlRows struct {
	database, table string
	stream          Stream
	rows            []controlRow
}

func newControlRows(c Config, s Stream, table string) *controlRows {
	return &controlRows{database: c.Database, table: table, stream: s}
}

func (r *controlRows) len() int           { return len(r.rows) }
func (r *controlRows) reset()             { r.rows = r.rows[:0] }
func (r *controlRows) add(row controlRow) { r.rows = append(r.rows, row) }

func (r *controlRows) insert(ctx context.Context, conn driver.Conn) error {
	columns := []column{
		{"stream", columnOf(r.rows, func(*controlRow) string { return r.stream.Name })},
		{"incarnation", columnOf(r.rows, func(*controlRow) uint32 { return r.stream.Incarnation })},
		{"src_partition", columnOf(r.rows, func(*controlRow) uint32 { return 0 })},
		{"src_offset", columnOf(r.rows, func(c *controlRow) uint64 { return c.offset })},
		{"owner", columnOf(r.rows, func(c *controlRow) uint64 { return c.owner })},
		{"received", columnOf(r.rows, func(c *controlRow) int64 { return c.received })},
		{"id", columnOf(r.rows, func(c *controlRow) string { return c.ID })},
		{"time", columnOf(r.rows, func(c *controlRow) int64 { return c.Time })},
		{"tenant", columnOf(r.rows, func(c *controlRow) string { return c.Tenant })},
		{"entity_kind", columnOf(r.rows, func(c *controlRow) string { return c.Kind })},
		{"entity", columnOf(r.rows, func(c *controlRow) string { return c.Key })},
		{"rule", columnOf(r.rows, func(c *controlRow) string { return c.Rule })},
		{"who", columnOf(r.rows, func(c *controlRow) string { return c.Who })},
		{"reason", columnOf(r.rows, func(c *controlRow) string { return c.Reason })},
		{"expires", columnOf(r.rows, func(c *controlRow) int64 { return c.Expires })},
	}
	action := columnOf(r.rows, func(c *controlRow) string { return c.Action })
	if r.table == labelsTable {
		columns = append(columns, column{"label", action})
	} else {
		columns = append(columns, column{"action", action},
			column{"category", columnOf(r.rows, func(c *controlRow) string { return c.Category })},
			column{"entity_digest", columnOf(r.rows, func(c *controlRow) string { return c.digest })},
			column{"origin", columnOf(r.rows, func(c *controlRow) string { return c.Origin })},
			column{"gate_action", columnOf(r.rows, func(c *controlRow) string { return c.Gate })})
	}
	return insertColumns(ctx, conn, r.database, r.table, columns)
}
