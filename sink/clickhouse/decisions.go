package clickhouse

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/decision"
)

const decisionsTable = "decisions"

// Decisions writes the table decisions.
type Decisions struct{ w *writer }

// NewDecisions creates a writer; [Decisions.Run] does the work.
func NewDecisions(c Config, s Stream, log *slog.Logger, r prometheus.Registerer) (*Decisions, error) {
	w, err := newWriter(decisionsTable, c, newDecisionRows(c, s), newDecisionRows(c, s), log, r)
	if err != nil {
		return nil, err
	}
	return &Decisions{w}, nil
}

// Run inserts until ctx ends, then inserts the rest. It returns early only on an
// error that no retry can fix.
func (w *Decisions) Run(ctx context.Context) error { return w.w.run(ctx) }

// Open creates a track for the decisions of one partition.
func (w *Decisions) Open(partition int32) *DecisionTrack {
	return &DecisionTrack{w.w.open(), uint32(partition)}
}

// DecisionTrack takes the decisions of one partition, in order of offset.
type DecisionTrack struct {
	*track
	partition uint32
}

// Append copies d. It blocks while two batches are full, until ctx ends. received is
// Unix ms.
func (t *DecisionTrack) Append(ctx context.Context, offset, received int64, d *decision.Record) error {
	return t.add(ctx, offset, func() { t.w.filling.(*decisionRows).add(t.partition, offset, received, d) })
}

// decisionRows is a batch of decisions, in columns.
type decisionRows struct {
	database string
	stream   Stream

	incarnations, partitions                                     []uint32
	offsets                                                      []uint64
	scores, observed, degraded, earlier                          []uint8
	times, received, latencies                                   []int64
	names, ids, gateways, tenants, routes, requests, traces      []string
	actions, would, phases, levels, switches, policies, versions []string
	degradedBy, limitedBy, reasons                               []string
	rules, codes, limits                                         [][]string
	entities                                                     []map[string]string
}

func newDecisionRows(c Config, s Stream) *decisionRows {
	return &decisionRows{database: c.Database, stream: s}
}

func (r *decisionRows) len() int { return len(r.offsets) }

func (r *decisionRows) reset() { *r = decisionRows{database: r.database, stream: r.stream} }

func (r *decisionRows) add(partition uint32, offset, received int64, d *decision.Record) {
	rules, codes := make([]string, len(d.Reasons)), make([]string, len(d.Reasons))
	for i, why := range d.Reasons {
		rules[i], codes[i] = why.Rule, why.Reason
	}
	reasons := []byte("[]")
	if len(d.Reasons) > 0 {
		reasons, _ = json.Marshal(d.Reasons) // cannot fail: plain numbers and texts
	}
	r.names = append(r.names, r.stream.Name)
	r.incarnations = append(r.incarnations, r.stream.Incarnation)
	r.partitions = append(r.partitions, partition)
	r.offsets = append(r.offsets, uint64(offset))
	r.received = append(r.received, received)
	r.ids = append(r.ids, d.ID)
	r.times = append(r.times, d.Time)
	r.gateways = append(r.gateways, d.Gateway)
	r.tenants = append(r.tenants, d.Tenant)
	r.routes = append(r.routes, d.Route)
	r.requests = append(r.requests, d.RequestID)
	r.traces = append(r.traces, d.TraceID)
	r.entities = append(r.entities, d.Entities)
	r.actions = append(r.actions, d.Action)
	r.would = append(r.would, d.Would)
	r.phases = append(r.phases, d.Phase)
	r.levels = append(r.levels, d.Level)
	r.scores = append(r.scores, uint8(d.Score))
	r.observed = append(r.observed, uint8(d.ObservedScore))
	r.rules = append(r.rules, rules)
	r.codes = append(r.codes, codes)
	r.reasons = append(r.reasons, string(reasons))
	r.limits = append(r.limits, d.Limits)
	r.limitedBy = append(r.limitedBy, d.LimitedBy)
	r.switches = append(r.switches, d.Switch)
	r.policies = append(r.policies, d.Policy)
	r.versions = append(r.versions, d.PolicyVersion)
	r.degraded = append(r.degraded, flag(d.Degraded))
	r.degradedBy = append(r.degradedBy, d.DegradedBy)
	r.earlier = append(r.earlier, flag(d.LastKnownGood))
	r.latencies = append(r.latencies, d.LatencyMicros)
}

func (r *decisionRows) insert(ctx context.Context, conn driver.Conn) error {
	columns := []column{
		{"stream", r.names}, {"incarnation", r.incarnations}, {"src_partition", r.partitions}, {"src_offset", r.offsets}, {"received", r.received},
		{"id", r.ids}, {"time", r.times}, {"gateway", r.gateways}, {"tenant", r.tenants}, {"route", r.routes}, {"request_id", r.requests}, {"trace_id", r.traces},
		{"entities", r.entities}, {"action", r.actions}, {"would", r.would}, {"phase", r.phases}, {"level", r.levels}, {"score", r.scores}, {"observed_score", r.observed},
		{"rules", r.rules}, {"reason_codes", r.codes}, {"reasons", r.reasons}, {"limits", r.limits}, {"limited_by", r.limitedBy}, {"switch", r.switches}, {"policy", r.policies}, {"policy_version", r.versions},
		{"degraded", r.degraded}, {"degraded_by", r.degradedBy}, {"last_known_good", r.earlier}, {"latency_us", r.latencies},
	}
	return insertColumns(ctx, conn, r.database, decisionsTable, columns)
}
