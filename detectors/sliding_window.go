package detectors

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// slidingWindow counts events, or distinct values, in event-time windows
// (s−W, s]. It fires when a window that holds the arriving event reaches a tier:
// the one that ends with it, or one that ends with a later event which brought a
// value that its window lacked. Entries are kept in order of event time, so
// within the allowed lateness the highest tier reached does not depend on the
// order of arrival (with a least share, an event that comes late may change the
// share of what has fired already).
//
// The payload is a header of 24 bytes and entries of 8, in order of time:
//
//	0 base i64 (Unix ms) · 8 fired at i64 · 16 threshold fired u16 · 18 weight fired u8 · 19 unused · 20 entries u16 · 22 unused
//	entry: time − base u32 (ms) · value u32; the lowest bit of value says that it is counted
//
// What fired last is kept as what was said, a threshold and a weight, and not as a
// place in the rule's list of tiers: the list may be another one at the next event.
// So may every other setting, and the payload has as many entries as the former
// ones allowed.
//
// Of a distinct value only the occurrences that matter are kept: one between
// two others that lie less than the window apart is in no window without one of
// them. So a value that repeats cannot push others out, and the count is
// exact as long as the entries of one window, and of the lateness before it,
// fit the bound: four for each of the top tier's count. Beyond the bound, and
// after thinning, the oldest entry goes.
type slidingWindow struct {
	rule     *rules.SlidingWindow
	window   int64 // ms
	lateness int64 // ms
	cooldown int64 // ms
	lowest   int   // the least count that any tier asks for
	top      rules.Tier
	bound    int // entries that are kept; there is room for one more while it is found out which goes
	hasher   Hasher
	number   [8]byte // that is hashed
	seen     valueSet
}

const (
	windowHeader = 24
	entrySize    = 8
	firstEntries = 2
	leastBound   = 16
	mostBound    = 4096
)

var le = binary.LittleEndian

func newSlidingWindow(r *rules.SlidingWindow, lateness int64, h Hasher) *slidingWindow {
	top := r.Tiers[len(r.Tiers)-1]
	w := &slidingWindow{
		rule: r, window: r.Window.Milliseconds(), lateness: lateness, cooldown: r.Cooldown.Milliseconds(),
		lowest: r.Tiers[0].At, top: top, bound: min(max(4*top.At, leastBound), mostBound), hasher: h,
	}
	w.seen.init(w.bound)
	return w
}

// entries is a view of the payload.
type entries []byte

func (e entries) base() int64       { return int64(le.Uint64(e)) }
func (e entries) firedAt() int64    { return int64(le.Uint64(e[8:])) }
func (e entries) len() int          { return int(le.Uint16(e[20:])) }
func (e entries) at(i int) []byte   { return e[windowHeader+i*entrySize:] }
func (e entries) delta(i int) int64 { return int64(le.Uint32(e.at(i))) }
func (e entries) time(i int) int64  { return e.base() + e.delta(i) }
func (e entries) value(i int) uint32 {
	return le.Uint32(e.at(i)[4:])
}
func (e entries) counted(i int) bool { return e.value(i)&1 != 0 }
func (e entries) room() int          { return (len(e) - windowHeader) / entrySize }

// said reports whether the tier says no more than what fired last.
func (e entries) said(t rules.Tier) bool {
	return t.At <= int(le.Uint16(e[16:])) && t.Weight <= e[18]
}

// fired keeps what fired, and when.
func (e entries) fired(t rules.Tier, at int64) {
	le.PutUint64(e[8:], uint64(at))
	le.PutUint16(e[16:], uint16(t.At))
	e[18] = t.Weight
}

func (e entries) setLen(n int) { le.PutUint16(e[20:], uint16(n)) }

// remove takes n entries out from i on.
func (e entries) remove(i, n int) {
	copy(e.at(i), e.at(i + n)[:(e.len()-i-n)*entrySize])
	e.setLen(e.len() - n)
}

// Apply implements Detector.
func (w *slidingWindow) Apply(s Slot, in Input, f *Firing) bool {
	counted := w.rule.Counted == nil || w.rule.Counted(in.Event)
	if in.Late || !counted && w.rule.MinShare == 0 {
		return false
	}
	value, ok := w.valueOf(in.Event, counted)
	if !ok {
		return false
	}
	e, at := w.insert(s, in, value)
	if at < 0 || !counted || e.len() < w.lowest {
		return false
	}
	if e.said(w.top) && !w.cooled(e, in.Time) {
		return false // nothing higher to say yet
	}
	return w.evaluate(e, at, in.Time, f)
}

// Reads implements Detector.
func (w *slidingWindow) Reads(payload []byte) bool {
	e := entries(payload)
	return len(e) >= windowHeader && (len(e)-windowHeader)%entrySize == 0 && e.len() <= e.room()
}

