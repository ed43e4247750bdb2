package engine

import (
	"cmp"
	"math"
	"slices"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Timers are kept in the records of their entities, as payload of timerSlot:
//
//	armed i64 (Unix ms), then for each timer: slot of the rule u32 · source i32 · due i64 (Unix ms) · offset i64
//
// A record that has one is held. armed is the time of the entry by which the
// partition finds the record: none of its timers is due before. An empty payload
// has no timers.
//
// The entries are a heap beside the table of a lane, made of the table when a
// state is restored. An entry whose time is not what its record says is stale, and does
// nothing: so a timer that is moved on, as those of a busy entity are with each of
// its events, costs no entry.
const (
	timerHeader = 8
	timerSize   = rules.TimerBytes
	unarmed     = math.MaxInt64 // for want of an entry
)

// mostDue is how many timers one record of the log has called, so that time that
// leaps ahead does not stop a partition. The next records have the others called.
const mostDue = 4096

// timers finds the records whose timers are due.
type timers struct {
	heap   []entry     // the earliest is the first
	called int         // by the present record
	event  event.Event // of a timer: it has no fields
}

// entry says that timers of a record may be due.
type entry struct {
	due int64 // Unix ms
	key uint64
}

func (a entry) compare(b entry) int {
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.key, b.key))
}

// see takes in what a source says of its time. That it has ended says nothing of
// time: what would have come, nobody knows.
func (p *Partition) see(watermark int64) {
	if watermark != facet.EndWatermark {
		p.latest = max(p.latest, watermark)
	}
}

// timer is one timer in a record.
type timer []byte

func (t timer) slot() uint32  { return le.Uint32(t) }
func (t timer) source() int32 { return int32(le.Uint32(t[4:])) }
func (t timer) due() int64    { return int64(le.Uint64(t[8:])) }
func (t timer) offset() int64 { return int64(le.Uint64(t[16:])) }

func (t timer) set(slot uint32, source int32, due, offset int64) {
	le.PutUint32(t, slot)
	le.PutUint32(t[4:], uint32(source))
	le.PutUint64(t[8:], uint64(due))
	le.PutUint64(t[16:], uint64(offset))
}

// timerList is the payload of timerSlot.
type timerList []byte

func (l timerList) len() int           { return max(len(l)-timerHeader, 0) / timerSize }
func (l timerList) at(i int) timer     { return timer(l[timerHeader+i*timerSize:][:timerSize]) }
func (l timerList) armed() int64       { return int64(le.Uint64(l)) }
func (l timerList) setArmed(due int64) { le.PutUint64(l, uint64(due)) }

// of is the place of a rule's timer; −1 where it has none.
func (l timerList) of(slot uint32) int {
	for i := range l.len() {
		if l.at(i).slot() == slot {
			return i
		}
	}
	return -1
}

// first is the place of the timer that is due first, of equals the one whose slot
// is lowest.
func (l timerList) first() (first int) {
	for i := range l.len() {
		a, b := l.at(i), l.at(first)
		if cmp.Or(cmp.Compare(a.due(), b.due()), cmp.Compare(a.slot(), b.slot())) < 0 {
			first = i
		}
	}
	return first
}

func (a *active) setTimed() {
	if a.ahead = a.rule.Spec.Keeps().Ahead.Milliseconds(); a.ahead > 0 {
		a.timed, _ = a.detector.(detectors.Timed)
	}
}

// show shows the present event to a rule.
func (l *lane) show(a *active) (fired bool) {
	if l.cohorts.rule = a; a.timed == nil {
		return a.detector.Apply(&l.context, &l.firing)
	}
	c := &l.context
	was := int64(0)
	if t := timerList(l.current.Slot(timerSlot)); t.of(a.rule.Slot) >= 0 {
		was = t.at(t.of(a.rule.Slot)).due()
	}
	c.Timer = was
	fired = a.detector.Apply(c, &l.firing)
	switch {
	case c.Timer == was:
	case c.Timer == 0:
		l.clearTimer(a.rule.Slot)
	case !c.Late:
		l.setTimer(a)
	}
	return fired
}

