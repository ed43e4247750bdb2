package oracle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// habit is the state of one rule for the order in which one entity calls operations,
// as described in docs/detectors/sequence_anomaly.md.
type habit struct {
	rule *detectors.SequenceAnomaly

	began   bool // an event was seen
	seen    int64
	cohort  cohortName
	waiting []call

	last     *call // the last one processed
	decayed  int64
	all, odd int64 // transitions, and unlikely ones in 16ths
	worst    []oddity
	fired    *int64
	weight   uint8
}

// call is an event.
type call struct {
	time      int64
	operation string
}

// oddity is an unlikely transition.
type oddity struct {
	from, to string
	like, of int64
}

// customs are the transitions of a cohort.
type customs struct {
	all   int64
	known []string // operations
	from  map[string]int64
	like  map[[2]string]int64
}

// Operations that stand for something else.
const (
	theBeginning = "the beginning"
	anotherOne   = "another operation"
)

func (c *customs) place(operation string) string {
	if operation == theBeginning || slices.Contains(c.known, operation) {
		return operation
	}
	return anotherOne
}

func (c *customs) learn(from, to string) {
	c.all++
	c.like[[2]string{from, to}]++
	if c.from[from]++; c.from[from] < 20_000 {
		return
	}
	c.from[from] = 0
	for t := range c.like {
		if t[0] == from {
			c.like[t] /= 2
			c.from[from] += c.like[t]
		}
	}
}

func (h *habit) change(s rules.Spec) { h.rule = s.(*detectors.SequenceAnomaly) }

func (h *habit) arrive(a arrival) (*firing, bool) {
	if !a.event.Has(event.Route) {
		return nil, false
	}
	var c *cohort
	for _, f := range h.rule.By {
		if c == nil {
			c = a.cohort(f)
		}
	}
	if c == nil {
		return nil, false
	}
	if c.memory == nil {
		c.memory = &customs{from: map[string]int64{}, like: map[[2]string]int64{}}
	}
	reach := h.rule.Gap.Milliseconds() + 8*h.rule.HalfLife.Milliseconds()
	if h.began && a.watermark != facet.NoWatermark && h.seen <= a.watermark-a.lateness-reach {
		*h = habit{rule: h.rule, fired: h.fired, weight: h.weight}
	}
	if !h.began {
		h.began, h.seen = true, a.time
	}
	h.seen = max(h.seen, a.time)
	if h.cohort != c.name {
		*h = habit{rule: h.rule, began: true, seen: h.seen, cohort: c.name, decayed: h.decayed, fired: h.fired, weight: h.weight}
	}
	tier := -1
	if a.watermark != facet.NoWatermark {
		tier = h.take(a, a.watermark-a.lateness)
	}
	if len(h.waiting) == 32 {
		tier = max(tier, h.take(a, h.waiting[0].time))
	}
	f := h.fire(a, tier)
	if h.last == nil || a.time >= h.last.time {
		n := call{a.time, a.event.Text(event.Method) + " " + a.event.Text(event.Route)}
		if m := c.memory.(*customs); len(m.known) < 46 && !slices.Contains(m.known, n.operation) {
			m.known = append(m.known, n.operation)
		}
		h.waiting = append(h.waiting, n)
		slices.SortStableFunc(h.waiting, func(a, b call) int { return int(a.time - b.time) })
	}
	h.wait(a)
	return f, true
}

func (h *habit) due(a arrival) *firing {
	if !h.began {
		return nil
	}
	f := h.fire(a, h.take(a, a.time))
	h.wait(a)
	return f
}

// wait sets the timer to the time of the last waiting event.
func (h *habit) wait(a arrival) {
	if *a.timer = 0; len(h.waiting) > 0 {
		*a.timer = h.waiting[len(h.waiting)-1].time
	}
}

func (h *habit) customs(a arrival) *customs {
	c := a.recall(h.cohort)
	if c == nil || c.memory == nil {
		return nil
	}
	return c.memory.(*customs)
}

