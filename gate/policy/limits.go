package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/quota"
	"github.com/weirdev/weir/rules"
)

// Bounds on the limits of a file.
const (
	mostLimits = 32
	mostPer    = 4

	leastWindow = time.Second
	mostWindow  = 24 * time.Hour
)

// RateLimit allows a number of requests in any window of time, for each combination
// of entities.
type RateLimit struct {
	ID    string
	Title string
	Line  int // in the file

	When   condition.Predicate // nil: every request
	Per    []facet.Kind        // a request without one of them is not limited
	Most   int                 // requests in any window
	Window time.Duration       // whole seconds
	Action Action              // for requests beyond the most; at least Throttle
	All    bool                // requests that are refused count, too
	Phase  rules.Phase         // limits the action; Observe: the limit only counts
}

// Refuses reports whether exceeding the limit refuses a request, where phase limits
// what is done.
func (l *RateLimit) Refuses(phase rules.Phase) bool { return l.action(phase) >= Throttle }

func (l *RateLimit) action(phase rules.Phase) Action {
	return min(l.Action, Limit(min(l.Phase, phase)))
}

// Applied is a limit that applies to a request.
type Applied struct {
	*RateLimit
	Entities []facet.Entity // one for each kind in Per
}

// LimitsFor returns the limits that apply to a request, in the order of the file.
func (s *Set) LimitsFor(r Request) (all []Applied) {
	for i := range s.Limits {
		l := &s.Limits[i]
		if l.When != nil && !l.When(r.Event) {
			continue
		}
		if entities, ok := r.entities(l.Per); ok {
			all = append(all, Applied{l, entities})
		}
	}
	return all
}

// entities returns those of some kinds; ok is false if one is missing.
func (r *Request) entities(kinds []facet.Kind) (all []facet.Entity, ok bool) {
	all = make([]facet.Entity, 0, len(kinds))
	for _, k := range kinds {
		e, ok := r.entity(k)
		if !ok {
			return nil, false
		}
		all = append(all, e)
	}
	return all, true
}

func (r *Request) entity(k facet.Kind) (facet.Entity, bool) {
	for _, e := range r.Entities {
		if e.Kind == k {
			return e, true
		}
	}
	if k == facet.Route || k == facet.Tenant { // every request has them, named as entities or not
		return facet.EntityOf(k, r.Event, nil)
	}
	return facet.Entity{}, false
}

// Exceed adds to the outcome that the request exceeds a limit.
func (o *Outcome) Exceed(l *RateLimit) {
	o.Would = max(o.Would, l.action(rules.Enforce))
	o.Action = min(o.Would, Limit(o.Phase))
	if a := l.action(o.Phase); a >= Throttle && a > o.limit {
		o.LimitedBy, o.limit = l.ID, a
	}
}

func limitKey() rules.Key {
	return rules.ObjectKey("", rules.Required, "one limit",
		rules.NamedKey("id", rules.NamePattern, "names the limit in decisions, metrics and headers; with another id, counting begins anew"),
		rules.TextKey("title", rules.Optional, 120, "what the limit is for, in a few words"),
		rules.ConditionKey("when", rules.Optional, "which requests it is for; default: all"),
		rules.ListKey("per", rules.Required, 1, mostPer, "whose requests are counted: each combination of entities of these kinds (those of share.of) by itself; a request without one of them is not limited", rules.ChoiceKey("per", rules.Required, kinds(), "kind of entity")),
		rules.CountKey("most", rules.Required, 1, quota.MostRequests, "how many requests any window may have"),
		rules.DurationKey("window", rules.Required, leastWindow, mostWindow, "length of the window, whole seconds"),
		rules.ChoiceKey("action", rules.Optional, limitActions(), "what happens to requests beyond it; throttle where it is absent"),
		rules.ChoiceKey("counts", rules.Optional, []string{countAdmitted, countAll}, "which requests count: admitted (where it is absent), or all: then a client that goes on sending stays limited until it pauses"),
		rules.ChoiceKey("phase", rules.Optional, phases(), "how far it may go: observe (it counts, and refuses nothing), soft (at most step_up) or enforce, which is so where it is absent"),
	)
}

// Which requests count.
const (
	countAdmitted = "admitted"
	countAll      = "all"
)

func limitActions() (all []string) {
	for _, a := range Actions()[Throttle:] {
		all = append(all, a.String())
	}
	return all
}

func (l *loader) limit(in *rules.Params) {
	r := RateLimit{
		ID: in.Text("id"), Title: in.Text("title"), Line: in.Line(), Most: in.Int("most"), Window: in.Duration("window"),
		Action: action(in, "action", Throttle), All: in.Text("counts") == countAll, Phase: rules.Enforce,
	}
	if c := in.Condition("when"); c != nil {
		r.When = c.Holds
	}
	for _, name := range in.Texts("per") {
		k, ok := facet.ParseKind(name)
		switch {
		case !ok: // reported by the grammar
		case slices.Contains(r.Per, k):
			in.Problem("per", fmt.Sprintf("%s is named twice", name), "name it once")
		default:
			r.Per = append(r.Per, k)
		}
	}
	if in.Has("phase") {
		r.Phase, _ = rules.ParsePhase(in.Text("phase")) // checked by the grammar
	}
	if r.Window%time.Second != 0 {
		in.Problem("window", "clients are told whole seconds", "leave the milliseconds out")
	}
	if first, taken := l.limits[r.ID]; taken {
		in.Problem("id", fmt.Sprintf("another limit has the id %q", r.ID), fmt.Sprintf("rename one of the two; the first is in line %d", first))
	}
	if r.ID != "" {
		l.limits[r.ID] = in.LineOf("id")
	}
	l.set.Limits = append(l.set.Limits, r)
}
