package detectors

import "github.com/weirdev/weir/internal/facet"

// automaton reads the events of an entity as a sequence has them. A state says how
// many events of which member of a part have come, and that all parts before it are
// whole; state 0 is before all. An event leads from a state to the next.
type automaton struct {
	begin    []edge // from the state before all
	links    []edge // from others
	states   int
	final    int // the state in which the sequence is whole
	done     [mostStates]uint8
	need     uint8  // events without which nothing is whole
	required uint32 // conditions without which nothing is whole
	positive uint32 // conditions of parts
	last     uint32 // conditions of the last part

	none   bool // nothing was found by the last search
	strict bool // the last search was

	// starts are, by event and state, the place of the latest first event of a sequence
	// that comes to the state with this event, and 1; 0 where there is none. The last
	// index says whether the event that has arrived is in it.
	starts [mostSequenced][mostStates][2]uint8
	path   [mostInSequence]uint8 // places of the events of a sequence, the last first
}

// edge is a step from one state to another.
type edge struct {
	from, to      uint8
	holds         uint32 // bit of the condition that must hold
	after, within int64  // ms since the event before
	absent        uint32 // bits that must not hold for any event between
}

// build makes the automaton of the rule.
func (d *sequence) build() {
	s, next := d.rule, 1
	type exit struct { // a state in which the parts before are whole, optional ones left out or not
		state  int
		absent uint32 // since then
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
		// The states of a part are the numbers of events that its members have had, as
		// digits of a number; all zero is not one of them.
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

// search fills in starts. strict is false where what must be absent is not looked at,
// but for until; what is not known is never absent. arrived is the place of the event
// that the sequence is to hold; −1: any.
func (d *sequence) search(m happened, arrived int, strict bool) {
	if d.none = d.lacks(m); !d.none {
		d.reachAll(m, arrived, strict)
	}
}

// lacks reports whether a condition holds for none of the events without which nothing
// is whole.
func (d *sequence) lacks(m happened) bool {
	all := m.conditions()
	if all == 0 {
		all = m.allHold()
	}
	return all&d.required != d.required
}

// settle has the header say which conditions hold, where it may say too much: mostly it
// tells at once that nothing is whole, and the events, which may be many and are not in
// the cache, are not looked at.
func (d *sequence) settle(m happened) {
	if m.conditions() == 0 || !d.lacks(m) {
		m.setConditions(m.allHold())
	}
}

// allHold are the conditions that hold for any of the events.
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

// reachEvent fills in starts of one event, from those of the events before it.
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

// follows reports whether an event for which held holds takes an edge, so many ms
// after the event before it, with between for what lies between them.
func (d *sequence) follows(e *edge, held uint32, gap int64, between uint32) bool {
	absent := e.absent
	if !d.strict {
		absent = d.rule.Until
	}
	return held&e.holds != 0 && gap >= e.after && gap <= e.within && between&absent == 0
}

// begins reports whether an event may be the first: what must be absent before it is,
// and is known to be.
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

// ends reports whether what must be absent behind an event is, as far as is known.
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

// startOf is the place of the latest first event of a whole sequence that ends with
// an event, and 1; 0 where there is none. with is 1 where it must hold the event that
// has arrived.
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

// newest is the place of the last event of the sequence that holds the event that has
// arrived: of several that whose first event is the latest, and then that whose last
// event is the earliest. It is −1 where there is none.
func (d *sequence) newest(m happened, arrived int) int {
	best, start := -1, uint8(0)
	for i := arrived; i < m.len(); i++ {
		if s := d.wholeAt(m, i, 1); s > start {
			best, start = i, s
		}
	}
	return best
}

// due is likewise, of the sequences that are whole at a time and were not judged
// before.
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

// trace fills in path with the events of the sequence that ends with one, and returns
// how many they are. Where several events may stand before another, it is the latest.
func (d *sequence) trace(m happened, end, arrived int) (n int) {
	with := 0
	if arrived >= 0 {
		with = 1
	}
	start := d.starts[end][d.final][with]
	var at [2]uint64 // states that the sequence may be in, without and with the event that has arrived
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

// before is the latest event from which an event is come to in one of some states, and
// the states that lead there.
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
// come in order, with the event among them, and what keeps a whole one from making the
// rule fire. Where nothing is remembered of the event, it is of the one before it.
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

// heldBack says why a sequence that is whole up to an event does not make the rule
// fire.
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
		all = append(all, HeldBack{By: "others, who lack it too, or of whom too little is known"})
	}
	if m.is(hasFired) && m.time(here)-m.firedAt() < d.cooldown {
		all = append(all, HeldBack{By: "cooldown", Until: m.firedAt() + d.cooldown})
	}
	return all
}
