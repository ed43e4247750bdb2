package console

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/clickhouse"
)

// Limits of lists on pages.
const (
	mostSignals    = 50
	mostEvents     = 100
	mostDecisions  = 30
	mostEntities   = 20
	mostRules      = 200
	mostNeighbours = 6 // of a kind
	mostMembers    = 100
	mostCampaigns  = 50
	mostCurve      = 5000 // newest signals that a drawing of the score is made of
)

// settings limit what a question may cost ClickHouse.
func settings() ch.Settings {
	return ch.Settings{"max_execution_time": 8, "max_result_rows": 20_000, "max_memory_usage": 2_000_000_000}
}

// rows asks ClickHouse, and reads all rows into a pointer to a slice of structs.
func (s *Server) rows(ctx context.Context, into any, sql string, args ...any) error {
	if s.deps.ClickHouse == nil {
		return errAway
	}
	return s.deps.ClickHouse.Select(ch.Context(ctx, ch.WithSettings(settings())), into, sql, args...)
}

// within is the condition that a row lies in a span; it takes the arguments of
// [span.args].
const within = "time >= fromUnixTimestamp64Milli(toInt64(?)) AND time < fromUnixTimestamp64Milli(toInt64(?))"

// received is the same for what is counted by the time of its receipt.
const received = "received >= fromUnixTimestamp64Milli(toInt64(?)) AND received < fromUnixTimestamp64Milli(toInt64(?))"

func (s span) args() []any { return []any{s.From.UnixMilli(), s.To.UnixMilli()} }

// signal is a row of v_signals.
type signal struct {
	Stream       string    `ch:"stream"`
	Incarnation  uint32    `ch:"incarnation"`
	Partition    uint32    `ch:"facet_partition"`
	Offset       uint64    `ch:"facet_offset"`
	Index        uint32    `ch:"facet_index"`
	Rule         string    `ch:"rule"`
	RulesVersion string    `ch:"rules_version"`
	Tenant       string    `ch:"tenant"`
	Kind         string    `ch:"entity_kind"`
	Key          string    `ch:"entity"`
	GroupKind    string    `ch:"group_kind"`
	GroupKey     string    `ch:"group_key"`
	Category     string    `ch:"category"`
	Reason       string    `ch:"reason"`
	Phase        string    `ch:"phase"`
	Tier         uint8     `ch:"tier"`
	Weight       uint8     `ch:"weight"`
	HalfLife     uint32    `ch:"half_life_s"`
	Lowers       uint8     `ch:"lowers"`
	Clears       uint8     `ch:"clears"`
	Evidence     string    `ch:"evidence"`
	Time         time.Time `ch:"time"`
	SrcPartition uint32    `ch:"src_partition"`
	SrcOffset    uint64    `ch:"src_offset"`
	Late         uint8     `ch:"late"`

	Title   string // of the rule; "" if it is not among the rules
	Counted string // field whose values the rule counts; "" if it counts none
}

const signalColumns = "stream, incarnation, facet_partition, facet_offset, facet_index, rule, rules_version, tenant, entity_kind, entity, group_kind, group_key, category, reason, phase, tier, weight, half_life_s, lowers, clears, evidence, time, src_partition, src_offset, late"

// Event names the event that made the rule fire.
func (s signal) Event() place { return place{s.Stream, s.Incarnation, s.SrcPartition, s.SrcOffset} }

// Half is the half-life of the weight.
func (s signal) Half() time.Duration { return time.Duration(s.HalfLife) * time.Second }

// Facts says the evidence in words.
func (s signal) Facts() []fact { return words(s.Evidence, s.Event(), s.Counted) }

// Otherwise says what would have kept the rule from firing.
func (s signal) Otherwise() string { return otherwise(s.Evidence) }

// Why is the page that runs the rule again.
func (s signal) Why() string { return "/why?" + s.query().Encode() }

// Except is the page that proposes an exception.
func (s signal) Except() string { return "/except?" + s.query().Encode() }

// applyTo adds the signal to a score's contributions, as the engine does.
func (s *signal) applyTo(list []score.Contribution) []score.Contribution {
	if s.Clears == 1 {
		list, _ = score.Clear(list, s.Rule, s.Time.UnixMilli())
		return list
	}
	if s.Weight == 0 { // a label holds the rule back
		return list
	}
	phase, _ := rules.ParsePhase(s.Phase)
	list, _ = score.Merge(list, score.Contribution{
		Rule: s.Rule, Category: s.Category, Reason: s.Reason, Phase: phase, Lowers: s.Lowers == 1,
		Weight: s.Weight, HalfLife: int64(s.HalfLife), Time: s.Time.UnixMilli(),
	})
	return list
}

