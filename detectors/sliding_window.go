package detectors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// SlidingWindow holds the parameters of the detector of that name, which counts
// an entity's events inside a window of event time that ends at the latest one.
type SlidingWindow struct {
	Window   time.Duration
	Counted  *rules.Condition // which of the events that match the rule's condition are counted; nil: all of them
	Distinct event.Field      // count the distinct values of this field; event.None: count events
	MinShare int              // percent of the matching events inside the window that must be counted ones; 0: no such condition
	Tiers    []Tier           // At and Weight ascending; never empty
	Cooldown time.Duration    // event time until the same tier may fire again for the entity
}

// Tier is one step of an answer: at how many, with which weight.
type Tier struct {
	At     int   // counted events, or distinct values, inside the window; at least 1
	Weight uint8 // 0..100
}

const (
	longestWindow = 31 * 24 * time.Hour
	mostTierAt    = 1000 // events or values that a tier waits for: so many are counted exactly
)

// SlidingWindowKind is the detector as rules see it.
func SlidingWindowKind() rules.Kind {
	return rules.Kind{
		Name: "sliding_window",
		Doc:  "counts the entity's events inside a window of event time that ends at the latest one",
		Keys: []rules.Key{
			rules.DurationKey("window", rules.Required, time.Second, longestWindow, "length of the window"),
			rules.ConditionKey("count", rules.Optional, "which of the events that match when are counted; all of them where it is absent"),
			rules.ChoiceKey("distinct", rules.Optional, rules.Countable(), "count the distinct values of this field, not events; events that lack it are not counted"),
			rules.CountKey("min_share", rules.Optional, 1, 100, "percent of the matching events inside the window that must be counted ones; needs count"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestWindow, "time until the same tier may fire again for the entity; the window's length where it is absent"),
			rules.ListKey("tiers", rules.Required, 1, 8, "the steps of the answer, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.CountKey("at", rules.Required, 1, mostTierAt, "fires when so many are counted inside the window"),
				rules.WeightKey("weight", "how sure the signal is, in percent"))),
		},
		Compile: compileSlidingWindow,
	}
}

func compileSlidingWindow(p *rules.Params) rules.Spec {
	w := &SlidingWindow{
		Window: p.Duration("window"), Counted: p.Condition("count"), Distinct: p.Field("distinct"),
		MinShare: p.Int("min_share"), Cooldown: p.Duration("cooldown"),
	}
	if w.Cooldown == 0 {
		w.Cooldown = w.Window
	}
	if p.Has("min_share") && !p.Has("count") {
		p.Problem("min_share", "min_share is a share of nothing: every matching event is counted", "say with count which events are counted, or leave min_share out")
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "at", "this tier does not wait for more than the one before it", "order the tiers by at, each with a number of its own")
	rules.Ascending(tiers, "weight", "this tier can never be seen: it weighs no more than the one before it", "give later tiers greater weights, or remove this one")
	for _, t := range tiers {
		w.Tiers = append(w.Tiers, Tier{At: t.Int("at"), Weight: t.Weight("weight")})
	}
	return w
}

