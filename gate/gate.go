// Package gate tells gateways what to do with a request, by the risk of the entities
// behind it.
//
// It answers within a fixed time even while the store of scores is away, and then says
// so. It counts no requests itself: what it knows of them is lookup's, what follows is
// policy's.
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

// Risk says what is known of entities. Calls may overlap.
type Risk interface {
	// Look answers within a budget, whatever becomes of the store of scores.
	Look(ctx context.Context, entities []facet.Entity, budget time.Duration, earlier bool) lookup.Answer
	// Ready reports whether the store answers.
	Ready(ctx context.Context) error
}

// Switches gives what operators have switched, blocked and released. Calls may overlap.
type Switches interface{ Active() *switches.Active }

// Policies gives the policies in force, which may be others with each call. Calls may
// overlap.
type Policies interface{ Current() *policy.Set }

// Dependencies are what a gate is wired to.
type Dependencies struct {
	Risk       Risk
	Policies   Policies
	Shares     policy.Shares
	Switches   Switches              // nil: nothing is switched
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
	Event    *event.Event // all that is known of it, tenant, route and entities included; nil: only those

	// These describe what is not in Entities as it was given.
	Missing   bool // an entity could not be one, and was left out
	Shortened bool // one has the key that ingest made of it
}

// Reason is a rule that contributes to a score.
type Reason struct {
	Rule     string      `json:"rule"`
	Reason   string      `json:"reason"`
	Category string      `json:"category"`
	Weight   int         `json:"weight"` // points it is worth now
	Lowers   bool        `json:"lowers,omitempty"`
	Phase    rules.Phase `json:"phase"`
	Entity   string      `json:"entity"` // kind
}

// Decision is the answer to a request.
type Decision struct {
	ID            string         `json:"decision_id"`
	Action        policy.Action  `json:"action"`
	Score         int            `json:"score"`            // of rules that may act, 0 … 100
	ObservedScore int            `json:"observed_score"`   // of all rules, as if each might act
	Level         policy.Level   `json:"level"`            // of the score
	Categories    map[string]int `json:"categories"`       // scores of rules that may act
	Reasons       []Reason       `json:"reasons"`          // the heaviest first, those of observed rules too; behind them those that lower
	Switch        string         `json:"switch,omitempty"` // kill switch, block or release that decided before the policy
	Policy        string         `json:"policy"`           // that decided
	PolicyVersion string         `json:"policy_version"`   // of the file of policies
	Mode          rules.Phase    `json:"mode"`             // how far the gate and the policy may go
	Would         policy.Action  `json:"would"`            // the action if mode were enforce
	Degraded      bool           `json:"degraded"`         // made without all that should be known
	DegradedBy    string         `json:"degraded_by,omitempty"`
	LastKnownGood bool           `json:"last_known_good,omitempty"` // by what was known earlier
	RetryAfter    int            `json:"retry_after_s,omitempty"`
	ExpiresAt     time.Time      `json:"expires_at"` // until when a gateway may act on it
}

// maxReasons limits the reasons of a decision.
const maxReasons = 5

// Decide always has an answer: where risk cannot be looked up, it is the one that the
// policy wants for it.
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
		d.Degraded, d.DegradedBy = true, lookup.Partial // said, though all is known
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