// valueOf is what an entry remembers: 31 bits of the distinct value's hash under
// the secret key, numbers too, and whether it is counted. An event without the
// value is none.
func (w *slidingWindow) valueOf(e *event.Event, counted bool) (v uint32, ok bool) {
	if d := w.rule.Distinct; d != event.None {
		switch {
		case !e.Has(d):
			return 0, false
		case d.Kind().Numeric():
			le.PutUint64(w.number[:], uint64(e.Num(d)))
			v = uint32(w.hasher.Text(unsafe.String(&w.number[0], len(w.number))))
		default:
			v = uint32(w.hasher.Text(e.Text(d)))
		}
	}
	v &^= 1
	if counted {
		v |= 1
	}
	return v, true
}

// insert keeps the event. It returns where, or −1 if it has no place.
func (w *slidingWindow) insert(s Slot, in Input, value uint32) (e entries, at int) {
	e = entries(s.Payload())
	if e == nil {
		if e = s.Resize(windowHeader + firstEntries*entrySize); e == nil {
			return nil, -1
		}
		le.PutUint64(e, uint64(in.Time))
	}
	w.prune(e, in)
	if !w.rebase(e, in.Time) {
		return e, -1
	}
	n := e.len()
	at = n
	delta := in.Time - e.base()
	for at > 0 && e.delta(at-1) > delta {
		at--
	}
	if n == e.room() {
		grown := s.Resize(windowHeader + w.roomFor(n+1)*entrySize)
		if grown == nil {
			return e, -1
		}
		e = grown
	}
	copy(e.at(at + 1)[:(n-at)*entrySize], e.at(at)[:(n-at)*entrySize])
	e.setLen(n + 1)
	le.PutUint32(e.at(at), uint32(delta))
	le.PutUint32(e.at(at)[4:], value)
	if w.rule.Distinct != event.None {
		at = w.thin(e, at)
	}
	if extra := e.len() - w.bound; extra > 0 {
		e.remove(0, extra)
		if at = max(at-extra, 0); e.delta(0) > delta {
			at = -1
		}
	}
	return e, at
}

// roomFor is how many entries a payload without room for n gets room for: twice
// as many as it has, but no more than are kept, unless former tiers kept more.
func (w *slidingWindow) roomFor(n int) int {
	return max(min(2*(n-1), w.bound+1), n, firstEntries)
}

// prune drops entries that no event on time can share a window with.
func (w *slidingWindow) prune(e entries, in Input) {
	if in.Watermark == math.MinInt64 {
		return
	}
	oldest, gone := in.Watermark-w.lateness-w.window, 0
	for gone < e.len() && e.time(gone) <= oldest {
		gone++
	}
	if gone > 0 {
		e.remove(0, gone)
	}
}

// rebase moves the base so that t can be written relative to it. It fails for a
// time so far before the others that they have no common base.
func (w *slidingWindow) rebase(e entries, t int64) bool {
	base := e.base()
	if e.len() == 0 {
		le.PutUint64(e, uint64(t))
		return true
	}
	if t >= base && t-base <= math.MaxUint32 {
		return true
	}
	if t < base {
		if base-t+e.delta(e.len()-1) > math.MaxUint32 {
			return false
		}
		w.shift(e, t)
		return true
	}
	for e.len() > 0 && t-e.time(0) > math.MaxUint32 {
		e.remove(0, 1)
	}
	if e.len() == 0 {
		le.PutUint64(e, uint64(t))
		return true
	}
	w.shift(e, e.time(0))
	return true
}

func (w *slidingWindow) shift(e entries, base int64) {
	by := e.base() - base
	le.PutUint64(e, uint64(base))
	for i := range e.len() {
		le.PutUint32(e.at(i), uint32(e.delta(i)+by))
	}
}

// thin drops the occurrences of the new entry's value that matter no more, and
// returns where the new entry is now, or would be had it not been dropped
// itself.
func (w *slidingWindow) thin(e entries, at int) int {
	value := e.value(at)
	before := w.previous(e, at, value)
	if before >= 0 {
		if first := w.previous(e, before, value); first >= 0 && e.delta(at)-e.delta(first) < w.window {
			e.remove(before, 1)
			at--
			before = first
		}
	}
	after := w.next(e, at, value)
	if after < 0 {
		return at
	}
	if last := w.next(e, after, value); last >= 0 && e.delta(last)-e.delta(at) < w.window {
		e.remove(after, 1)
		after = w.next(e, at, value)
	}
	if before >= 0 && after >= 0 && e.delta(after)-e.delta(before) < w.window {
		e.remove(at, 1)
		return after - 1
	}
	return at
}

// previous is the nearest earlier entry with a value; −1 where none is.
func (w *slidingWindow) previous(e entries, i int, value uint32) int {
	for i--; i >= 0 && e.value(i) != value; i-- {
	}
	return i
}

