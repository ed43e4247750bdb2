package gate

import (
	"context"
	"time"

	"github.com/weirdev/weir/gate/limits"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/quota"
	"github.com/weirdev/weir/rules"
)

// Limit is the state of a limit after the request.
type Limit struct {
	ID        string      `json:"id"`
	Quota     int         `json:"quota"`              // requests that any window may have
	Window    int         `json:"window_s"`           // seconds
	Remaining int         `json:"remaining"`          // requests that still fit
	Reset     int         `json:"reset_s"`            // seconds until one more fits, rounded up
	Exceeded  bool        `json:"exceeded,omitempty"` // the request did not fit
	Phase     rules.Phase `json:"phase"`              // how far the limit may go; observe: clients should not be told of it
}

// counting is a request that is being counted.
type counting struct {
	gate    *Gate
	limits  []policy.Applied
	phase   rules.Phase     // that of policy and gate
	request *limits.Request // nil: no limit applies
}

// count begins to count a request against the limits that apply. What operators set
// by hand goes before them: then nothing is counted.
func (g *Gate) count(applied []policy.Applied, p *policy.Policy, req *Request, a *switches.Active) counting {
	c := counting{gate: g, limits: applied, phase: min(p.Phase, g.phase)}
	if g.limits == nil || len(applied) == 0 || decidedByHand(req, a) {
		return c
	}
	counters := make([]quota.Counter, len(applied))
	for i, l := range applied {
		counters[i] = quota.Counter{ID: l.ID, Entities: l.Entities, Most: l.Most, Window: l.Window, Refuses: l.Refuses(c.phase), All: l.All}
	}
	c.request = g.limits.Start(counters, p.Budget)
	return c
}

// decidedByHand reports whether a switch, a block or a release decides on a request.
func decidedByHand(req *Request, a *switches.Active) bool {
	if a == nil {
		return false
	}
	if a.Off(req.Tenant, req.Route) != "" {
		return true
	}
	_, _, found := a.By(req.Entities)
	return found
}

// limited is what limits say of a request.
type limited struct {
	limits   []Limit
	exceeded []*policy.RateLimit
	trouble  string        // why limits that refuse requests know the counts of this gate alone; "" if they do not
	reset    time.Duration // until the request would fit into all limits that refuse it
}

// wait waits for the counts.
func (c *counting) wait(ctx context.Context) (l limited) {
	if c.request == nil {
		return l
	}
	answer := c.request.Wait(ctx)
	l.limits = make([]Limit, len(c.limits))
	for i, one := range c.limits {
		count, phase := answer.Counts[i], min(one.Phase, c.phase)
		l.limits[i] = Limit{
			ID: one.ID, Quota: one.Most, Window: seconds(one.Window),
			Remaining: count.Remaining, Reset: seconds(count.Reset), Exceeded: count.Exceeded, Phase: phase,
		}
		refuses := one.Refuses(c.phase)
		if refuses {
			l.trouble = answer.Trouble
		}
		if !count.Exceeded {
			continue
		}
		l.exceeded = append(l.exceeded, one.RateLimit)
		c.gate.metrics.limited.WithLabelValues(one.ID, phase.String()).Inc()
		if refuses {
			l.reset = max(l.reset, count.Reset)
		}
	}
	return l
}

// apply adds the exceeded limits to an outcome.
func (l *limited) apply(o *policy.Outcome) {
	for _, one := range l.exceeded {
		o.Exceed(one)
	}
}

// retryAfter returns the seconds that a throttled client is told to wait. ofScore is
// the action without limits.
func (l *limited) retryAfter(p *policy.Policy, ofScore policy.Action) int {
	if l.reset == 0 {
		return seconds(p.RetryAfter)
	}
	if ofScore == policy.Throttle {
		return seconds(max(p.RetryAfter, l.reset))
	}
	return seconds(l.reset)
}

// seconds rounds up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
