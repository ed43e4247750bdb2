package detectors

import "github.com/weirdev/weir/internal/facet"

// automaton recognises a sequence in the events of an entity. A state says how many
// events of each member of a part have been found, with all earlier parts complete;
// state 0 is the start. An event leads from one state to the next.
type automaton struct {
	begin    []edge // from the start
	links    []edge // from other states
	states   int
	final    int // the state in which the sequence is complete
	done     [mostStates]uint8
	need     uint8  // minimum number of events of a complete sequence
	required uint32 // conditions that every complete sequence meets
	positive uint32 // conditions of the parts
	last     uint32 // conditions of the last part

	none   bool // the last search found nothing
	strict bool // whether the last search was strict

	// starts holds, by event and state, one plus the position of the first event of
	// a sequence that reaches the state with this event, the latest if there are
	// several; 0: none. The last index says whether the newly arrived event is in
	// the sequence.
	starts [mostSequenced][mostStates][2]uint8
	path   [mostInSequence]uint8 // positions of the events of a sequence, the last first
}

// edge is a transition from one state to another.
type edge struct {
	from, to      uint8
	holds         uint32 // bit of the condition that must hold
	after, within int64  // ms since the event before
	absent        uint32 // bits of conditions that no event in between may meet
}

// build creates the automaton of the rule.
func (d *sequence) build() {
	s, next := d.rule, 1
	type exit struct { // a state in which the previous parts are complete, with or without optional ones
		state  int
		absent uint32 // since that state
	}
	exits := []exit{{0, 0}}
	for i := range s.Parts {
		part := &s.Parts[i]
		for j := range exits {
			exits[j].absent |= part.Absent
		}
		e := edge{after: part.After.Milliseconds(), within: d.within}
		if part.Within > 0 {
			e.within = min(e.within, part.Within.Milliseconds())
		}
		// The states of a part are the numbers of events found of each member, as
		// digits of one number. All zero is not a state.
		size := 1
		for _, m := range part.Members {
			size *= m.Times + 1
		}
		done := d.done[exits[0].state]
		for n := 1; n < size; n++ {
			state := next + n - 1
			sum, digit := 0, 1
			for _, m := range part.Members {
				have := n / digit % (m.Times + 1)
				sum += have
				if have > 0 {
					e.holds, e.to = 1<<m.Condition, uint8(state)
					if before := n - digit; before > 0 {
						e.from, e.absent = uint8(next+before-1), s.Until
						d.links = append(d.links, e)
					} else {
						for _, x := range exits {
							e.from, e.absent = uint8(x.state), s.Until|x.absent
							if x.state == 0 {
								d.begin = append(d.begin, e)
							} else {
								d.links = append(d.links, e)
							}
						}
					}
				}
				digit *= m.Times + 1
			}
			if d.done[state] = done; !part.Optional {
				d.done[state] += uint8(sum)
			}
		}
		last := exit{next + size - 2, 0}
		next += size - 1
		if part.Optional {
			exits = append(exits, last)
		} else {
			exits = []exit{last}
		}
		d.last = 0
		for _, m := range part.Members {
			d.last |= 1 << m.Condition
			if !part.Optional {
				d.required |= 1 << m.Condition
			}
		}
		d.positive |= d.last
	}
	d.states, d.final = next, exits[0].state
	d.need = d.done[d.final]
}

// search fills in starts. If strict is false, absences other than until are not
// checked; an unknown event never counts as absent. arrived is the position of the
// event that the sequence must contain; −1: any.
func (d *sequence) search(m happened, arrived int, strict bool) {
	if d.none = d.lacks(m); !d.none {
		d.reachAll(m, arrived, strict)
	}
}

// lacks reports whether some condition that every complete sequence meets is met by
// no event.
func (d *sequence) lacks(m happened) bool {
	all := m.conditions()
	if all == 0 {
		all = m.allHold()
	}
	return all&d.required != d.required
}

// settle makes the conditions in the header exact if they may include too many. In
// most cases they then show that nothing is complete, which saves a look at the
// events: there may be many, outside the cache.
func (d *sequence) settle(m happened) {
	if m.conditions() == 0 || !d.lacks(m) {
		m.setConditions(m.allHold())
	}
}

