package oracle

import (
	"math"
	"slices"
	"sort"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Forget makes the oracle forget entities when their time is up. Under one set of
// rules that makes no difference, so by default the oracle forgets none. But a
// longer window or half-life would remember events that a shorter one has dropped.
// Call Forget before the first record if the rules will change.
func (o *Oracle) Forget() { o.forgets = true }

// Change continues under other rules from the next record on, like an engine that
// was restored from a snapshot of this moment.
//
// Counts continue if id, entity and state are the same. A removed rule is forgotten,
// with its part of the scores. Once a switch record has set the rules, those of an
// owner do not matter.
func (o *Oracle) Change(set *rules.Set) {
	if o.switched[facet.Live] == 0 {
		o.change(set)
	}
}

// change returns the entities whose scores have changed, because a rule was removed
// or rates them differently.
func (o *Oracle) change(set *rules.Set) (changed []rescored) {
	was := o.set
	o.set = set
	for c, w := range o.counts {
		before, now := was.Rule(c.rule), set.Rule(c.rule)
		if now == nil || now.Slot != before.Slot {
			delete(o.counts, c)
			continue
		}
		w.change(now.Spec)
	}
	for c := range o.members {
		before, now := was.Rule(c.rule), set.Rule(c.rule)
		if now == nil || now.Members == nil || now.Entity != before.Entity || now.Members.Entity != before.Members.Entity {
			delete(o.members, c)
		}
	}
	o.changeCohorts(was, set)
	for c := range o.timers {
		before, now := was.Rule(c.rule), set.Rule(c.rule)
		if now == nil || now.Slot != before.Slot || now.Spec.Keeps().Ahead == 0 {
			o.stopTimer(c)
		}
	}
	for e, u := range o.scores {
		before := u.Contributions
		u.Contributions = under(before, was, set)
		o.scores[e] = u
		if !slices.Equal(before, u.Contributions) {
			changed = append(changed, rescored{e, o.lasts(before)})
		}
	}
	return changed
}

// under returns contributions as other rules rate them.
func under(list []score.Contribution, was, now *rules.Set) []score.Contribution {
	var kept []score.Contribution
	for _, c := range list {
		if r := now.Rule(c.Rule); r != nil && r.Slot == was.Rule(c.Rule).Slot {
			c.Category, c.Reason, c.Phase, c.HalfLife = r.Category, r.Reason, r.Phase, int64(r.HalfLife.Seconds())
			kept = append(kept, c)
		}
	}
	return kept
}

// touch keeps an entity in memory until the watermark reaches a moment, and the
// lateness after it. An entity whose time is up starts as a new one.
func (o *Oracle) touch(e facet.Entity, until int64) {
	if o.gone(e) {
		delete(o.until, e)
		delete(o.scores, e)
		delete(o.held, e)
		for c := range o.counts {
			if c.entity == e {
				delete(o.counts, c)
			}
		}
		for c := range o.members {
			if c.entity == e {
				delete(o.members, c)
			}
		}
	}
	o.keep(e, until)
}

func (o *Oracle) keep(e facet.Entity, until int64) {
	if old, ok := o.until[e]; !ok || old < until+o.lateness {
		o.until[e] = until + o.lateness
	}
}

func (o *Oracle) gone(e facet.Entity) bool {
	until, ok := o.until[e]
	return o.forgets && ok && until <= o.watermark && !o.awaited(e)
}

// horizon returns how far back the rules look that an event matches, ms: the event
// matters to one of them for that long.
func (o *Oracle) horizon(k facet.Kind, e *event.Event) (longest int64) {
	for _, r := range o.set.Rules {
		if r.Entity == k && r.Matches(e) {
			longest = max(longest, r.Spec.Keeps().Reach.Milliseconds())
		}
	}
	return longest
}

// lasts returns the moment after which nothing in list raises a score; 0 if nothing
// does.
func (o *Oracle) lasts(list []score.Contribution) int64 {
	raising := slices.DeleteFunc(slices.Clone(list), func(c score.Contribution) bool { return c.Lowers })
	return max(o.faded(raising), 0)
}

// faded returns the moment after which nothing in list is worth a point.
func (o *Oracle) faded(list []score.Contribution) int64 {
	at := int64(math.MinInt64)
	for _, c := range list {
		span := sort.Search(32*int(c.HalfLife)*1000, func(ms int) bool { return o.powers.worth(c, c.Time+int64(ms)) < point })
		at = max(at, c.Time+int64(span))
	}
	return at
}
