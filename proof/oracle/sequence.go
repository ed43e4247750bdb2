package oracle

import (
	"fmt"
	"math"
	"slices"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// procession is the state of one rule for one entity, as described in
// docs/detectors/sequence.md. It lists all sequences.
type procession struct {
	rule *detectors.Sequence

	began      bool
	known      int64  // nothing before it is known
	seen       int64  // time of the latest event
	deeds      []deed // in order of time; those of the same time in order of arrival
	fired      *int64
	judged     *int64
	counted    *int64
	met        int64 // time of the first event, if only known entities teach
	sequence   []int // the sequence under construction, as positions in deeds
	sequences  [][]int
	unbothered bool // absences are not checked
	others     *cohortName
}

// deed is an event that matches a step.
type deed struct {
	arrival
	value string       // of the fields in by
	holds map[int]bool // conditions that it meets
}

func (p *procession) change(s rules.Spec) {
	p.rule = s.(*detectors.Sequence)
	p.cut()
}

// cut forgets the oldest events that exceed the bound.
func (p *procession) cut() {
	for len(p.deeds) > p.rule.Events {
		p.forget(p.deeds[0])
		p.deeds = p.deeds[1:]
	}
}

func (p *procession) forget(d deed) { p.known = max(p.known, d.time+1) }

func (p *procession) reach() int64 {
	most := func(all []detectors.Absence) (ms int64) {
		for _, a := range all {
			ms = max(ms, a.Within.Milliseconds())
		}
		return ms
	}
	return most(p.rule.Before) + p.rule.Within.Milliseconds() + most(p.rule.After) + 1
}

// delay returns how long after its last event a sequence is complete.
func (p *procession) delay() (ms int64) {
	for _, a := range p.rule.After {
		ms = max(ms, a.Within.Milliseconds())
	}
	return ms + 1
}

// once returns the time in which the entity counts once among the others.
func (p *procession) once() int64 {
	most := p.rule.Within.Milliseconds()
	for _, a := range p.rule.Before {
		most = max(most, p.rule.Within.Milliseconds()+a.Within.Milliseconds())
	}
	return most
}

// waits reports whether something must be absent.
func (p *procession) waits() bool {
	between := slices.ContainsFunc(p.rule.Parts, func(part detectors.SequencePart) bool { return part.Absent != 0 })
	return between || len(p.rule.Before) > 0 || len(p.rule.After) > 0 || p.rule.Until != 0
}

// among reports whether an event may belong to a part.
func among(part detectors.SequencePart, holds map[int]bool) bool {
	return slices.ContainsFunc(part.Members, func(m detectors.SequenceMember) bool { return holds[m.Condition] })
}

func (p *procession) arrive(a arrival) (f *firing, counts bool) {
	n := deed{arrival: a, holds: map[int]bool{}}
	for i, c := range p.rule.Conditions {
		if c.Holds(a.event) {
			n.holds[i] = true
		}
	}
	for _, field := range p.rule.By {
		if !a.event.Has(field) {
			return nil, false
		}
		n.value += fmt.Sprintf("%q %d ", a.event.Text(field), a.event.Num(field))
	}
	if len(n.holds) == 0 && len(p.rule.Before) == 0 {
		return nil, false
	}
	counts = slices.ContainsFunc(p.rule.Parts, func(part detectors.SequencePart) bool { return among(part, n.holds) })
	p.pass(a)
	if len(n.holds) == 0 {
		return nil, counts
	}
	at := 0
	for at < len(p.deeds) && p.deeds[at].time <= a.time {
		at++
	}
	p.deeds = slices.Insert(p.deeds, at, n)
	if len(p.deeds) > p.rule.Events {
		p.cut()
		if at--; at < 0 {
			return nil, counts
		}
	}
	if among(p.rule.Parts[len(p.rule.Parts)-1], n.holds) {
		p.others = nil
		for _, by := range p.rule.UsualBy {
			if p.others != nil {
				break
			}
			if c := a.cohort(by); c != nil {
				if c.memory == nil {
					c.memory = &habits{}
				}
				c.say(c.memory.(*habits).level(p.rule))
				name := c.name
				p.others = &name
			}
		}
	}
	p.deeds[at].event = nil // invalid after this
	if p.waits() {
		p.wait(a)
		return nil, counts
	}
	p.find(false)
	return p.fire(a, habits{}, func(s []int) bool { return slices.Contains(s, at) }), counts
}

// pass records that time has passed, and what was seen.
func (p *procession) pass(a arrival) {
	if !p.began {
		p.began, p.known, p.seen = true, p.first(a.time), a.time
		p.meet(a)
		return
	}
	if a.watermark != facet.NoWatermark {
		gone := a.watermark - a.lateness - p.reach()
		p.deeds = slices.DeleteFunc(p.deeds, func(d deed) bool {
			if d.time <= gone {
				p.forget(d)
			}
			return d.time <= gone
		})
		if p.seen <= gone {
			p.known = p.first(a.time)
			p.meet(a)
		}
	}
	p.seen = max(p.seen, a.time)
}

// meet records when a new entity was seen, if it teaches only later.
func (p *procession) meet(a arrival) {
	if p.rule.UsualKnown > 0 {
		p.met, p.counted = a.time, nil
	}
}

// first returns the moment from which all events of a newly seen entity are known.
func (p *procession) first(t int64) int64 {
	if p.rule.Newcomers {
		return math.MinInt64
	}
	return t
}

// wait sets the timer to the time when the next sequence is complete.
func (p *procession) wait(a arrival) {
	p.find(p.rule.UsualBy != nil)
	*a.timer = 0
	for _, s := range p.sequences {
		if whole, open := p.whole(s); open && (*a.timer == 0 || whole < *a.timer) {
			*a.timer = whole
		}
	}
}

// whole returns when a sequence is complete; open says that it was not judged
// before.
func (p *procession) whole(s []int) (at int64, open bool) {
	last := p.deeds[s[len(s)-1]]
	at = last.time + p.delay()
	return at, p.judged == nil || at > *p.judged
}

func (p *procession) due(a arrival) (f *firing) {
	if !p.waits() || !p.began {
		return nil
	}
	now := func(s []int) bool {
		at, open := p.whole(s)
		return open && at <= a.time
	}
	p.find(true)
	some := slices.ContainsFunc(p.sequences, now)
	p.find(false)
	lacks := slices.ContainsFunc(p.sequences, now)
	if h, unusual := p.compare(a, some, lacks); unusual && lacks {
		f = p.fire(a, h, now)
	}
	p.judged = &a.time
	p.wait(a)
	return f
}

// compare returns the habits of others, and whether they make it unusual that
// something is lacking. It also counts the behaviour of this entity: some sequence
// is complete, and lacks something.
func (p *procession) compare(a arrival, some, lacks bool) (before habits, unusual bool) {
	if p.rule.UsualBy == nil {
		return before, true
	}
	if p.others == nil {
		return before, false
	}
	c := a.recall(*p.others)
	if c == nil || c.memory == nil {
		return before, false
	}
	m := c.memory.(*habits)
	before = *m
	unusual = m.sequences >= p.rule.UsualLeast && m.lacking*p.rule.UsualOdds <= m.sequences && m.odd*15 <= m.sequences
	if all, needed := everywhere(c, p.rule.UsualOdds); all > m.sequences {
		before = habits{sequences: all, lacking: (needed + p.rule.UsualOdds - 1) / p.rule.UsualOdds}
		unusual = all >= p.rule.UsualLeast && all >= needed
	}
	if !some || p.counted != nil && a.time-*p.counted < p.once() {
		return before, unusual
	}
	if p.counted == nil && a.time < p.met+p.rule.UsualKnown.Milliseconds() {
		if lacks {
			p.counted = &a.time
		}
		return before, unusual
	}
	p.counted = &a.time
	m.sequences++
	if lacks && unusual {
		m.odd++
	} else if lacks {
		m.lacking++
	}
	if m.sequences == 10_000 {
		*m = habits{m.sequences / 2, m.lacking / 2, m.odd / 2}
	}
	return before, unusual
}

// habits are the counts of a cohort: its sequences, those that lacked something, and
// those that did so while that was unusual.
type habits struct{ sequences, lacking, odd int }

// level is what a partition tells others: the power of two that is nearest to the
// sequences, and how many there must be for those that lack something to be
// exceptions, as the next of odds/16, odds/8 and so on. If there are 1,536 sequences
// or more, it tells of a part of them.
func (h habits) level(rule *detectors.Sequence) uint8 {
	sequences, needed := h.sequences, max(h.lacking*rule.UsualOdds, h.odd*15)
	for sequences >= 1536 {
		sequences /= 2
		needed -= needed / 2
	}
	if sequences == 0 {
		return 0
	}
	level := 0
	for i := range 11 {
		if 4*sequences >= 3<<i {
			level = i + 1
		}
	}
	if needed == 0 {
		return uint8(level)
	}
	for i := range 18 {
		level += 11
		if 16*needed <= rule.UsualOdds<<i {
			break
		}
	}
	return uint8(level)
}

// everywhere adds up what partitions tell.
func everywhere(c *cohort, odds int) (sequences, needed int) {
	for _, o := range c.opinions {
		if o.until <= c.o.watermark {
			continue
		}
		for i := range 11 {
			for j := range 19 {
				if int(o.level) != 1+i+11*j {
					continue
				}
				sequences += 1 << i
				if j > 0 {
					needed += int(math.Ceil(float64(odds) * math.Pow(2, float64(j-5))))
				}
			}
		}
	}
	return sequences, needed
}

// fire reports the sequence with the latest first event. Among several it takes the
// one with the earliest last event, and then the one with the latest events in
// between, compared from the end.
func (p *procession) fire(a arrival, others habits, looked func([]int) bool) *firing {
	var best []int
	for _, s := range p.sequences {
		if looked(s) && (best == nil || better(s, best)) {
			best = s
		}
	}
	if best == nil || p.fired != nil && a.time-*p.fired < p.rule.Cooldown.Milliseconds() {
		return nil
	}
	p.fired = &a.time
	first, last := p.deeds[best[0]], p.deeds[best[len(best)-1]]
	f := &firing{weight: p.rule.Weight, evidence: []facet.Evidence{
		facet.Number("events", int64(len(best))), facet.Number("span_ms", last.time-first.time),
	}}
	if p.rule.UsualBy != nil {
		f.evidence = append(f.evidence, facet.Number("others", int64(others.sequences)), facet.Number("others_lacking", int64(others.lacking+others.odd)))
	}
	for i, at := range best {
		d := p.deeds[at]
		f.evidence = append(f.evidence, facet.EventAt(fmt.Sprintf("event_%d", i+1), d.source, d.offset, d.time))
	}
	return f
}

func better(a, b []int) bool {
	if a[0] != b[0] {
		return a[0] > b[0]
	}
	if x, y := a[len(a)-1], b[len(b)-1]; x != y {
		return x < y
	}
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Reverse(a)
	slices.Reverse(b)
	return slices.Compare(a, b) > 0
}

// find lists all sequences.
func (p *procession) find(unbothered bool) {
	p.sequence, p.sequences, p.unbothered = nil, nil, unbothered
	for _, part := range p.rule.Parts {
		for _, m := range part.Members {
			if !part.Optional && !slices.ContainsFunc(p.deeds, func(d deed) bool { return d.holds[m.Condition] }) {
				return
			}
		}
	}
	p.part(0, 0)
}

// part continues with a part of the rule; absent are the conditions that must be
// absent since the previous event.
func (p *procession) part(i int, absent uint32) {
	if i == len(p.rule.Parts) {
		if p.unbothered || p.quietAfter(p.sequence[len(p.sequence)-1]) {
			p.sequences = append(p.sequences, slices.Clone(p.sequence))
		}
		return
	}
	part := p.rule.Parts[i]
	absent |= part.Absent
	if part.Optional {
		p.part(i+1, absent)
	}
	p.members(i, make([]int, len(part.Members)), absent)
}

// members continues with a part of which some events have been found.
func (p *procession) members(i int, have []int, absent uint32) {
	part, missing := p.rule.Parts[i], false
	for k, m := range part.Members {
		if have[k] == m.Times {
			continue
		}
		missing = true
		have = slices.Clone(have)
		have[k]++
		for at := range p.deeds {
			if p.deeds[at].holds[m.Condition] && p.follows(at, part, absent) {
				p.sequence = append(p.sequence, at)
				p.members(i, have, 0)
				p.sequence = p.sequence[:len(p.sequence)-1]
			}
		}
		have[k]--
	}
	if !missing {
		p.part(i+1, 0)
	}
}

// follows reports whether an event may be the next.
func (p *procession) follows(at int, part detectors.SequencePart, absent uint32) bool {
	d := p.deeds[at]
	if len(p.sequence) == 0 {
		return p.quietBefore(at)
	}
	last := p.sequence[len(p.sequence)-1]
	gap := d.time - p.deeds[last].time
	switch {
	case at <= last, d.value != p.deeds[last].value,
		d.time-p.deeds[p.sequence[0]].time > p.rule.Within.Milliseconds(),
		gap < part.After.Milliseconds(),
		part.Within > 0 && gap > part.Within.Milliseconds():
		return false
	}
	if p.unbothered {
		absent = 0
	}
	for c := range p.rule.Conditions {
		if (absent|p.rule.Until)>>c&1 == 1 && p.any(last+1, at, d.value, c) {
			return false
		}
	}
	return true
}

// any reports whether one of some events meets a condition.
func (p *procession) any(from, to int, value string, condition int) bool {
	return slices.ContainsFunc(p.deeds[from:to], func(d deed) bool { return d.value == value && d.holds[condition] })
}

func (p *procession) quietBefore(at int) bool {
	d := p.deeds[at]
	for _, a := range p.rule.Before {
		from := d.time - a.Within.Milliseconds()
		first := slices.IndexFunc(p.deeds, func(o deed) bool { return o.time >= from })
		if p.known > from || !p.unbothered && p.any(first, at, d.value, a.Condition) {
			return false
		}
	}
	return true
}

func (p *procession) quietAfter(at int) bool {
	d := p.deeds[at]
	for _, a := range p.rule.After {
		for _, o := range p.deeds[at+1:] {
			if o.value == d.value && o.holds[a.Condition] && o.time <= d.time+a.Within.Milliseconds() {
				return false
			}
		}
	}
	return true
}
