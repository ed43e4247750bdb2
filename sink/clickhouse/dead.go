package clickhouse

import (
	"context"
	"log/slog"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/printable"
)

const deadTable = "dead_letters"

// deadDDL names a row by the position of the record that was refused, so a second
// reading of it writes the same key.
const deadDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s
)
ENGINE = ReplacingMergeTree(owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, source, src_partition, src_offset)%[3]s`

func deadFields() []field {
	return []field{
		{"stream", coded}, {"incarnation", numbers}, {"source", coded}, {"src_partition", numbers}, {"src_offset", "UInt64" + rising},
		{"owner", "UInt64" + packed}, {"received", moments},
		{"until", "UInt64" + packed}, {"time", moments}, {"reason", coded}, {"detail", texted}, {"bytes", "UInt64" + packed},
		{"record_key", texted}, {"sample", texted},
	}
}

// Longest texts of a dead letter that the table keeps, in bytes before they are
// escaped. The topic has all of the record.
const (
	maxSample = 512
	maxDetail = 512
	maxKey    = 256
)

// DeadLetters writes the table dead_letters.
type DeadLetters struct{ w *writer }

// NewDeadLetters creates a writer; [DeadLetters.Run] does the work.
func NewDeadLetters(c Config, s Stream, log *slog.Logger, r prometheus.Registerer) (*DeadLetters, error) {
	w, err := newWriter(deadTable, c, &deadRows{database: c.Database, stream: s}, &deadRows{database: c.Database, stream: s}, log, r)
	if err != nil {
		return nil, err
	}
	return &DeadLetters{w}, nil
}

// Run inserts until ctx ends, then inserts the rest. It returns early only on an
// error that no retry can fix.
func (w *DeadLetters) Run(ctx context.Context) error { return w.w.run(ctx) }

// Open creates a track for the dead letters of one partition.
func (w *DeadLetters) Open(partition int32) *DeadTrack {
	return &DeadTrack{w.w.open(), uint32(partition)}
}

// DeadTrack takes the dead letters of one partition, in order of offset.
type DeadTrack struct {
	*track
	partition uint32
}

// Append copies l, shortened and escaped. It blocks while two batches are full, until
// ctx ends. received is Unix ms; owner identifies the writer of a row that is written
// twice.
func (t *DeadTrack) Append(ctx context.Context, owner uint64, received int64, l *event.DeadLetter) error {
	row := deadRow{
		source: "events", partition: t.partition, offset: uint64(l.Offset), until: uint64(l.Until), owner: owner, received: received, time: l.Time,
		reason: l.Reason, detail: printable.Text(beginning([]byte(l.Detail), maxDetail)), bytes: uint64(l.Bytes),
		key: printable.Text(beginning(l.Key, maxKey)), sample: printable.Text(beginning(l.Value, maxSample)),
	}
	if l.Controls {
		row.source = "controls"
	}
	return t.add(ctx, l.Offset, func() { r := t.w.filling.(*deadRows); r.rows = append(r.rows, row) })
}

// apart are bytes that stand between values in JSON, in headers and in log lines, and
// in no name.
const apart = " \t\r\n\",;{}[]()<>&\\"

// beginning returns at most n bytes of b. It ends between two values, so that an
// erasure finds every name that is kept: half a name would stay.
func beginning(b []byte, n int) string {
	if len(b) <= n {
		return string(b)
	}
	return string(b[:strings.LastIndexAny(string(b[:n]), apart)+1])
}

type deadRow struct {
	source                      string
	partition                   uint32
	offset, until, owner, bytes uint64
	received, time              int64
	reason, detail, key, sample string
}

// deadRows is a batch of dead letters. There are few.
type deadRows struct {
	database string
	stream   Stream
	rows     []deadRow
}

func (r *deadRows) len() int { return len(r.rows) }

func (r *deadRows) reset() { r.rows = r.rows[:0] }

func (r *deadRows) insert(ctx context.Context, conn driver.Conn) error {
	columns := []column{
		{"stream", columnOf(r.rows, func(*deadRow) string { return r.stream.Name })},
		{"incarnation", columnOf(r.rows, func(*deadRow) uint32 { return r.stream.Incarnation })},
		{"source", columnOf(r.rows, func(d *deadRow) string { return d.source })},
		{"src_partition", columnOf(r.rows, func(d *deadRow) uint32 { return d.partition })},
		{"src_offset", columnOf(r.rows, func(d *deadRow) uint64 { return d.offset })},
		{"owner", columnOf(r.rows, func(d *deadRow) uint64 { return d.owner })},
		{"received", columnOf(r.rows, func(d *deadRow) int64 { return d.received })},
		{"until", columnOf(r.rows, func(d *deadRow) uint64 { return d.until })},
		{"time", columnOf(r.rows, func(d *deadRow) int64 { return d.time })},
		{"reason", columnOf(r.rows, func(d *deadRow) string { return d.reason })},
		{"detail", columnOf(r.rows, func(d *deadRow) string { return d.detail })},
		{"bytes", columnOf(r.rows, func(d *deadRow) uint64 { return d.bytes })},
		{"record_key", columnOf(r.rows, func(d *deadRow) string { return d.key })},
		{"sample", columnOf(r.rows, func(d *deadRow) string { return d.sample })},
	}
	return insertColumns(ctx, conn, r.database, deadTable, columns)
}
