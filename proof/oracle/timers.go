package oracle

import (
	"cmp"
	"math"
	"slices"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// timer is a rule's timer for an entity.
type timer struct {
	of     counter
	sum    uint64 // hash of the entity
	slot   uint32 // of the rule
	due    int64  // Unix ms
	source int32  // of the event that set it
	offset int64
}

// agenda lists timers in the order in which they are called: the earliest first, and
// those of one moment by entity and rule.
type agenda []*timer

func (a agenda) find(t *timer) (at int, found bool) {
	return slices.BinarySearchFunc(a, t, func(a, b *timer) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.sum, b.sum), cmp.Compare(a.slot, b.slot))
	})
}

// setTimer sets a rule's timer for an entity, in place of the one that it has.
func (o *Oracle) setTimer(t *timer) {
	o.stopTimer(t.of)
	at, _ := o.agenda.find(t)
	o.agenda = slices.Insert(o.agenda, at, t)
	o.timers[t.of] = t
}

// stopTimer removes a rule's timer for an entity, if it has one.
func (o *Oracle) stopTimer(c counter) {
	if t := o.timers[c]; t != nil {
		at, _ := o.agenda.find(t)
		o.agenda = slices.Delete(o.agenda, at, at+1)
		delete(o.timers, c)
	}
}

// due returns when a rule's timer for an entity is due; 0 if it has none.
func (o *Oracle) due(c counter) int64 {
	if t := o.timers[c]; t != nil {
		return t.due
	}
	return 0
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
	case ahead == 0 || due == o.due(c):
	case due == 0:
		o.stopTimer(c)
	default:
		o.setTimer(&timer{c, o.hasher.Sum(c.entity), r.Slot, min(max(due, a.time+1), a.time+ahead), a.source, a.offset})
	}
}

// awaited reports whether some rule has a timer for the entity.
func (o *Oracle) awaited(e facet.Entity) bool {
	return slices.ContainsFunc(o.set.Rules, func(r *rules.Rule) bool { return o.timers[counter{e, r.ID}] != nil })
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
	for ; (end || o.called < 4096) && len(o.agenda) > 0 && o.agenda[0].due <= until; o.called++ {
		t := o.agenda[0]
		c, r, again := t.of, o.set.Rule(t.of.rule), int64(0)
		o.stopTimer(c)
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