// observedAndActing returns the score of all rules, and that of rules that act.
func observedAndActing(list []score.Contribution, now int64) (all, acting score.Fixed) {
	return score.At(list, now).Total, score.AtLeast(rules.Soft, list, now).Total
}

// Conditions on v_named_signals, which finds all signals of a name at once.
const (
	ofRule   = "found_by = 'rule' AND name_kind = '' AND name = ?"
	byEntity = "found_by = 'entity' AND name_kind = ? AND name = ? AND tenant = ?"
	byGroup  = "found_by = 'group' AND name_kind = ? AND name = ? AND tenant = ?"
)

// signals asks for signals of v_signals or v_named_signals that meet a condition.
func (s *Server) signals(ctx context.Context, view, condition string, limit int, args ...any) (all []signal, err error) {
	err = s.rows(ctx, &all, fmt.Sprintf("SELECT %s FROM %s WHERE %s LIMIT %d", signalColumns, view, condition, limit), args...)
	for i := range all {
		all[i].Time = all[i].Time.UTC()
		if r := s.ruleOf(all[i].Rule); r != nil {
			all[i].Title = r.Title
			if w, ok := r.Spec.(*detectors.SlidingWindow); ok && w.Distinct != event.None {
				all[i].Counted = w.Distinct.String()
			}
		}
	}
	return all, err
}

// ruleOf returns the rule with an id; nil if there is none.
func (s *Server) ruleOf(id string) *rules.Rule { return s.deps.Rules.Current().Rule(id) }

// about returns the condition on events that they are about an entity, and its
// arguments; ok is false if events do not name entities of the kind.
func about(e facet.Entity) (condition string, args []any, ok bool) {
	args = []any{e.Key, e.Tenant}
	switch e.Kind {
	case facet.Token:
		return "(token_family = ? OR token_family = '' AND token = ?) AND tenant = ?", []any{e.Key, e.Key, e.Tenant}, true
	case facet.ASN:
		return "asn = toInt64OrZero(?) AND tenant = ?", args, true
	case facet.Net16:
		beginning, found := strings.CutSuffix(e.Key, "0.0/16")
		return "startsWith(client_ip, ?) AND tenant = ?", []any{beginning, e.Tenant}, found
	}
	names := facet.Names(e.Kind)
	if len(names) == 0 {
		return "", nil, false
	}
	return names[0].String() + " = ? AND tenant = ?", args, true
}

// source is where the events of an entity are found fast: a view, and a condition on
// its rows.
type source struct {
	from      string
	condition string
	args      []any // of both
	isCopy    bool  // v_entity_events, which has only some columns
}

// inEntityEvents reports whether v_entity_events has the events of a kind.
func inEntityEvents(k facet.Kind) bool {
	return k == facet.Account || k == facet.Device || k == facet.IP
}

// eventsOf returns where the events of an entity are; ok is false if events do not
// name entities of its kind.
func eventsOf(e facet.Entity) (from source, ok bool) {
	condition, args, ok := about(e)
	switch {
	case !ok:
		return source{}, false
	case inEntityEvents(e.Kind):
		return source{"v_entity_events", ofEntity, []any{e.Kind.String(), e.Key, e.Tenant}, true}, true
	case e.Kind == facet.Session || e.Kind == facet.Token || e.Kind == facet.Key:
		return source{clickhouse.EventsByID(), condition, append([]any{e.Key, e.Key}, args...), false}, true
	}
	return source{"v_events", condition, args, false}, true
}

// eventRow is what lists show of an event.
type eventRow struct {
	Stream      string    `ch:"stream"`
	Incarnation uint32    `ch:"incarnation"`
	Partition   uint32    `ch:"src_partition"`
	Offset      uint64    `ch:"src_offset"`
	Time        time.Time `ch:"time"`
	ID          string    `ch:"id"`
	Tenant      string    `ch:"tenant"`
	Method      string    `ch:"method"`
	Path        string    `ch:"path"`
	Route       string    `ch:"route"`
	Status      int64     `ch:"status"`
	Auth        string    `ch:"auth"`
	Account     string    `ch:"account"`
	ClientIP    string    `ch:"client_ip"`
	Device      string    `ch:"device"`
	Country     string    `ch:"country"`
	Decision    string    `ch:"decision"`
	Action      string    `ch:"decision_action"`
}

const (
	eventColumns = "stream, incarnation, src_partition, src_offset, time, id, tenant, method, path, route, status, auth, account, client_ip, device, country, decision, decision_action"
	copyColumns  = "stream, incarnation, src_partition, src_offset, time, tenant, method, route, toInt64(status) AS status, auth, account, client_ip, device, country, decision_action"
)

