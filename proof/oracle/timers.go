package oracle

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// timer is a rule's timer for an entity.
type timer struct {
	due    int64 // Unix ms
	source int32 // of the event that set it
	offset int64
}

// see records a source's statement of its time.
func (o *Oracle) see(watermark int64) {
	if watermark != math.MaxInt64 {
		o.latest = max(o.latest, watermark)
	}
}

// wait sets the rule's timer to the time that the model requests, after the event
// and within the limit.
func (o *Oracle) wait(c counter, r *rules.Rule, a arrival) {
	ahead := r.Spec.Keeps().Ahead.Milliseconds()
	switch due := *a.timer; {
	case ahead == 0 || due == o.timers[c].due:
	case due == 0:
		delete(o.timers, c)
	default:
		o.timers[c] = timer{min(max(due, a.time+1), a.time+ahead), a.source, a.offset}
	}
}

// awaited reports whether some rule has a timer for the entity.
func (o *Oracle) awaited(e facet.Entity) bool {
	for c := range o.timers {
		if c.entity == e {
			return true
		}
	}
	return false
}

// passTime calls the rules whose timers are due, the earliest first, when time has
// passed and at the end of a record. A timer is due once every event of that moment
// or before would be late; at the end, up to the latest time stated by any source.
// One record calls at most 4,096 timers, except at the end.
func (o *Oracle) passTime() (signals []score.Signal) {
	if o.watermark == facet.NoWatermark {
		return nil
	}
	until, end := o.watermark-o.lateness, o.watermark == math.MaxInt64
	if end {
		until = o.latest
	}
	for ; (end || o.called < 4096) && len(o.timers) > 0; o.called++ {
		c := slices.MinFunc(slices.Collect(maps.Keys(o.timers)), func(a, b counter) int {
			return cmp.Or(cmp.Compare(o.timers[a].due, o.timers[b].due),
				cmp.Compare(o.hasher.Sum(a.entity), o.hasher.Sum(b.entity)), cmp.Compare(o.set.Rule(a.rule).Slot, o.set.Rule(b.rule).Slot))
		})
		t, r, again := o.timers[c], o.set.Rule(c.rule), int64(0)
		if t.due > until {
			break
		}
		delete(o.timers, c)
		a := arrival{nil, t.source, t.offset, t.due, o.watermark, o.lateness, nil, &again, c.entity, o.recaller(r)}
		fired := o.counts[c].(timed).due(a)
		o.wait(c, r, a)
		if fired != nil {
			sig := o.found(c, r, a, fired)
			signals = append(signals, sig)
			if !o.worthless(contribution(sig)) {
				o.score(sig, slices.DeleteFunc(slices.Clone(o.scores[c.entity].Contributions), o.worthless))
			}
		}
		o.at.Index++
	}
	return signals
}

// beginTimers starts a record.
func (o *Oracle) beginTimers() {
	o.called = 0
	if o.watched != nil {
		o.watched.called = 0
	}
}

// watchTime is passTime for shadow rules. The indexes of their signals are counted
// separately.
func (o *Oracle) watchTime() {
	if w := o.watched; w != nil {
		w.at, w.watermark, w.latest = o.at, o.watermark, o.latest
		w.at.Index = 1<<30 + int32(w.called)
		o.shadow = append(o.shadow, w.passTime()...)
	}
}
