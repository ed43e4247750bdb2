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

// Timers are kept in the records of their entities, as the payload of timerSlot:
//
//	armed i64 (Unix ms), then for each timer: slot of the rule u32 · source i32 · due i64 (Unix ms) · offset i64
//
// A record with timers is held. armed is the time of the entry by which the
// partition finds the record; none of its timers is due earlier. An empty payload
// has no timers.
//
// The entries are a heap beside the table of a lane, rebuilt from the table when a
// state is restored. An entry whose time differs from its record's is stale, and
// has no effect. So a timer that moves with every event of a busy entity costs no
// new entry.
const (
	timerHeader = 8
	timerSize   = rules.TimerBytes
	unarmed     = math.MaxInt64 // for want of an entry
)

// mostDue limits the timers that one record of the log calls, so that a leap in
// time does not stop a partition. The next records call the others.
const mostDue = 4096

// timers finds the records with due timers.
type timers struct {
	heap   []entry     // the earliest is the first
	called int         // by the present record
	event  event.Event // of a timer: it has no fields
	set    []ruleTimer // of the current entity while a facet is shown to its rules: each asks for its own
}

// ruleTimer is a timer that is set.
type ruleTimer struct {
	slot uint32 // of the rule
	due  int64  // Unix ms
}

// read reads the timers of an entity, once for all rules.
func (t *timers) read(e *entity) {
	t.set = t.set[:0]
	if !e.Held() { // then it has no timers
		return
	}
	list := timerList(e.Slot(timerSlot))
	for i := range list.len() {
		t.set = append(t.set, ruleTimer{list.at(i).slot(), list.at(i).due()})
	}
}

// of returns when a rule's timer is due; 0 if none is set.
func (t *timers) of(slot uint32) int64 {
	for _, s := range t.set {
		if s.slot == slot {
			return s.due
		}
	}
	return 0
}

// entry means that timers of a record may be due.
type entry struct {
	due int64 // Unix ms
	key uint64
}

func (a entry) compare(b entry) int {
	return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.key, b.key))
}

// see takes a source's watermark. The end of a source says nothing about time,
// because nobody knows what would have come.
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

// of returns the index of a rule's timer; −1 if it has none.
func (l timerList) of(slot uint32) int {
	for i := range l.len() {
		if l.at(i).slot() == slot {
			return i
		}
	}
	return -1
}

// first returns the index of the timer that is due first; among equals, the one
// with the lowest slot.
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

// show shows the current event to a rule.
func (l *lane) show(a *active) (fired bool) {
	if l.cohorts.rule = a; a.timed == nil {
		return a.detector.Apply(&l.context, &l.firing)
	}
	c, was := &l.context, l.timers.of(a.rule.Slot)
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

// setTimer sets the rule's timer for the current entity to the time in the context.
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

// clearTimer removes a rule's timer from the current entity, if there is one.
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

// named stores the entity's name in the record, and reports whether the record has
// it.
func (e *entity) named(n facet.Entity) bool { return len(e.Slot(nameSlot)) > 0 || e.keepName(n) }

// shadowIndex is the first index, in a record, of signals from timers of the shadow
// lane. They take no indexes from the others.
const shadowIndex = 1 << 30

// passTime calls the due timers, the earliest first; at the same moment, in the
// order of keys and slots. It runs when time has passed, and at the end of each
// record for timers that were left.
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

// isDue reports whether the current record may look at the first entry of a lane. A
// timer is due when no event on time can be at or before its time. If all sources
// have ended, it is due unless it is after the latest time that they reported. Then
// there is no bound, because no later record could call the others.
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

// callFirst takes the first entry and calls its timer, unless the timer is gone or
// is later. fired is the rule if it fires.
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
		}
		l.traceTimer(a, fired != nil)
		if c.Timer != 0 {
			l.setTimer(a)
		}
	}
	l.rearm()
	l.timers.called++
	return true, fired
}

// rearm creates an entry for the timers of the current entity, after its last entry
// was taken.
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

// arm adds an entry. If most entries are stale, it removes those.
func (l *lane) arm(new entry) {
	if len(l.timers.heap) > 2*l.table.Held()+1024 {
		l.forgetStale()
	}
	l.timers.push(new)
}

// forgetStale keeps one entry for each record with timers.
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

// findTimers creates the entries of a restored table.
func (l *lane) findTimers() {
	l.releaseIdle()
	l.table.EachHeld(func(rec state.Record) {
		l.timers.push(entry{timerList(rec.Slot(timerSlot)).armed(), rec.Key()})
	})
}

// releaseIdle stops holding records that have lost their timers with a rule.
func (l *lane) releaseIdle() {
	l.table.EachHeld(func(rec state.Record) {
		if timerList(rec.Slot(timerSlot)).len() == 0 {
			rec.Hold(false)
		}
	})
}

// fitTimers drops timers of removed rules, in place. It returns false if the
// payload is no list of timers.
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