// Place names the event.
func (e eventRow) Place() place { return place{e.Stream, e.Incarnation, e.Partition, e.Offset} }

// Target is what was asked for: the path, or where it is not known, the route.
func (e eventRow) Target() string { return cmp.Or(e.Path, e.Route) }

// When is the event's time, as a link says it.
func (e eventRow) When() string { return e.Time.UTC().Format("2006-01-02 15:04:05.000 UTC") }

// eventsWith returns the events with an id of any kind that meet a condition.
func (s *Server) eventsWith(ctx context.Context, id, condition string, limit int, args ...any) (all []eventRow, err error) {
	err = s.rows(ctx, &all, fmt.Sprintf("SELECT %s FROM %s WHERE %s LIMIT %d", eventColumns, clickhouse.EventsByID(), condition, limit), append([]any{id, id}, args...)...)
	return all, err
}

// newestOf returns the newest events of a source within a span.
func (s *Server) newestOf(ctx context.Context, from source, of span, limit int) (all []eventRow, err error) {
	columns := eventColumns
	if from.isCopy {
		columns = copyColumns
	}
	err = s.rows(ctx, &all, fmt.Sprintf("SELECT %s FROM %s WHERE %s AND %s ORDER BY time DESC, src_partition, src_offset DESC LIMIT %d", columns, from.from, from.condition, within, limit),
		append(slices.Clone(from.args), of.args()...)...)
	return all, err
}

// decisionRow is what lists show of a decision.
type decisionRow struct {
	ID        string            `ch:"id"`
	Time      time.Time         `ch:"time"`
	Tenant    string            `ch:"tenant"`
	Route     string            `ch:"route"`
	Action    string            `ch:"action"`
	Would     string            `ch:"would"`
	Phase     string            `ch:"phase"`
	Score     uint8             `ch:"score"`
	Rules     []string          `ch:"rules"`
	Switch    string            `ch:"switch"`
	LimitedBy string            `ch:"limited_by"`
	Degraded  uint8             `ch:"degraded"`
	Entities  map[string]string `ch:"entities"`
}

const decisionColumns = "id, time, tenant, route, action, would, phase, score, rules, switch, limited_by, degraded, entities"

// decisionsWith returns the decisions with an id, or about an entity with that key,
// that meet a condition.
func (s *Server) decisionsWith(ctx context.Context, id, condition string, limit int, args ...any) (all []decisionRow, err error) {
	err = s.rows(ctx, &all, fmt.Sprintf("SELECT %s FROM %s WHERE %s LIMIT %d", decisionColumns, clickhouse.DecisionsByID(), condition, limit), append([]any{id, id}, args...)...)
	return all, err
}

// current is an entity's score now.
type current struct {
	Known         bool // something is stored
	Forged        bool // what is stored is no score of Weir's
	Acting        int
	Observed      int
	Contributions []contribution
	Expires       time.Time
}

// contribution is one rule's part of a score.
type contribution struct {
	score.Contribution
	Now   int // points
	Title string
}

// When is the time of the signal.
func (c contribution) When() time.Time { return time.UnixMilli(c.Time).UTC() }

// Half is the half-life.
func (c contribution) Half() time.Duration { return time.Duration(c.HalfLife) * time.Second }

// scores returns the scores of entities now, in their order.
func (s *Server) scores(ctx context.Context, of []facet.Entity, now time.Time) ([]current, error) {
	if s.deps.Scores == nil {
		return nil, errAway
	}
	keys := make([]string, len(of))
	for i, e := range of {
		keys[i] = s.deps.Scores.Codec().Key(e)
	}
	values, bad, err := s.deps.Scores.Fetch(ctx, keys)
	if err != nil {
		return nil, err
	}
	all := make([]current, len(of))
	for i, v := range values {
		a, b := observedAndActing(v.Contributions, now.UnixMilli())
		all[i] = current{Known: len(v.Contributions) > 0, Forged: bad[i], Observed: a.Points(), Acting: b.Points()}
		if v.Expires > 0 {
			all[i].Expires = time.UnixMilli(v.Expires).UTC()
		}
		for _, c := range v.Contributions {
			one := contribution{Contribution: c, Now: score.Decayed(c, now.UnixMilli()).Points()}
			if r := s.ruleOf(c.Rule); r != nil {
				one.Title = r.Title
			}
			all[i].Contributions = append(all[i].Contributions, one)
		}
	}
	return all, nil
}