// next is the nearest later entry with a value; −1 where none is.
func (w *slidingWindow) next(e entries, i int, value uint32) int {
	for i++; i < e.len(); i++ {
		if e.value(i) == value {
			return i
		}
	}
	return -1
}

func (w *slidingWindow) cooled(e entries, t int64) bool {
	return t >= e.firedAt() && t-e.firedAt() >= w.cooldown
}

// evaluate looks at the window that ends at t, and at those around t that end
// with a later event which brought something new; the highest tier that any of
// them reaches fires.
func (w *slidingWindow) evaluate(e entries, at int, t int64, f *Firing) bool {
	end, ends := at, t-e.base()
	for end+1 < e.len() && e.delta(end+1) <= ends {
		end++
	}
	for end >= 0 && e.delta(end) > ends {
		end--
	}
	best := w.better(e, end, ends, -1, f)
	for end++; end < e.len() && e.delta(end)-ends < w.window; end++ {
		gains := w.gains(e, end)
		for end+1 < e.len() && e.delta(end+1) == e.delta(end) {
			end++
			gains = gains || w.gains(e, end)
		}
		if gains {
			best = w.better(e, end, e.delta(end), best, f)
		}
	}
	if best < 0 {
		return false
	}
	tier := w.rule.Tiers[best]
	if e.said(tier) && !w.cooled(e, t) {
		return false
	}
	e.fired(tier, t)
	return true
}

// better counts the window that ends at ends, whose last entry is end, and
// describes it where it reaches a higher tier than best.
func (w *slidingWindow) better(e entries, end int, ends int64, best int, f *Firing) int {
	c := w.count(e, end, ends)
	tier := w.tierOf(c)
	if tier <= best {
		return best
	}
	w.describe(f, e, c, tier)
	return tier
}

// gains reports whether an entry is counted and of a value that the rest of the
// window before it lacks. That is what thinning leaves as it was.
func (w *slidingWindow) gains(e entries, i int) bool {
	if !e.counted(i) {
		return false
	}
	if w.rule.Distinct == event.None {
		return true
	}
	for j := i - 1; j >= 0 && e.delta(i)-e.delta(j) < w.window; j-- {
		if e.value(j) == e.value(i) && e.delta(j) < e.delta(i) {
			return false
		}
	}
	return true
}

// tally is what one window holds.
type tally struct {
	first   int   // entry
	ends    int64 // of the window, relative to the base
	counted int   // counted events, or distinct counted values
	others  int   // matching ones that are not counted
}

// count tallies the window that ends at ends, relative to the base.
func (w *slidingWindow) count(e entries, end int, ends int64) (c tally) {
	first := end + 1
	for first > 0 && e.delta(first-1) > ends-w.window {
		first--
	}
	c.first, c.ends = first, ends
	distinct := w.rule.Distinct != event.None
	if distinct {
		w.seen.reset()
	}
	for i := first; i <= end; i++ {
		v := e.value(i)
		if distinct && !w.seen.add(v) {
			continue
		}
		if v&1 != 0 {
			c.counted++
		} else {
			c.others++
		}
	}
	return c
}

// tierOf is the highest tier that a window reaches; −1 for none.
func (w *slidingWindow) tierOf(c tally) int {
	if 100*c.counted < w.rule.MinShare*(c.counted+c.others) {
		return -1
	}
	best := -1
	for i, t := range w.rule.Tiers {
		if c.counted >= t.At {
			best = i
		}
	}
	return best
}

func (w *slidingWindow) describe(f *Firing, e entries, c tally, tier int) {
	name := "count"
	if w.rule.Distinct != event.None {
		name = "distinct"
	}
	f.Tier = tier
	f.Evidence = [8]Number{
		{name, int64(c.counted)},
		{"threshold", int64(w.rule.Tiers[tier].At)},
		{"matching", int64(c.counted + c.others)},
		{"share_percent", int64(100 * c.counted / (c.counted + c.others))},
		{"window_ms", w.window},
		{"first_ms", e.time(c.first)},
		{"last_ms", e.base() + c.ends},
	}
	f.Numbers = 7
}

// valueSet is a set of values that is emptied in no time.
type valueSet struct {
	slots []uint64 // round << 32 | value
	round uint32
}

func (s *valueSet) init(values int) {
	n := 16
	for n < 2*values {
		n *= 2
	}
	s.slots = make([]uint64, n)
}

func (s *valueSet) reset() {
	if s.round++; s.round == 0 {
		clear(s.slots)
		s.round = 1
	}
}

// add reports whether v is new.
func (s *valueSet) add(v uint32) bool {
	mask := uint32(len(s.slots) - 1)
	for i := (v * 0x9E3779B1) >> 7 & mask; ; i = (i + 1) & mask {
		if uint32(s.slots[i]>>32) != s.round {
			s.slots[i] = uint64(s.round)<<32 | uint64(v)
			return true
		}
		if uint32(s.slots[i]) == v {
			return false
		}
	}
}
