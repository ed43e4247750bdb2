// Package gate decides what a gateway should do with a request, by the risk of its
// entities.
//
// It answers within a fixed time even if the store of scores is down, and then
// reports that. It counts no requests itself, and keeps no state between decisions.
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

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// RiskReader looks up scores. Calls may overlap.
type RiskReader interface {
	// Get returns one value per entity, in order, the zero value for unknown ones.
	// It returns soon after ctx ends. Values that come with an error are good;
	// those of entities with an invalid stored value are zero.
	Get(ctx context.Context, entities []facet.Entity) ([]score.Value, error)
	// Ready reports whether the store answers.
	Ready(ctx context.Context) error
}

// Dependencies are the connections of a gate.
type Dependencies struct {
	Reader     RiskReader
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: time.Now
}

// Gate makes decisions.
type Gate struct {
	cfg     Config
	reader  RiskReader
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics

	phase        rules.Phase
	closedAction Action
	closed       map[string]bool // routes
	lookups      chan struct{}   // one taken for each look-up under way
	breaker      breaker
}

// New checks cfg and starts nothing.
func New(cfg Config, deps Dependencies) (*Gate, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Reader == nil {
		return nil, errors.New("gate: no reader of scores")
	}
	g := &Gate{cfg: cfg, reader: deps.Reader, log: deps.Logger, now: deps.Now}
	if g.now == nil {
		g.now = time.Now
	}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	g.phase, _ = rules.ParsePhase(cfg.Phase)          // validated
	g.closedAction, _ = ParseAction(cfg.ClosedAction) // validated
	g.closed = map[string]bool{}
	for _, r := range cfg.ClosedRoutes {
		g.closed[r] = true
	}
	g.lookups = make(chan struct{}, cfg.MaxLookups)
	g.breaker = breaker{failures: cfg.BreakerFailures, pause: cfg.BreakerPause, now: g.now}
	g.metrics = newMetrics(deps.Registerer, g.breaker.open)
	return g, nil
}

// Request is a gateway's request for a decision.
type Request struct {
	Tenant   string
	Route    string // as a template, such as /users/{id}
	Entities []facet.Entity

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
	Action        Action         `json:"action"`
	Score         int            `json:"score"`          // of rules that may act, 0 … 100
	ObservedScore int            `json:"observed_score"` // of all rules, as if each might act
	Level         Level          `json:"level"`          // of the score
	Categories    map[string]int `json:"categories"`     // scores of rules that may act
	Reasons       []Reason       `json:"reasons"`        // the heaviest first, those of observed rules too; behind them those that lower
	Mode          rules.Phase    `json:"mode"`           // how far this gate may go
	Would         Action         `json:"would"`          // the action if mode were enforce
	Degraded      bool           `json:"degraded"`       // made without all that should be known
	DegradedBy    string         `json:"degraded_by,omitempty"`
	RetryAfter    int            `json:"retry_after_s,omitempty"`
	ExpiresAt     time.Time      `json:"expires_at"` // until when a gateway may act on it
}

// maxReasons limits the reasons of a decision.
const maxReasons = 5

// Decide always returns a decision: if risk cannot be looked up, it is the
// configured one for the route.
func (g *Gate) Decide(ctx context.Context, req Request) Decision {
	start := time.Now()
	values, trouble := g.lookup(ctx, req.Entities)
	if trouble == "" && req.Missing {
		trouble = troublePartial
	}
	now := g.now()
	var r risk
	for i := range values {
		r.add(values[i].Contributions, now.UnixMilli())
	}
	d := Decision{
		ID: uuid.NewString(), Score: r.acting.Total.Points(), ObservedScore: r.all.Total.Points(), Categories: points(&r.acting),
		Reasons: reasonsOf(req.Entities, values, now.UnixMilli(), maxReasons), Mode: g.phase, Would: g.cfg.Policy.decide(&r),
		ExpiresAt: now.Add(g.cfg.CacheFor).UTC().Truncate(time.Millisecond),
	}
	d.Level = g.cfg.Policy.level(d.Score)
	if trouble != "" {
		d.Degraded, d.DegradedBy = true, trouble
		d.Would = max(d.Would, g.unknown(req.Route))
	} else if req.Shortened {
		d.Degraded, d.DegradedBy = true, troublePartial // said, though all is known
	}
	d.Action = min(d.Would, limit(g.phase))
	if d.Action == Throttle {
		d.RetryAfter = int(g.cfg.RetryAfter / time.Second)
	}
	g.metrics.decided(&d, time.Since(start))
	return d
}

// unknown returns the action if risk could not be looked up.
func (g *Gate) unknown(route string) Action {
	if g.cfg.OnUnknown == "closed" || g.closed[route] {
		return g.closedAction
	}
	return Allow
}

// Ready reports whether the store of scores answers. A gate that is not ready still
// decides.
func (g *Gate) Ready(ctx context.Context) error { return g.reader.Ready(ctx) }

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
