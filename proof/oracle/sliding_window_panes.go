package oracle

import (
	"encoding/binary"
	"maps"
	"math/big"
	"math/bits"
	"slices"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// panes is a window whose events are summed in panes, or the sessions of an entity,
// as described in docs/detectors/sliding_window.md. It keeps the events of each
// pane.
type panes struct {
	rule   *detectors.SlidingWindow
	hasher facet.Hasher
	whole  bool // without bounds

	list      []*pane // in order of time
	forgotten int     // panes dropped because a bound was reached
	said      said
}

// pane is an interval of event time.
type pane struct{ events []*seen }

func (p *pane) first() int64 {
	return slices.MinFunc(p.events, func(a, b *seen) int { return int(a.time - b.time) }).time
}

func (p *pane) last() int64 {
	return slices.MaxFunc(p.events, func(a, b *seen) int { return int(a.time - b.time) }).time
}

func (w *panes) change(r *detectors.SlidingWindow) { w.rule = r }
func (w *panes) forgot() int                       { return w.forgotten }

func (w *panes) forget(until int64) {
	w.list = slices.DeleteFunc(w.list, func(p *pane) bool { return p.first() <= until })
}

func (w *panes) reach() int64 { return (w.rule.Window + w.rule.Gap).Milliseconds() }

func (w *panes) take(a arrival, counted bool) *firing {
	s := &seen{time: a.time, counted: counted}
	switch r := w.rule; {
	case r.Distinct != event.None:
		s.value = w.hash(a.event)
	case r.Sum != event.None:
		s.value = uint64(a.event.Num(r.Sum))
	case r.Percentile != event.None:
		s.value = uint64(a.event.Num(r.Percentile))
	}
	changed := w.put(s)
	if len(w.pane(s).events) == 1 && a.watermark != facet.NoWatermark {
		closed := a.watermark - a.lateness - w.reach()
		w.list = slices.DeleteFunc(w.list, func(p *pane) bool { return p.last() <= closed })
	}
	if w.rule.Gap > 0 && w.unite(s) {
		changed = true
	}
	w.bound()
	if w.pane(s) == nil || !counted {
		return nil
	}
	if again := w.said.tier != nil && a.time-w.said.at >= w.rule.Cooldown.Milliseconds(); !changed && !again {
		return nil
	}
	return w.said.hold(w.rule, a.time, w.best(slices.Index(w.list, w.pane(s))))
}

// pane returns the pane that contains an event; nil if it is forgotten.
func (w *panes) pane(s *seen) *pane {
	for _, p := range w.list {
		if slices.Contains(p.events, s) {
			return p
		}
	}
	return nil
}

// hash identifies a value by 32 bits.
func (w *panes) hash(e *event.Event) uint64 {
	d := w.rule.Distinct
	if d.Kind().Numeric() {
		return w.hasher.Text(string(binary.LittleEndian.AppendUint64(nil, uint64(e.Num(d))))) & 0xFFFFFFFF
	}
	return w.hasher.Text(e.Text(d)) & 0xFFFFFFFF
}

// put adds the event to its pane: the one around it, or else a neighbour in the same
// slice or session, preferably the later one, or else a new pane. It reports whether
// the pane's summary has changed.
func (w *panes) put(s *seen) (changed bool) {
	var before, after *pane
	for _, p := range w.list {
		switch {
		case p.first() <= s.time && s.time <= p.last():
			return w.add(p, s)
		case p.last() < s.time:
			before = p
		case after == nil:
			after = p
		}
	}
	switch {
	case after != nil && w.together(s.time, after.first()):
		return w.add(after, s)
	case before != nil && w.together(before.last(), s.time):
		return w.add(before, s)
	}
	w.list = append(w.list, &pane{events: []*seen{s}})
	slices.SortFunc(w.list, func(a, b *pane) int { return int(a.first() - b.first()) })
	return true
}

// add adds an event to a pane. A distinct value that is already present changes
// nothing. Neither does one that raises no register, if the pane has registers.
func (w *panes) add(p *pane, s *seen) (changed bool) {
	before, _ := p.values()
	p.events = append(p.events, s)
	after, listed := p.values()
	if w.rule.Distinct == event.None || listed || len(before) == 127 && len(after) == 128 {
		return w.rule.Distinct == event.None || len(after) > len(before)
	}
	return !maps.Equal(registers(before), registers(after))
}

// values returns the distinct values of a pane, and whether they are listed.
func (p *pane) values() (all map[uint64]bool, listed bool) {
	all = map[uint64]bool{}
	for _, s := range p.events {
		all[s.value] = true
	}
	return all, len(all) <= 127
}

// together reports whether two times belong to one slice of time, or to one session.
func (w *panes) together(earlier, later int64) bool {
	if w.rule.Gap > 0 {
		return later-earlier < w.reach()
	}
	return earlier/w.slice() == later/w.slice()
}

// slice returns the greatest power of two, in ms, of which a window has at least 32,
// or 8 if panes take much room.
func (w *panes) slice() int64 {
	least := int64(32)
	if w.rule.Distinct != event.None || w.rule.Percentile != event.None {
		least = 8
	}
	n := int64(1)
	for 2*n*least <= w.reach() {
		n *= 2
	}
	return n
}

// unite merges the event's session with those less than the gap away; it reports
// whether there are any.
func (w *panes) unite(s *seen) (united bool) {
	for i := 1; i < len(w.list); i++ {
		a, b := w.list[i-1], w.list[i]
		if (slices.Contains(a.events, s) || slices.Contains(b.events, s)) && w.together(a.last(), b.first()) {
			a.events = append(a.events, b.events...)
			w.list = slices.Delete(w.list, i, i+1)
			i, united = 0, true
		}
	}
	return united
}

// bound drops the oldest panes.
func (w *panes) bound() {
	if w.whole {
		return
	}
	most := 128
	switch {
	case w.rule.Gap > 0:
		most = 8
	case w.rule.Percentile != event.None:
		most = 32
	case w.rule.Distinct != event.None:
		most = 24
	}
	n, buckets := 0, 0
	for i := len(w.list) - 1; i >= 0; i-- {
		if w.rule.Percentile != event.None {
			own := map[int64]bool{}
			for _, s := range w.list[i].events {
				own[rounded(s.value)] = true
			}
			buckets += len(own)
		}
		if n++; n > most || buckets > 1024 {
			w.forgotten += i + 1
			w.list = w.list[i+1:]
			return
		}
	}
}

// best returns the firing of the highest tier that any window with a pane reaches,
// the window that ends first among equals.
func (w *panes) best(own int) (best *firing) {
	for end := own; end < len(w.list); end++ {
		var in []*pane
		for _, p := range w.list[:end+1] {
			if p.first() > w.list[end].last()-w.reach() {
				in = append(in, p)
			}
		}
		if w.rule.Gap > 0 {
			if in = w.list[end : end+1]; end > own {
				break
			}
		}
		if !slices.Contains(in, w.list[own]) {
			continue
		}
		if f := w.reached(in); f != nil && (best == nil || f.tier > best.tier) {
			best = f
		}
	}
	return best
}

// reached evaluates a window.
func (w *panes) reached(in []*pane) (f *firing) {
	var counted, others, sum int64
	var values []uint64
	for _, p := range in {
		for _, s := range p.events {
			if !s.counted {
				others++
				continue
			}
			counted++
			sum += int64(s.value)
			values = append(values, s.value)
		}
	}
	matching := counted + others
	share, r := 100*counted/matching, w.rule
	if 100*counted < int64(r.MinShare)*matching || matching < int64(r.MinEvents) {
		return nil
	}
	name, measured := "count", counted
	more := []facet.Evidence{facet.Number("matching", matching), facet.Number("share_percent", share)}
	switch {
	case r.Share:
		name, measured, more = "share_percent", share, more[:1]
	case r.Sum != event.None:
		name, measured = "sum", sum
	case r.Distinct != event.None:
		name, measured, more = "distinct", distinct(in), nil
	case r.Percentile != event.None:
		slices.Sort(values)
		rank := (len(values)*r.P + 99) / 100
		name, measured = "percentile", rounded(values[rank-1])
		more = []facet.Evidence{facet.Number("p", int64(r.P)), facet.Number("matching", matching)}
	}
	span := "window_ms"
	if r.Gap > 0 {
		span = "session_gap_ms"
	}
	more = append(more, facet.Number(span, w.reach()), facet.Number("first_ms", in[0].first()), facet.Number("last_ms", in[len(in)-1].last()))
	for i, tier := range r.Tiers {
		if measured >= int64(tier.At) {
			f = &firing{tier: i, weight: tier.Weight, evidence: append([]facet.Evidence{facet.Number(name, measured), facet.Number("threshold", int64(tier.At))}, more...)}
		}
	}
	return f
}

// rounded returns a value with only its five highest bits.
func rounded(v uint64) int64 {
	low := max(bits.Len64(v)-5, 0)
	return int64(v >> low << low)
}

// distinct returns the number of distinct values: exact if no pane has more than
// 127.
func distinct(in []*pane) int64 {
	all, exact := map[uint64]bool{}, true
	for _, p := range in {
		own, listed := p.values()
		maps.Copy(all, own)
		exact = exact && listed
	}
	if exact {
		return int64(len(all))
	}
	return estimated(registers(all))
}

// registers returns the greatest rank of the values in each register.
func registers(values map[uint64]bool) map[uint64]int {
	ranks := map[uint64]int{} // by register: the upper ten bits
	for v := range values {
		rank := 1
		for bit := 21; bit >= 0 && v>>bit&1 == 0; bit-- {
			rank++
		}
		ranks[v>>22] = max(ranks[v>>22], rank)
	}
	return ranks
}

// estimated computes the estimator from the documentation, in units of 2⁻³²,
// rounding each step down.
func estimated(ranks map[uint64]int) int64 {
	one := new(big.Int).Lsh(big.NewInt(1), 32)
	z := new(big.Int)
	for _, rank := range ranks {
		z.Add(z, new(big.Int).Rsh(one, uint(rank)))
	}
	empty := new(big.Int).Rsh(new(big.Int).Mul(one, big.NewInt(int64(1024-len(ranks)))), 10)
	sigma, x := new(big.Int).Set(empty), empty
	for k := uint(0); x.Sign() > 0; k++ {
		x = new(big.Int).Rsh(new(big.Int).Mul(x, x), 32)
		sigma.Add(sigma, new(big.Int).Lsh(x, k))
	}
	z.Add(z, new(big.Int).Lsh(sigma, 10))
	return new(big.Int).Div(big.NewInt(3248660424278399), z).Int64()
}