// allHold returns the conditions that any of the events meets.
func (m happened) allHold() (all uint32) {
	for i := range m.len() {
		all |= m.holds(i)
	}
	return all
}

func (d *sequence) reachAll(m happened, arrived int, strict bool) {
	d.strict, d.none = strict, false
	for i := range m.len() {
		clear(d.starts[i][:d.states])
		d.reachEvent(m, i, arrived)
	}
}

// reachEvent fills in starts of one event, from those of the earlier events.
func (d *sequence) reachEvent(m happened, i, arrived int) {
	held, t := m.holds(i), m.time(i)
	if held&d.positive == 0 {
		return
	}
	with := 0
	if i == arrived {
		with = 1
	}
	if d.begins(m, i) {
		for _, e := range d.begin {
			if held&e.holds != 0 {
				d.starts[i][e.to][with] = uint8(i + 1)
			}
		}
	}
	between := uint32(0)
	for j := i - 1; len(d.links) > 0 && j >= 0 && t-m.time(j) <= d.within; j-- {
		if m.value(j) != m.value(i) {
			continue
		}
		for k := range d.links {
			e := &d.links[k]
			if !d.follows(e, held, t-m.time(j), between) {
				continue
			}
			for had := range 2 {
				start := d.starts[j][e.from][had]
				if to := &d.starts[i][e.to][had|with]; start > *to && t-m.time(int(start)-1) <= d.within {
					*to = start
				}
			}
		}
		between |= m.holds(j)
	}
}

// follows reports whether an event that meets the conditions held takes an edge, gap
// ms after the event before it. between are the conditions met by events in between.
func (d *sequence) follows(e *edge, held uint32, gap int64, between uint32) bool {
	absent := e.absent
	if !d.strict {
		absent = d.rule.Until
	}
	return held&e.holds != 0 && gap >= e.after && gap <= e.within && between&absent == 0
}

// begins reports whether an event may be the first: all that must be absent before
// it is known to be absent.
func (d *sequence) begins(m happened, i int) bool {
	for _, a := range d.rule.Before {
		from := m.time(i) - a.Within.Milliseconds()
		if m.knownFrom() > from {
			return false
		}
		for j := i - 1; d.strict && j >= 0 && m.time(j) >= from; j-- {
			if m.value(j) == m.value(i) && m.holds(j)>>a.Condition&1 != 0 {
				return false
			}
		}
	}
	return true
}

// ends reports whether all that must be absent after an event is absent, as far as
// is known.
func (d *sequence) ends(m happened, i int) bool {
	for _, a := range d.rule.After {
		until := m.time(i) + a.Within.Milliseconds()
		for j := i + 1; j < m.len() && m.time(j) <= until; j++ {
			if m.value(j) == m.value(i) && m.holds(j)>>a.Condition&1 != 0 {
				return false
			}
		}
	}
	return true
}

// wholeAt returns one plus the position of the first event of a complete sequence
// that ends with an event, the latest if there are several; 0 if there is none. With
// with = 1, the sequence must contain the newly arrived event.
func (d *sequence) wholeAt(m happened, i, with int) uint8 {
	if d.none {
		return 0
	}
	start := d.starts[i][d.final][with]
	if start == 0 || d.strict && !d.ends(m, i) {
		return 0
	}
	return start
}

// newest returns the position of the last event of a sequence that contains the
// newly arrived event; −1 if there is none. Among several sequences it takes the one
// with the latest first event, and then the one with the earliest last event.
func (d *sequence) newest(m happened, arrived int) int {
	best, start := -1, uint8(0)
	for i := arrived; i < m.len(); i++ {
		if s := d.wholeAt(m, i, 1); s > start {
			best, start = i, s
		}
	}
	return best
}

// due does the same for the sequences that are complete at a time and were not
// judged before.
func (d *sequence) due(m happened, now int64) int {
	best, start := -1, uint8(0)
	for i := range m.len() {
		whole := m.time(i) + d.delay
		if whole > now || m.is(hasJudged) && whole <= m.judged() {
			continue
		}
		if s := d.wholeAt(m, i, 0); s > start {
			best, start = i, s
		}
	}
	return best
}

