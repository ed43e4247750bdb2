// Package gate tells gateways what to do with a request, based on the risk of its
// entities.
//
// It answers within a fixed time even while the score store is away, and says so.
// lookup provides the risk, limits counts the request, and policy decides on the
// action.
package gate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/limits"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Risk looks up the risk of entities. Calls may overlap.
type Risk interface {
	// Look answers within the budget, whatever the state of the score store.
	// The budget begins at start.
	Look(ctx context.Context, entities []facet.Entity, start time.Time, budget time.Duration, earlier bool) lookup.Answer
	// Ready reports whether the store answers.
	Ready(ctx context.Context) error
}

// Switches provides the operators' switches, blocks and releases. Calls may
// overlap.
type Switches interface{ Active() *switches.Active }

// Policies provides the policies in force, which may change between calls. Calls
// may overlap.
type Policies interface{ Current() *policy.Set }

// Tracer traces decisions. Calls may overlap.
type Tracer interface {
	// Decided takes a decision that was begun at start: looked is how long the look-up
	// took. It returns the id of the decision's trace; "" if it is in none.
	Decided(req *Request, d *Decision, start time.Time, looked, took time.Duration) string
}

// Dependencies are the parts that a gate uses.
type Dependencies struct {
	Risk       Risk
	Policies   Policies
	Shares     policy.Shares
	Switches   Switches              // nil: no switches
	Limits     *limits.Limits        // nil: limits do not apply
	Emitter    *emit.Emitter         // nil: nothing is written to Kafka
	Tracer     Tracer                // nil: nothing is traced
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: the clock
}

// Gate makes decisions.
type Gate struct {
	cfg     Config
	risk    Risk
	log     *slog.Logger
	now     func() time.Time // nil: a decision is of the time at which it was asked for
	metrics *metrics

	policies Policies
	shares   policy.Shares
	switches Switches
	limits   *limits.Limits
	emitter  *emit.Emitter
	tracer   Tracer
	phase    rules.Phase
	rooms    sync.Pool // of *room
}

// New checks cfg and starts nothing.
func New(cfg Config, deps Dependencies) (*Gate, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Risk == nil || deps.Policies == nil || deps.Shares == nil {
		return nil, errors.New("gate: nobody to look risk up, or no policies")
	}
	g := &Gate{cfg: cfg, risk: deps.Risk, policies: deps.Policies, shares: deps.Shares, switches: deps.Switches, limits: deps.Limits, emitter: deps.Emitter, tracer: deps.Tracer, log: deps.Logger, now: deps.Now}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.phase, _ = rules.ParsePhase(cfg.Phase) // validated
	g.metrics = newMetrics(deps.Registerer)
	g.rooms.New = func() any { return new(room) }
	return g, nil
}

// Request is a gateway's request for a decision.
type Request struct {
	Tenant   string
	Route    string // as a template, such as /users/{id}
	Entities []facet.Entity
	Event    *event.Event // all known fields, including tenant, route and entities; nil: only those
	Trace    emit.Trace

	// These describe entities that are missing from Entities or were changed.
	Missing   bool // an entity was invalid and was left out
	Shortened bool // a key was shortened as ingest does
}

// Reason is a rule that contributes to a score.
type Reason struct {
	Rule     string      `json:"rule"`
	Reason   string      `json:"reason"`
	Category string      `json:"category"`
	Weight   int         `json:"weight"` // its current points
	Lowers   bool        `json:"lowers,omitempty"`
	Phase    rules.Phase `json:"phase"`
	Entity   string      `json:"entity"` // kind of entity
}

// Decision is the answer to a request.
type Decision struct {
	ID            string        `json:"decision_id"`
	Action        policy.Action `json:"action"`
	Score         int           `json:"score"`                // from rules that may act, 0 … 100
	ObservedScore int           `json:"observed_score"`       // from all rules, as if each could act
	Level         policy.Level  `json:"level"`                // of the score
	Categories    Categories    `json:"categories"`           // scores from rules that may act
	Reasons       []Reason      `json:"reasons"`              // the heaviest first, including observed rules; lowering ones come last
	Switch        string        `json:"switch,omitempty"`     // the kill switch, block or release that decided before the policy
	Policy        string        `json:"policy"`               // the policy that decided
	PolicyVersion string        `json:"policy_version"`       // version of the policy file
	Mode          rules.Phase   `json:"mode"`                 // the limit set by gate and policy
	Would         policy.Action `json:"would"`                // the action if mode were enforce
	Limits        []Limit       `json:"limits,omitempty"`     // those that apply, in the order of the file
	LimitedBy     string        `json:"limited_by,omitempty"` // the limit that refuses the request; the strictest of several
	Degraded      bool          `json:"degraded"`             // made with incomplete information
	DegradedBy    string        `json:"degraded_by,omitempty"`
	LastKnownGood bool          `json:"last_known_good,omitempty"` // based on earlier values
	RetryAfter    int           `json:"retry_after_s,omitempty"`
	ExpiresAt     time.Time     `json:"expires_at"` // until when a gateway may use it
}

// maxReasons limits the reasons of a decision.
const maxReasons = 5

