package gate

import (
	"context"
	"errors"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// Why risk is unknown or incomplete: a closed set, in answers and as metric labels.
const (
	troubleTimeout  = "timeout"      // not within the budget
	troubleError    = "error"        // the store refused or cannot be reached
	troublePartial  = "partial"      // some of the scores were unreadable, or some of the entities none
	troubleBreaker  = "breaker_open" // not asked: the store failed just now
	troubleBusy     = "busy"         // not asked: too many look-ups are under way
	troubleCanceled = "canceled"     // whoever asked went away
)

var troubles = []string{troubleTimeout, troubleError, troublePartial, troubleBreaker, troubleBusy, troubleCanceled}

// lookup asks the store, within the budget. trouble says why the answer is
// missing or incomplete, "" where it is whole.
func (g *Gate) lookup(ctx context.Context, entities []facet.Entity, budget time.Duration) (values []score.Value, trouble string) {
	if len(entities) == 0 {
		return nil, ""
	}
	select {
	case g.lookups <- struct{}{}:
		defer func() { <-g.lookups }()
	default:
		g.metrics.lookupErrors[troubleBusy].Inc()
		return nil, troubleBusy
	}
	if !g.breaker.allow() {
		g.metrics.lookupErrors[troubleBreaker].Inc()
		return nil, troubleBreaker
	}
	values, trouble, result := g.ask(ctx, entities, budget)
	g.breaker.done(result)
	if trouble != "" {
		g.metrics.lookupErrors[trouble].Inc()
	}
	return values, trouble
}

func (g *Gate) ask(parent context.Context, entities []facet.Entity, budget time.Duration) ([]score.Value, string, outcome) {
	ctx, cancel := context.WithTimeout(parent, budget)
	defer cancel()
	values, err := g.reader.Get(ctx, entities)
	whole := len(values) == len(entities)
	switch {
	case err == nil && whole:
		return values, "", succeeded
	case err != nil && whole:
		g.log.Debug("some of what is stored is no score", "error", err) // the reader counts it, and raises the alarm
		return values, troublePartial, succeeded
	case parent.Err() != nil && !errors.Is(parent.Err(), context.DeadlineExceeded):
		return nil, troubleCanceled, abandoned
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		return nil, troubleTimeout, failed
	}
	g.log.Debug("risk could not be looked up", "error", err)
	return nil, troubleError, failed
}