// trace fills in path with the events of the sequence that ends with an event, and
// returns their number. If several events may precede another, it takes the latest.
func (d *sequence) trace(m happened, end, arrived int) (n int) {
	with := 0
	if arrived >= 0 {
		with = 1
	}
	start := d.starts[end][d.final][with]
	var at [2]uint64 // states that the sequence may be in, without and with the newly arrived event
	at[with] = 1 << d.final
	for i := end; ; {
		d.path[n] = uint8(i)
		n++
		if i == int(start)-1 {
			return n
		}
		i, at = d.before(m, i, arrived, start, at)
	}
}

// before returns the latest event that leads to event i in one of some states, and the
// states from which it does.
func (d *sequence) before(m happened, i, arrived int, start uint8, at [2]uint64) (j int, from [2]uint64) {
	between, found := uint32(0), false
	for j = i - 1; !found; j-- {
		if m.value(j) != m.value(i) {
			continue
		}
		for k := range d.links {
			e := &d.links[k]
			if !d.follows(e, m.holds(i), m.time(i)-m.time(j), between) {
				continue
			}
			for had := range 2 {
				with := had
				if i == arrived {
					with = 1
				}
				if at[with]>>e.to&1 != 0 && d.starts[j][e.from][had] == start {
					from[had] |= 1 << e.from
					found = true
				}
			}
		}
		between |= m.holds(j)
	}
	return j + 1, from
}

// Explain implements Detector: how many of the events that the sequence needs have
// been found in order, including the event, and why a complete one does not fire. If
// the event is not remembered, it uses the one before it.
func (d *sequence) Explain(payload []byte, at int64) (x Explanation) {
	m := happened(payload)
	here, have := -1, uint8(0)
	x.Last = x.First - 1
	if len(m) > 0 {
		for here+1 < m.len() && m.time(here+1) <= at {
			here++
		}
		x.Held = append(x.Held, facet.Number("remembered", int64(m.len())))
	}
	if here >= 0 {
		x.First, x.Last = m.time(here), m.time(here)
		d.reachAll(m, here, false)
		for state := range d.states {
			for i := range m.len() {
				if start := d.starts[i][state][1]; start > 0 && d.done[state] > have {
					have, x.First, x.Last = d.done[state], m.time(int(start)-1), max(m.time(i), m.time(here))
				}
			}
		}
	}
	x.Demands = []Demand{{Weight: d.rule.Weight, What: "events", Have: int64(have), Need: int64(d.need)}}
	if have == d.need && here >= 0 {
		x.HeldBack = d.heldBack(m, here)
	}
	return x
}

// others says that those in the cohort keep a sequence from firing. The numbers are
// known right after the judgement, and unless nothing is known of the cohort.
func (d *sequence) others() HeldBack {
	b := HeldBack{By: "others, who lack it too, or of whom too little is known"}
	if d.whole >= 0 {
		b.Demands = [2]Demand{
			{Weight: d.rule.Weight, What: "others", Have: d.whole, Need: int64(d.rule.UsualLeast)},
			{Weight: d.rule.Weight, What: "others_at_odds", Have: d.whole, Need: d.needed},
		}
	}
	return b
}

// heldBack says why a sequence that is complete up to an event does not fire.
func (d *sequence) heldBack(m happened, here int) (all []HeldBack) {
	d.search(m, here, true)
	whole := false
	for i := range m.len() {
		whole = whole || d.wholeAt(m, i, 1) > 0
	}
	switch ends := m.time(here) + d.delay; {
	case !whole:
		all = append(all, HeldBack{By: "what must be absent and is there, or is not known to be absent"})
	case d.waits && (!m.is(hasJudged) || m.judged() < ends):
		all = append(all, HeldBack{By: "waiting for what must be absent", Until: ends})
	case d.rule.UsualBy != nil:
		all = append(all, d.others())
	}
	if m.is(hasFired) && m.time(here)-m.firedAt() < d.cooldown {
		all = append(all, HeldBack{By: "cooldown", Until: m.firedAt() + d.cooldown})
	}
	return all
}