// Decide always returns an answer. If risk cannot be looked up, the policy's
// failure behaviour determines it.
func (g *Gate) Decide(ctx context.Context, req Request) Decision {
	start := time.Now()
	if req.Event == nil {
		req.Event = new(event.Event)
		req.describe()
	}
	set, active := g.policies.Current(), g.active()
	asked := policy.Request{Event: req.Event, Entities: req.Entities}
	p := set.For(asked, g.shares)
	counting := g.count(set.LimitsFor(asked), p, &req, active) // beside the look-up
	known := g.risk.Look(ctx, req.Entities, start, p.Budget, p.Failure == policy.LastKnownGood)
	var looked time.Duration
	if g.tracer != nil {
		looked = time.Since(start)
	}
	trouble := known.Trouble
	if trouble == "" && req.Missing {
		trouble = lookup.Partial
	}
	limited := counting.wait(ctx)
	now := g.nowOr(start)
	found := known.Found()
	unmute(found, active)
	var r policy.Risk
	for _, f := range found {
		r.Add(f.Value.Contributions, now.UnixMilli())
	}
	o := p.Decide(&r, policy.Knowledge{Whole: trouble == "" && limited.trouble == "", Earlier: (known.Earlier || trouble == "") && !req.Missing}, g.phase)
	ofScore := o.Action
	limited.apply(&o)
	d := Decision{
		ID: newID(), Action: o.Action, Would: o.Would, Mode: o.Phase, Policy: p.ID, PolicyVersion: set.Version,
		Limits: limited.limits, LimitedBy: o.LimitedBy,
		Score: r.Acting.Total.Points(), ObservedScore: r.All.Total.Points(), Categories: categoriesOf(&r.Acting),
		Reasons:   reasonsOf(req.Entities, found, now.UnixMilli(), maxReasons),
		ExpiresAt: time.UnixMilli(now.UnixMilli() + g.cfg.CacheFor.Milliseconds()).UTC(),
	}
	d.Level = p.Score.Level(d.Score)
	g.byHand(&d, &req, active)
	if trouble != "" {
		d.Degraded, d.DegradedBy, d.LastKnownGood = true, trouble, known.Earlier
	} else if limited.trouble != "" {
		d.Degraded, d.DegradedBy = true, limited.trouble
	} else if req.Shortened {
		d.Degraded, d.DegradedBy = true, lookup.Partial // reported, although everything is known
	}
	if d.Action == policy.Throttle {
		d.RetryAfter = limited.retryAfter(p, ofScore)
	}
	took := time.Since(start)
	traced := ""
	if g.tracer != nil {
		traced = g.trace(req, d, start, looked, took)
	}
	g.metrics.decided(&d, &known, took, traced)
	g.emit(&req, &d, now, took)
	return d
}

// trace takes copies, so that without a tracer neither is on the heap.
func (g *Gate) trace(req Request, d Decision, start time.Time, looked, took time.Duration) string {
	return g.tracer.Decided(&req, &d, start, looked, took)
}

// nowOr returns the time of the clock that the gate was given, or else t.
func (g *Gate) nowOr(t time.Time) time.Time {
	if g.now == nil {
		return t
	}
	return g.now()
}

// Ready reports whether the store of scores answers. A gate that is not ready
// still decides.
func (g *Gate) Ready(ctx context.Context) error { return g.risk.Ready(ctx) }

// Categories are scores by category, in order of name. In JSON they are an object.
type Categories []CategoryPoints

// CategoryPoints is the score of one category.
type CategoryPoints struct {
	Category string
	Points   int // 1 … 100
}

// Of returns the points of a category, 0 if it has none.
func (c Categories) Of(category string) int {
	for _, one := range c {
		if one.Category == category {
			return one.Points
		}
	}
	return 0
}

// MarshalJSON writes an object, with the categories as names.
func (c Categories) MarshalJSON() ([]byte, error) { return c.append(nil), nil }

// UnmarshalJSON reads such an object.
func (c *Categories) UnmarshalJSON(b []byte) error {
	var byName map[string]int
	if err := json.Unmarshal(b, &byName); err != nil {
		return err
	}
	*c = nil
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		*c = append(*c, CategoryPoints{name, byName[name]})
	}
	return nil
}

// categoriesOf returns the scores by category in whole points; nil if there are none.
func categoriesOf(s *score.Scores) Categories {
	if len(s.Categories()) == 0 {
		return nil
	}
	all := make(Categories, 0, len(s.Categories()))
	for _, c := range s.Categories() {
		if p := c.Score.Points(); p > 0 {
			all = append(all, CategoryPoints{c.Category, p})
		}
	}
	return all
}

// reasonsOf lists the heaviest reasons over all entities; among equals, in the
// order of entities and rules. Lowering reasons come after all raising ones. It is
// never nil.
func reasonsOf(entities []facet.Entity, found []lookup.Found, now int64, most int) []Reason {
	n := 0
	for _, f := range found {
		n += len(f.Value.Contributions)
	}
	all := make([]Reason, 0, n)
	for _, f := range found {
		kind, list := entities[f.Place].Kind, f.Value.Contributions
		if len(list) == 1 { // as most have
			if worth := score.Decayed(list[0], now); worth.Points() > 0 {
				all = append(all, reasonOf(&list[0], worth, kind))
			}
			continue
		}
		for _, r := range score.Top(list, now, most) {
			all = append(all, reasonOf(&r.Contribution, r.Worth, kind))
		}
	}
	if len(all) < 2 {
		return all
	}
	slices.SortStableFunc(all, func(a, b Reason) int {
		switch {
		case a.Lowers == b.Lowers:
			return cmp.Compare(b.Weight, a.Weight)
		case b.Lowers:
			return -1
		}
		return 1
	})
	return all[:min(most, len(all))]
}

func reasonOf(c *score.Contribution, worth score.Fixed, of facet.Kind) Reason {
	return Reason{Rule: c.Rule, Reason: c.Reason, Category: c.Category, Weight: worth.Points(), Lowers: c.Lowers, Phase: c.Phase, Entity: of.String()}
}