// take processes the waiting events up to a moment. It returns the highest tier that
// fires.
func (h *habit) take(a arrival, until int64) (tier int) {
	tier = -1
	if len(h.waiting) == 0 || h.waiting[0].time > until {
		return tier
	}
	m := h.customs(a)
	for len(h.waiting) > 0 && h.waiting[0].time <= until {
		c := h.waiting[0]
		h.waiting = h.waiting[1:]
		tier = max(tier, h.step(m, c))
		h.last = &c
	}
	return tier
}

func (h *habit) step(m *customs, c call) (tier int) {
	repeats := h.last != nil && c.time-h.last.time <= h.rule.Gap.Milliseconds() && c.operation == h.last.operation &&
		m != nil && slices.Contains(m.known, c.operation) && strings.HasPrefix(c.operation, "GET ")
	from := theBeginning
	if h.last != nil && c.time-h.last.time <= h.rule.Gap.Milliseconds() && m != nil {
		from = m.place(h.last.operation)
	}
	if h.last == nil {
		h.decayed = c.time
	}
	for c.time-h.decayed >= h.rule.HalfLife.Milliseconds() {
		h.decayed += h.rule.HalfLife.Milliseconds()
		h.all, h.odd = h.all/2, h.odd/2
		if h.odd == 0 {
			h.worst = nil
		}
	}
	tier = -1
	if m == nil {
		return tier
	}
	to := m.place(c.operation)
	if !repeats && m.all >= int64(h.rule.Learn) && m.from[from] >= int64(h.rule.Least) {
		h.compare(oddity{from, to, m.like[[2]string{from, to}], m.from[from]})
		tier = h.reached(c.time)
	}
	cooling := h.fired != nil && c.time-*h.fired < h.rule.Cooldown.Milliseconds()
	if tier < 0 && 2*h.odd < 16*int64(h.rule.Tiers[0].At) && !cooling {
		m.learn(from, to)
	}
	if tier >= 0 {
		h.fired, h.weight = &c.time, h.rule.Tiers[tier].Weight
	}
	return tier
}

func (h *habit) compare(o oddity) {
	h.all += 16
	if (o.like+1)*int64(h.rule.Odds) > o.of {
		return
	}
	h.odd += 16
	if slices.ContainsFunc(h.worst, func(w oddity) bool { return w.from == o.from && w.to == o.to }) {
		return
	}
	h.worst = append(h.worst, o)
	slices.SortStableFunc(h.worst, func(a, b oddity) int { return int((a.like+1)*b.of - (b.like+1)*a.of) })
	h.worst = h.worst[:min(len(h.worst), 3)]
}

// reached returns the highest tier whose conditions are met, if it may fire.
func (h *habit) reached(t int64) int {
	if 100*h.odd < int64(h.rule.MinShare)*h.all {
		return -1
	}
	for i, tier := range slices.Backward(h.rule.Tiers) {
		if h.odd >= 16*int64(tier.At) {
			if h.fired != nil && tier.Weight <= h.weight && t-*h.fired < h.rule.Cooldown.Milliseconds() {
				return -1
			}
			return i
		}
	}
	return -1
}

func (h *habit) fire(a arrival, tier int) *firing {
	if tier < 0 {
		return nil
	}
	f := &firing{tier: tier, weight: h.rule.Tiers[tier].Weight, evidence: []facet.Evidence{
		facet.Number("unlikely", h.odd/16), facet.Number("transitions", h.all/16),
	}}
	if h.customs(a) == nil {
		return f
	}
	short := func(operation string) string { return operation[:min(len(operation), 40)] }
	for i, w := range h.worst {
		f.evidence = append(f.evidence, facet.Text([]string{"least_likely", "second", "third"}[i], fmt.Sprintf("%s, then %s: %d in %d", short(w.from), short(w.to), w.like, w.of)))
	}
	return f
}
