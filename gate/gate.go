// Package gate tells gateways what to do with a request, based on the risk of its
// entities.
//
// It answers within a fixed time even while the score store is away, and says so.
// It does not count requests itself: lookup provides the risk, and policy decides
// on the action.
package gate

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/event"
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
	Look(ctx context.Context, entities []facet.Entity, budget time.Duration, earlier bool) lookup.Answer
	// Ready reports whether the store answers.
	Ready(ctx context.Context) error
}

// Switches provides the operators' switches, blocks and releases. Calls may
// overlap.
type Switches interface{ Active() *switches.Active }

// Policies provides the policies in force, which may change between calls. Calls
// may overlap.
type Policies interface{ Current() *policy.Set }

// Dependencies are the parts that a gate uses.
type Dependencies struct {
	Risk       Risk
	Policies   Policies
	Shares     policy.Shares
	Switches   Switches              // nil: no switches
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: time.Now
}

// Gate makes decisions.
type Gate struct {
	cfg     Config
	risk    Risk
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics

	policies Policies
	shares   policy.Shares
	switches Switches
	phase    rules.Phase
}

// New checks cfg and starts nothing.
func New(cfg Config, deps Dependencies) (*Gate, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Risk == nil || deps.Policies == nil || deps.Shares == nil {
		return nil, errors.New("gate: nobody to look risk up, or no policies")
	}
	g := &Gate{cfg: cfg, risk: deps.Risk, policies: deps.Policies, shares: deps.Shares, switches: deps.Switches, log: deps.Logger, now: deps.Now}
	if g.now == nil {
		g.now = time.Now
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.phase, _ = rules.ParsePhase(cfg.Phase) // validated
	g.metrics = newMetrics(deps.Registerer)
	return g, nil
}

// Request is a gateway's request for a decision.
type Request struct {
	Tenant   string
	Route    string // as a template, such as /users/{id}
	Entities []facet.Entity
	Event    *event.Event // all known fields, including tenant, route and entities; nil: only those

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
	ID            string         `json:"decision_id"`
	Action        policy.Action  `json:"action"`
	Score         int            `json:"score"`            // from rules that may act, 0 … 100
	ObservedScore int            `json:"observed_score"`   // from all rules, as if each could act
	Level         policy.Level   `json:"level"`            // of the score
	Categories    map[string]int `json:"categories"`       // scores from rules that may act
	Reasons       []Reason       `json:"reasons"`          // the heaviest first, including observed rules; lowering ones come last
	Switch        string         `json:"switch,omitempty"` // the kill switch, block or release that decided before the policy
	Policy        string         `json:"policy"`           // the policy that decided
	PolicyVersion string         `json:"policy_version"`   // version of the policy file
	Mode          rules.Phase    `json:"mode"`             // the limit set by gate and policy
	Would         policy.Action  `json:"would"`            // the action if mode were enforce
	Degraded      bool           `json:"degraded"`         // made with incomplete information
	DegradedBy    string         `json:"degraded_by,omitempty"`
	LastKnownGood bool           `json:"last_known_good,omitempty"` // based on earlier values
	RetryAfter    int            `json:"retry_after_s,omitempty"`
	ExpiresAt     time.Time      `json:"expires_at"` // until when a gateway may use it
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
	set := g.policies.Current()
	p := set.For(policy.Request{Event: req.Event, Entities: req.Entities}, g.shares)
	known := g.risk.Look(ctx, req.Entities, p.Budget, p.Failure == policy.LastKnownGood)
	trouble := known.Trouble
	if trouble == "" && req.Missing {
		trouble = lookup.Partial
	}
	now := g.now()
	active := g.active()
	values := unmuted(known.Values, active)
	var r policy.Risk
	for i := range values {
		r.Add(values[i].Contributions, now.UnixMilli())
	}
	o := p.Decide(&r, policy.Knowledge{Whole: trouble == "", Earlier: known.Earlier && !req.Missing}, g.phase)
	d := Decision{
		ID: uuid.NewString(), Action: o.Action, Would: o.Would, Mode: o.Phase, Policy: p.ID, PolicyVersion: set.Version,
		Score: r.Acting.Total.Points(), ObservedScore: r.All.Total.Points(), Categories: points(&r.Acting),
		Reasons:   reasonsOf(req.Entities, values, now.UnixMilli(), maxReasons),
		ExpiresAt: now.Add(g.cfg.CacheFor).UTC().Truncate(time.Millisecond),
	}
	d.Level = p.Score.Level(d.Score)
	g.byHand(&d, &req, active)
	if trouble != "" {
		d.Degraded, d.DegradedBy, d.LastKnownGood = true, trouble, known.Earlier
	} else if req.Shortened {
		d.Degraded, d.DegradedBy = true, lookup.Partial // reported, although everything is known
	}
	if d.Action == policy.Throttle {
		d.RetryAfter = int(p.RetryAfter / time.Second)
	}
	g.metrics.decided(&d, time.Since(start))
	return d
}

// Ready reports whether the store of scores answers. A gate that is not ready
// still decides.
func (g *Gate) Ready(ctx context.Context) error { return g.risk.Ready(ctx) }

// points returns the scores by category in whole points.
func points(s *score.Scores) map[string]int {
	m := make(map[string]int, len(s.Categories()))
	for _, c := range s.Categories() {
		if p := c.Score.Points(); p > 0 {
			m[c.Category] = p
		}
	}
	return m
}

// reasonsOf lists the heaviest reasons over all entities; among equals, in the
// order of entities and rules. Lowering reasons come after all raising ones. It is
// never nil.
func reasonsOf(entities []facet.Entity, values []score.Value, now int64, most int) []Reason {
	all := []Reason{}
	for i := range values {
		for _, r := range score.Top(values[i].Contributions, now, most) {
			all = append(all, Reason{
				Rule: r.Rule, Reason: r.Contribution.Reason, Category: r.Category,
				Weight: r.Worth.Points(), Lowers: r.Lowers, Phase: r.Phase, Entity: entities[i].Kind.String(),
			})
		}
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