// setTimer sets the rule's timer of the current entity to what the context says.
func (l *lane) setTimer(a *active) {
	c, e := &l.context, &l.current
	if !e.named(c.Entity) {
		return // does not happen: rules that do not leave room are not loaded
	}
	list := timerList(e.Slot(timerSlot))
	i := list.of(a.rule.Slot)
	if i < 0 {
		i = list.len()
		if list = e.Resize(timerSlot, timerHeader+(i+1)*timerSize); list == nil {
			return
		}
		if i == 0 {
			list.setArmed(unarmed)
		}
	}
	due := min(max(c.Timer, c.Time+1), c.Time+a.ahead)
	list.at(i).set(a.rule.Slot, c.Source, due, c.Offset)
	e.Hold(true)
	if due < list.armed() {
		list.setArmed(due)
		l.arm(entry{due, e.Key()})
	}
}

// clearTimer takes a rule's timer from the current entity, if there is one.
func (l *lane) clearTimer(slot uint32) {
	e := &l.current
	list := timerList(e.Slot(timerSlot))
	i, last := list.of(slot), list.len()-1
	switch {
	case i < 0:
	case last == 0:
		e.Resize(timerSlot, 0)
		e.Hold(false)
	default:
		copy(list.at(i), list.at(last))
		e.Resize(timerSlot, timerHeader+last*timerSize)
	}
}

// named reports whether the record has the entity's name, now.
func (e *entity) named(n facet.Entity) bool { return len(e.Slot(nameSlot)) > 0 || e.keepName(n) }

// shadowIndex is the first index, in its record, of a signal that a timer of the
// shadow lane gives. Such signals take none of the others' indexes.
const shadowIndex = 1 << 30

// passTime calls the timers that are due, the earliest first, of one moment in the
// order of keys and slots. It is called when time has passed, and at the end of each
// record for those that were left.
func (p *Partition) passTime(at *score.Position, out *Output) {
	if p.watermark == facet.NoWatermark {
		return
	}
	l := &p.lane
	for p.isDue(l) {
		called, fired := p.callFirst(l)
		if fired != nil {
			p.fire(&l.current, fired, p.watermark, *at, false, out)
		}
		if called {
			at.Index++
		}
	}
	if l = p.shadow; l == nil {
		return
	}
	for apart := *at; p.isDue(l); {
		apart.Index = shadowIndex + int32(l.timers.called)
		if _, fired := p.callFirst(l); fired != nil {
			p.watch(l, fired, apart, false, out)
		}
	}
}

// isDue reports whether the present record may look at the first entry of a lane. A
// timer is due when no event on time can be at its time, or before. Where all sources
// have ended, it is due if it is not after the latest time that they have said, and
// then there is no bound: no record may come that could call the others.
func (p *Partition) isDue(l *lane) bool {
	t := &l.timers
	if len(t.heap) == 0 {
		return false
	}
	if p.watermark == facet.EndWatermark {
		return t.heap[0].due <= p.latest
	}
	return t.called < mostDue && t.heap[0].due <= p.watermark-p.cfg.Lateness.Milliseconds()
}

