package oracle

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// seen is an event that a rule was shown.
type seen struct {
	time    int64
	value   uint64 // of the distinct field; 0 if events are counted
	counted bool
}

// window is the state of one rule for one entity, as described in
// docs/detectors/sliding_window.md.
type window struct {
	rule   *detectors.SlidingWindow
	hasher facet.Hasher
	whole  bool // neither thinned nor bounded

	seen      []*seen // in order of time; those of the same time in order of arrival
	forgotten int     // events dropped because a bound was reached
	said      said
}

// change continues with other parameters. Events that exceed their bound are dropped
// at once.
func (w *window) change(r *detectors.SlidingWindow) {
	w.rule = r
	for ; !w.whole && len(w.seen) > w.most(); w.forgotten++ {
		w.seen = w.seen[1:]
	}
}

// most returns the number of events remembered.
func (w *window) most() int {
	return min(max(4*w.rule.Tiers[len(w.rule.Tiers)-1].At, 16), 4096)
}

func (w *window) forgot() int { return w.forgotten }

func (w *window) forget(until int64) {
	w.seen = slices.DeleteFunc(w.seen, func(s *seen) bool { return s.time <= until })
}

func (w *window) take(a arrival, counted bool) *firing {
	s := &seen{time: a.time, counted: counted}
	if d := w.rule.Distinct; d != event.None {
		s.value = w.number(a.event, d)
	}
	if a.watermark != facet.NoWatermark {
		closed := a.watermark - a.lateness - w.rule.Window.Milliseconds()
		w.seen = slices.DeleteFunc(w.seen, func(old *seen) bool { return old.time <= closed })
	}
	if !w.remember(s) || !s.counted {
		return nil
	}
	return w.fire(a.time, w.best(a.time))
}

// number identifies a value by 31 bits of its keyed hash.
func (w *window) number(e *event.Event, d event.Field) uint64 {
	if d.Kind().Numeric() {
		return w.hasher.Text(string(binary.LittleEndian.AppendUint64(nil, uint64(e.Num(d))))) >> 1 & math.MaxInt32
	}
	return w.hasher.Text(e.Text(d)) >> 1 & math.MaxInt32
}

// remember stores the event, and forgets events according to the documentation. It
// returns false if the event itself is dropped because there is no room.
func (w *window) remember(s *seen) bool {
	at := len(w.seen)
	for at > 0 && w.seen[at-1].time > s.time {
		at--
	}
	w.seen = slices.Insert(w.seen, at, s)
	for newest := w.seen[len(w.seen)-1].time; newest-w.seen[0].time > math.MaxUint32; w.forgotten++ {
		w.seen = w.seen[1:]
	}
	if placed := w.seen[0].time <= s.time; w.whole || !placed {
		return placed
	}
	if w.rule.Distinct != event.None {
		w.thin(s)
	}
	for ; len(w.seen) > w.most(); w.forgotten++ {
		w.seen = w.seen[1:]
	}
	return w.seen[0].time <= s.time
}

// thin forgets occurrences of a value between two others that are less than the
// window apart: the one before the new one, then the one after it, then the new one
// itself.
func (w *window) thin(s *seen) {
	var same []*seen
	for _, o := range w.seen {
		if o.value == s.value && o.counted == s.counted {
			same = append(same, o)
		}
	}
	at := slices.Index(same, s)
	for _, o := range slices.Concat(same[max(at-1, 0):at], same[at+1:min(at+2, len(same))], []*seen{s}) {
		i := slices.Index(same, o)
		if i > 0 && i+1 < len(same) && same[i+1].time-same[i-1].time < w.rule.Window.Milliseconds() {
			same = slices.Delete(same, i, i+1)
			w.seen = slices.DeleteFunc(w.seen, func(old *seen) bool { return old == o })
		}
	}
}

// best returns the firing of the highest tier that any examined window reaches, the
// window that ends first among equals; nil if none does.
func (w *window) best(t int64) (best *firing) {
	for _, end := range w.ends(t) {
		if f := w.reached(end); f != nil && (best == nil || f.tier > best.tier) {
			best = f
		}
	}
	return best
}

// ends lists the ends of the windows that an event at t examines: at t, and at each
// later event that shares a window with it and whose value was new to its own
// window.
func (w *window) ends(t int64) []int64 {
	ends := []int64{t}
	for _, s := range w.seen {
		if s.counted && s.time > t && s.time < t+w.rule.Window.Milliseconds() && s.time != ends[len(ends)-1] && w.isNew(s) {
			ends = append(ends, s.time)
		}
	}
	return ends
}

func (w *window) isNew(s *seen) bool {
	if w.rule.Distinct == event.None {
		return true
	}
	return !slices.ContainsFunc(w.within(s.time), func(o *seen) bool {
		return o.counted && o.value == s.value && o.time < s.time
	})
}

// within returns the events in the window that ends at end: (end − window, end].
func (w *window) within(end int64) (in []*seen) {
	for _, s := range w.seen {
		if s.time > end-w.rule.Window.Milliseconds() && s.time <= end {
			in = append(in, s)
		}
	}
	return in
}

// reached evaluates the window that ends at end.
func (w *window) reached(end int64) (f *firing) {
	in, distinct := w.within(end), w.rule.Distinct != event.None
	counted, others, values := 0, 0, map[seen]bool{}
	for _, s := range in {
		v := seen{value: s.value, counted: s.counted}
		if distinct && values[v] {
			continue
		}
		values[v] = true
		if s.counted {
			counted++
		} else {
			others++
		}
	}
	matching := counted + others
	if matching == 0 || 100*counted < w.rule.MinShare*matching {
		return nil
	}
	name := "count"
	if distinct {
		name = "distinct"
	}
	for i, tier := range w.rule.Tiers {
		if counted >= tier.At {
			f = &firing{tier: i, weight: tier.Weight, evidence: []facet.Evidence{
				facet.Number(name, int64(counted)),
				facet.Number("threshold", int64(tier.At)), facet.Number("matching", int64(matching)),
				facet.Number("share_percent", int64(100*counted/matching)), facet.Number("window_ms", w.rule.Window.Milliseconds()),
				facet.Number("first_ms", in[0].time), facet.Number("last_ms", end),
			}}
		}
	}
	return f
}

func (w *window) fire(t int64, f *firing) *firing { return w.said.hold(w.rule, t, f) }

// said is the last firing.
type said struct {
	tier *detectors.Tier // as it was then; nil: none
	at   int64
}

// hold suppresses repetition: a tier that asks for no more, and weighs no more, than
// the one that fired last waits for the cooldown.
func (s *said) hold(rule *detectors.SlidingWindow, t int64, f *firing) *firing {
	if f == nil {
		return nil
	}
	tier := rule.Tiers[f.tier]
	if s.tier != nil && tier.At <= s.tier.At && tier.Weight <= s.tier.Weight && t-s.at < rule.Cooldown.Milliseconds() {
		return nil
	}
	s.tier, s.at = &tier, t
	return f
}
