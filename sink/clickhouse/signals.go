package clickhouse

import (
	"context"
	"log/slog"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// The tables of signals, which have the same columns.
const (
	signalsTable = "signals"
	shadowTable  = "shadow_signals" // of rules that are only watched
)

// Signals writes a table of signals.
type Signals struct{ w *writer }

// NewSignals creates a writer of the table signals; [Signals.Run] does the work.
func NewSignals(c Config, s Stream, log *slog.Logger, r prometheus.Registerer) (*Signals, error) {
	return newSignals(signalsTable, c, s, log, r)
}

// NewShadowSignals creates a writer of the table shadow_signals, for the signals of
// shadow rules; [Signals.Run] does the work.
func NewShadowSignals(c Config, s Stream, log *slog.Logger, r prometheus.Registerer) (*Signals, error) {
	return newSignals(shadowTable, c, s, log, r)
}

func newSignals(table string, c Config, s Stream, log *slog.Logger, r prometheus.Registerer) (*Signals, error) {
	w, err := newWriter(table, c, newSignalRows(table, c, s), newSignalRows(table, c, s), log, r)
	if err != nil {
		return nil, err
	}
	return &Signals{w}, nil
}

// Run inserts until ctx ends, then inserts the rest. It returns early only on an
// error that no retry can fix.
func (w *Signals) Run(ctx context.Context) error { return w.w.run(ctx) }

// RunAfter is [Signals.Run], but inserts nothing before ready is closed.
func (w *Signals) RunAfter(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return w.w.run(ctx)
	case <-ctx.Done():
		return w.w.conn.Close()
	}
}

// Open creates a track for the signals of one facet partition.
func (w *Signals) Open(int32) *SignalTrack { return &SignalTrack{w.w.open()} }

// SignalTrack takes the signals of one facet partition, in order of offset.
type SignalTrack struct{ *track }

// Append copies sig. It blocks while two batches are full, until ctx ends.
func (t *SignalTrack) Append(ctx context.Context, offset int64, sig *score.Signal) error {
	return t.add(ctx, offset, func() { t.w.filling.(*signalRows).add(sig, time.Now().UnixMilli()) })
}

// signalRows is a batch of signals, in columns.
type signalRows struct {
	database, table string
	stream          Stream

	incarnations, partitions, indexes, halfLives, srcPartitions []uint32
	offsets, srcOffsets                                         []uint64
	tiers, weights, lowers, clears, late                        []uint8
	times, received                                             []int64
	names, rules, versions, tenants, kinds, entities            []string
	groupKinds, groups                                          []string
	categories, reasons, phases, asks, evidence                 []string
}

func newSignalRows(table string, c Config, s Stream) *signalRows {
	return &signalRows{database: c.Database, table: table, stream: s}
}

func (r *signalRows) len() int { return len(r.offsets) }

func (r *signalRows) reset() { *r = signalRows{database: r.database, table: r.table, stream: r.stream} }

func (r *signalRows) add(s *score.Signal, received int64) {
	r.names = append(r.names, r.stream.Name)
	r.incarnations = append(r.incarnations, r.stream.Incarnation)
	r.partitions = append(r.partitions, uint32(s.Position.Partition))
	r.offsets = append(r.offsets, uint64(s.Position.Offset))
	r.indexes = append(r.indexes, uint32(s.Position.Index))
	r.rules = append(r.rules, s.Rule)
	r.versions = append(r.versions, s.RulesVersion)
	r.tenants = append(r.tenants, s.Entity.Tenant)
	r.kinds = append(r.kinds, s.Entity.Kind.String())
	r.entities = append(r.entities, s.Entity.Key)
	kind := ""
	if s.Group.Kind != 0 {
		kind = s.Group.Kind.String()
	}
	r.groupKinds = append(r.groupKinds, kind)
	r.groups = append(r.groups, s.Group.Key)
	r.categories = append(r.categories, s.Category)
	r.reasons = append(r.reasons, s.Reason)
	r.phases = append(r.phases, s.Phase.String())
	r.tiers = append(r.tiers, uint8(s.Tier))
	r.weights = append(r.weights, s.Weight)
	r.halfLives = append(r.halfLives, uint32(s.HalfLife/time.Second))
	r.lowers = append(r.lowers, flag(s.Lowers))
	r.clears = append(r.clears, flag(s.Clears))
	r.asks = append(r.asks, s.Asks.String())
	r.evidence = append(r.evidence, string(facet.AppendEvidence(nil, s.Evidence)))
	r.times = append(r.times, s.Time)
	r.srcPartitions = append(r.srcPartitions, uint32(s.Source))
	r.srcOffsets = append(r.srcOffsets, uint64(s.SourceOffset))
	r.late = append(r.late, flag(s.Late))
	r.received = append(r.received, received)
}

func flag(on bool) uint8 {
	if on {
		return 1
	}
	return 0
}

func (r *signalRows) insert(ctx context.Context, conn driver.Conn) error {
	columns := []column{
		{"stream", r.names}, {"incarnation", r.incarnations}, {"facet_partition", r.partitions}, {"facet_offset", r.offsets},
		{"facet_index", r.indexes}, {"rule", r.rules}, {"rules_version", r.versions}, {"tenant", r.tenants}, {"entity_kind", r.kinds},
		{"entity", r.entities}, {"group_kind", r.groupKinds}, {"group_key", r.groups}, {"category", r.categories}, {"reason", r.reasons}, {"phase", r.phases}, {"tier", r.tiers},
		{"weight", r.weights}, {"half_life_s", r.halfLives}, {"lowers", r.lowers}, {"clears", r.clears}, {"asks", r.asks}, {"evidence", r.evidence}, {"time", r.times},
		{"src_partition", r.srcPartitions}, {"src_offset", r.srcOffsets}, {"late", r.late}, {"received", r.received},
	}
	return insertColumns(ctx, conn, r.database, r.table, columns)
}