// Fields implements [rules.Spec].
func (w *SlidingWindow) Fields() (all []event.Field) {
	if w.Counted != nil {
		all = append(all, w.Counted.Fields...)
	}
	if w.Distinct != event.None {
		all = append(all, w.Distinct)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (w *SlidingWindow) State() string {
	if w.Distinct == event.None {
		return "count"
	}
	return "distinct " + w.Distinct.String()
}

// Canonical implements [rules.Spec].
func (w *SlidingWindow) Canonical() string {
	s := fmt.Sprintf("window %d distinct %d min_share %d cooldown %d", w.Window.Milliseconds(), w.Distinct, w.MinShare, w.Cooldown.Milliseconds())
	if w.Counted != nil {
		s += fmt.Sprintf(" count %q", w.Counted.Canonical)
	}
	for _, t := range w.Tiers {
		s += fmt.Sprintf(" tier %d %d", t.At, t.Weight)
	}
	return s
}

// Keeps implements [rules.Spec].
func (w *SlidingWindow) Keeps() rules.Keeps {
	return rules.Keeps{Reach: w.Window, After: w.Cooldown, Bytes: windowHeader + (w.entries()+1)*entrySize}
}

// entries is how many the detector keeps of an entity.
func (w *SlidingWindow) entries() int {
	return min(max(4*w.Tiers[len(w.Tiers)-1].At, leastBound), mostBound)
}

func (w *SlidingWindow) detector(e Environment) Detector {
	top := w.Tiers[len(w.Tiers)-1]
	d := &slidingWindow{
		rule: w, window: w.Window.Milliseconds(), lateness: e.Lateness, cooldown: w.Cooldown.Milliseconds(),
		lowest: w.Tiers[0].At, top: top, bound: w.entries(), hasher: e.Hasher,
	}
	if w.Counted != nil {
		d.holds = w.Counted.Holds
	}
	d.seen.init(d.bound)
	return d
}

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
	rule     *SlidingWindow
	holds    rules.Predicate // of counted events; nil: all are
	window   int64           // ms
	lateness int64           // ms
	cooldown int64           // ms
	lowest   int             // the least count that any tier asks for
	top      Tier
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
func (e entries) said(t Tier) bool {
	return t.At <= int(le.Uint16(e[16:])) && t.Weight <= e[18]
}

// fired keeps what fired, and when.
func (e entries) fired(t Tier, at int64) {
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
func (w *slidingWindow) Apply(c *Context, f *Firing) bool {
	counted := w.holds == nil || w.holds(c.Event)
	if c.Late || !counted && w.rule.MinShare == 0 {
		return false
	}
	c.Counts = counted
	value, ok := w.valueOf(c.Event, counted)
	if !ok {
		return false
	}
	e, at := w.insert(c, value)
	if at < 0 || !counted || e.len() < w.lowest {
		return false
	}
	if e.said(w.top) && !w.cooled(e, c.Time) {
		return false // nothing higher to say yet
	}
	return w.evaluate(e, at, c.Time, f)
}

// Fit implements Detector. Of a payload that former settings let grow, the oldest
// entries go.
func (w *slidingWindow) Fit(payload []byte) ([]byte, bool) {
	e := entries(payload)
	if len(e) < windowHeader || (len(e)-windowHeader)%entrySize != 0 || e.len() > e.room() {
		return nil, false
	}
	if most := windowHeader + (w.bound+1)*entrySize; len(e) > most {
		w.cut(e)
		e = e[:most]
	}
	return e, true
}

// Explain implements Detector.
func (w *slidingWindow) Explain(payload []byte, at int64) (x Explanation) {
	e := entries(payload)
	end, ends := -1, int64(math.MinInt64)
	if e != nil {
		ends = at - e.base()
		for end+1 < e.len() && e.delta(end+1) <= ends {
			end++
		}
	}
	var c tally
	if end >= 0 {
		c = w.count(e, end, ends)
		x.Held = append(x.Held, w.evidence(nil, e, c)...)
	}
	for i, t := range w.rule.Tiers {
		if c.counted < t.At {
			x.Missing = append(x.Missing, Missing{Tier: i, Weight: t.Weight, What: w.measure(), Have: int64(c.counted), Need: int64(t.At)})
		}
	}
	if share := c.share(); share < w.rule.MinShare {
		x.Missing = append(x.Missing, Missing{Weight: w.rule.Tiers[0].Weight, What: "share_percent", Have: int64(share), Need: int64(w.rule.MinShare)})
	}
	return x
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
func (w *slidingWindow) insert(c *Context, value uint32) (e entries, at int) {
	e = entries(c.Own.Payload())
	if e == nil {
		if e = c.Own.Resize(windowHeader + firstEntries*entrySize); e == nil {
			return nil, -1
		}
		le.PutUint64(e, uint64(c.Time))
	}
	w.prune(e, c)
	if !w.rebase(e, c.Time) {
		return e, -1
	}
	n := e.len()
	at = n
	delta := c.Time - e.base()
	for at > 0 && e.delta(at-1) > delta {
		at--
	}
	if n == e.room() {
		grown := c.Own.Resize(windowHeader + w.roomFor(n+1)*entrySize)
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
	if gone := w.cut(e); gone > 0 {
		if at = max(at-gone, 0); e.delta(0) > delta {
			at = -1
		}
	}
	return e, at
}

// cut drops the oldest entries beyond the bound, and returns how many.
func (w *slidingWindow) cut(e entries) int {
	extra := max(e.len()-w.bound, 0)
	if extra > 0 {
		e.remove(0, extra)
	}
	return extra
}

// roomFor is how many entries a payload without room for n gets room for: twice
// as many as it has, but no more than are kept, unless former tiers kept more.
func (w *slidingWindow) roomFor(n int) int {
	return max(min(2*(n-1), w.bound+1), n, firstEntries)
}

// prune drops entries that no event on time can share a window with.
func (w *slidingWindow) prune(e entries, c *Context) {
	if c.Watermark == math.MinInt64 {
		return
	}
	oldest, gone := c.Watermark-w.lateness-w.window, 0
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

// share is the percentage that is counted, rounded down.
func (c tally) share() int {
	if c.counted == 0 {
		return 0
	}
	return 100 * c.counted / (c.counted + c.others)
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
	t := w.rule.Tiers[tier]
	f.Tier, f.Weight = tier, t.Weight
	f.Evidence = append(f.Evidence[:0], facet.Number(w.measure(), int64(c.counted)), facet.Number("threshold", int64(t.At)))
	f.Evidence = w.evidence(f.Evidence, e, c)
}

// measure names what is counted.
func (w *slidingWindow) measure() string {
	if w.rule.Distinct != event.None {
		return "distinct"
	}
	return "count"
}

// evidence describes a window.
func (w *slidingWindow) evidence(list []facet.Evidence, e entries, c tally) []facet.Evidence {
	return append(list,
		facet.Number("matching", int64(c.counted+c.others)),
		facet.Number("share_percent", int64(c.share())),
		facet.Number("window_ms", w.window),
		facet.Number("first_ms", e.time(c.first)),
		facet.Number("last_ms", e.base()+c.ends))
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