// callFirst takes the first entry, and calls the timer that it stands for. It does
// not where there is none any more, or only a later one. fired is the rule if it
// fires.
func (p *Partition) callFirst(l *lane) (called bool, fired *active) {
	first, e, found := l.timers.pop(), &l.current, false
	if e.Record, found = l.table.Find(first.key, p.watermark); !found || !e.Held() {
		return false, nil
	}
	list := timerList(e.Slot(timerSlot))
	if list.len() == 0 || list.armed() != first.due {
		return false, nil
	}
	list.setArmed(unarmed)
	t, c := list.at(list.first()), &l.context
	c.Watermark = p.watermark
	if t.due() > first.due {
		l.rearm()
		return false, nil
	}
	slot := t.slot()
	c.Event, c.Source, c.Offset = &l.timers.event, t.source(), t.offset()
	c.Time, c.Late, c.Counts, c.Timer = t.due(), false, false, 0
	l.clearTimer(slot)
	l.cohorts.close() // the event has no values
	a := l.ruleOf(facet.Kind(e.Kind()), slot)
	if c.Entity, found = e.name(); found && a != nil && a.timed != nil {
		l.slot.id, l.firing.Clears, l.cohorts.rule = slot, false, a
		if a.timed.Due(c, &l.firing) {
			fired = a
			l.traceTimer(a)
		}
		if c.Timer != 0 {
			l.setTimer(a)
		}
	}
	l.rearm()
	l.timers.called++
	return true, fired
}

// rearm makes an entry for the timers of the current entity, whose last one is
// taken.
func (l *lane) rearm() {
	list := timerList(l.current.Slot(timerSlot))
	if list.len() == 0 {
		return
	}
	if due := list.at(list.first()).due(); due < list.armed() {
		list.setArmed(due)
		l.arm(entry{due, l.current.Key()})
	}
}

// arm adds an entry. Where most are stale, those go.
func (l *lane) arm(new entry) {
	if len(l.timers.heap) > 2*l.table.Held()+1024 {
		l.forgetStale()
	}
	l.timers.push(new)
}

// forgetStale leaves one entry for each record that has timers.
func (l *lane) forgetStale() {
	kept := slices.DeleteFunc(l.timers.heap, func(t entry) bool {
		rec, found := l.table.Find(t.key, l.context.Watermark)
		if !found {
			return true
		}
		list := timerList(rec.Slot(timerSlot))
		return list.len() == 0 || list.armed() != t.due
	})
	slices.SortFunc(kept, entry.compare) // which is a heap
	l.timers.heap = slices.Compact(kept)
}

// findTimers makes the entries of a table that was restored.
func (l *lane) findTimers() {
	l.releaseIdle()
	l.table.EachHeld(func(rec state.Record) {
		l.timers.push(entry{timerList(rec.Slot(timerSlot)).armed(), rec.Key()})
	})
}

// releaseIdle no longer holds records that have lost their timers with a rule.
func (l *lane) releaseIdle() {
	l.table.EachHeld(func(rec state.Record) {
		if timerList(rec.Slot(timerSlot)).len() == 0 {
			rec.Hold(false)
		}
	})
}

// fitTimers drops timers of rules that are gone, in place. It returns false for
// what is no list of timers.
func (l *lane) fitTimers(kind facet.Kind, payload []byte) (kept []byte, ok bool) {
	if len(payload) == 0 {
		return payload, true
	}
	if len(payload) < timerHeader || (len(payload)-timerHeader)%timerSize != 0 {
		return nil, false
	}
	kept = payload[:timerHeader]
	for t := range slices.Chunk(payload[timerHeader:], timerSize) {
		if timer(t).due() < timerList(payload).armed() {
			return nil, false
		}
		if a := l.ruleOf(kind, timer(t).slot()); a != nil && a.timed != nil {
			kept = append(kept, t...)
		}
	}
	if len(kept) == timerHeader {
		return payload[:0], true
	}
	return kept, true
}

func (t *timers) push(new entry) {
	h := append(t.heap, new)
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up].compare(h[i]) <= 0 {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
	t.heap = h
}

func (t *timers) pop() (first entry) {
	h, last := t.heap, len(t.heap)-1
	first = h[0]
	h[0], h = h[last], h[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down+1 < last && h[down+1].compare(h[down]) < 0 {
			down++
		}
		if down >= last || h[i].compare(h[down]) <= 0 {
			break
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
	t.heap = h
	return first
}
