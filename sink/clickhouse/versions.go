package clickhouse

import (
	"context"
	"log/slog"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/decision"
)

const versionsTable = "rule_versions"

// versionsDDL names a row by its content, as that of decisions: workers write theirs
// without a log, and those of gates may be in theirs twice.
const versionsDDL = `CREATE TABLE IF NOT EXISTS %[1]s.%[4]s
(
%[2]s
)
ENGINE = ReplacingMergeTree
PARTITION BY (stream, incarnation)
ORDER BY (stream, incarnation, kind, time, version, program, instance)%[3]s`

func versionFields() []field {
	return []field{
		{"stream", coded}, {"incarnation", numbers}, {"kind", coded}, {"time", moments}, {"version", texted}, {"program", coded}, {"instance", texted},
		{"received", moments}, {"who", texted}, {"source", texted}, {"count", numbers}, {"text", texted},
	}
}

// RuleVersions writes the table rule_versions.
type RuleVersions struct{ w *writer }

// NewRuleVersions creates a writer; [RuleVersions.Run] does the work.
func NewRuleVersions(c Config, s Stream, log *slog.Logger, r prometheus.Registerer) (*RuleVersions, error) {
	w, err := newWriter(versionsTable, c, &versionRows{database: c.Database, stream: s}, &versionRows{database: c.Database, stream: s}, log, r)
	if err != nil {
		return nil, err
	}
	return &RuleVersions{w}, nil
}

// Run inserts until ctx ends, then inserts the rest. It returns early only on an
// error that no retry can fix.
func (w *RuleVersions) Run(ctx context.Context) error { return w.w.run(ctx) }

// Open creates a track for the versions in one partition of the topic of decisions.
func (w *RuleVersions) Open(int32) *VersionTrack { return &VersionTrack{w.w.open()} }

// VersionTrack takes the versions of one partition, in order of offset.
type VersionTrack struct{ *track }

// AppendVersion copies v. It blocks while two batches are full, until ctx ends.
// received is Unix ms.
func (t *VersionTrack) AppendVersion(ctx context.Context, offset, received int64, v *decision.RuleVersion) error {
	return t.add(ctx, offset, func() { r := t.w.filling.(*versionRows); r.rows = append(r.rows, versionRow{*v, received}) })
}

type versionRow struct {
	decision.RuleVersion
	received int64
}

// versionRows is a batch of versions. There are few.
type versionRows struct {
	database string
	stream   Stream
	rows     []versionRow
}

func (r *versionRows) len() int { return len(r.rows) }

func (r *versionRows) reset() { r.rows = r.rows[:0] }

func (r *versionRows) insert(ctx context.Context, conn driver.Conn) error {
	columns := []column{
		{"stream", columnOf(r.rows, func(*versionRow) string { return r.stream.Name })},
		{"incarnation", columnOf(r.rows, func(*versionRow) uint32 { return r.stream.Incarnation })},
		{"kind", columnOf(r.rows, func(v *versionRow) string { return v.Kind })},
		{"time", columnOf(r.rows, func(v *versionRow) int64 { return v.Time })},
		{"version", columnOf(r.rows, func(v *versionRow) string { return v.Version })},
		{"program", columnOf(r.rows, func(v *versionRow) string { return v.Program })},
		{"instance", columnOf(r.rows, func(v *versionRow) string { return v.Instance })},
		{"received", columnOf(r.rows, func(v *versionRow) int64 { return v.received })},
		{"who", columnOf(r.rows, func(v *versionRow) string { return v.Who })},
		{"source", columnOf(r.rows, func(v *versionRow) string { return v.Source })},
		{"count", columnOf(r.rows, func(v *versionRow) uint32 { return uint32(v.Count) })},
		{"text", columnOf(r.rows, func(v *versionRow) string { return v.Text })},
	}
	return insertColumns(ctx, conn, r.database, versionsTable, columns)
}
