package detectors

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// SlidingWindow holds the parameters of the sliding window detector, which measures
// an entity's events in a window of event time that ends at the latest one, or in a
// session.
type SlidingWindow struct {
	Window   time.Duration    // length of the window; 0 with sessions
	Gap      time.Duration    // events less than this apart belong to one session; 0 with a window
	Counted  *rules.Condition // the matching events that are counted; nil: all
	Cancel   *rules.Condition // the matching events that clear the count; nil: none
	By       []event.Field    // each combination of values has its own window; nil: one window for the entity
	Values   int              // combinations kept of an entity
	Cooldown time.Duration    // event time until the same tier may fire again
	Tiers    []Tier           // At and Weight ascending; never empty

	// What is measured of the counted events. At most one of Distinct, Sum,
	// Percentile and Share is set; if none is, the number of events is measured.
	Distinct   event.Field // number of distinct values of this field
	Sum        event.Field // sum of this field
	Percentile event.Field // percentile P of this field
	P          int         // 1..100
	Share      bool        // percent of the matching events that are counted

	MinShare  int // minimum percentage of counted events among the matching ones; 0: no such condition
	MinEvents int // minimum number of events for a percentile or share; matching events for a share
}

// Tier is one step of an answer: a minimum, and the weight.
type Tier struct {
	At     int   // minimum of the measure; at least 1
	Weight uint8 // 0..100
}

const (
	longestWindow = 31 * 24 * time.Hour
	mostExact     = 1000 // events or values of a tier up to which counts are exact
	mostCount     = 1_000_000_000
	mostDistinct  = 10_000_000 // beyond it, collisions of 32-bit hashes are too frequent
	mostAt        = 1_000_000_000_000_000
	defaultValues = 16
)

// SlidingWindowKind describes the detector to the rules.
func SlidingWindowKind() rules.Kind {
	enough := rules.CountKey("min_events", rules.Required, 1, 1_000_000, "minimum number of events inside the window, because a few show nothing")
	return rules.Kind{
		Name: "sliding_window",
		Doc:  "measures the entity's events inside a window of event time that ends at the latest one, or inside a session",
		Keys: []rules.Key{
			rules.DurationKey("window", rules.Optional, time.Second, longestWindow, "length of the window"),
			rules.DurationKey("session_gap", rules.Optional, time.Second, longestWindow, "instead of a window: events less than this apart form a session, and the whole session is measured"),
			rules.ConditionKey("count", rules.Optional, "which of the matching events are counted; default: all"),
			rules.ConditionKey("cancel", rules.Optional, "which of the matching events clear the count so far, such as a success after failures"),
			rules.ChoiceKey("distinct", rules.Optional, rules.Countable(), "measure the distinct values of this field, not events; events that lack it are not counted"),
			rules.ChoiceKey("sum", rules.Optional, rules.Measurable(), "measure the sum of this field; events that lack it are not counted"),
			rules.ObjectKey("percentile", rules.Optional, "measure a percentile of a field; events that lack it are not counted",
				rules.ChoiceKey("of", rules.Required, rules.Measurable(), "the field"),
				rules.CountKey("p", rules.Required, 1, 100, "the percentile: with 95, so many percent of the values are no greater"), enough),
			rules.ObjectKey("share", rules.Optional, "measure the percentage of matching events that are counted; needs count", enough),
			rules.CountKey("min_share", rules.Optional, 1, 100, "percentage of the matching events inside the window that must be counted; needs count"),
			rules.ListKey("by", rules.Optional, 1, 3, "each combination of values of these fields has its own window; events that lack one are not counted",
				rules.ChoiceKey("", rules.Required, rules.Countable(), "a field")),
			rules.CountKey("values", rules.Optional, 1, 256, "with by: number of combinations kept per entity; default 16. Beyond that, the one that would expire first is dropped"),
			rules.DurationKey("cooldown", rules.Optional, time.Millisecond, longestWindow, "time until the same tier may fire again for the entity; default: the window, or the gap"),
			rules.ListKey("tiers", rules.Required, 1, 8, "the steps, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.CountKey("at", rules.Required, 1, mostAt, "the measured value that fires"),
				rules.WeightKey("weight", "confidence of the signal, in percent"))),
		},
		Compile: compileSlidingWindow,
	}
}

func compileSlidingWindow(p *rules.Params) rules.Spec {
	w := &SlidingWindow{
		Window: p.Duration("window"), Gap: p.Duration("session_gap"), Counted: p.Condition("count"), Cancel: p.Condition("cancel"),
		Distinct: p.Field("distinct"), Sum: p.Field("sum"), Percentile: p.Object("percentile").Field("of"), P: p.Object("percentile").Int("p"),
		Share: p.Has("share"), MinShare: p.Int("min_share"), MinEvents: p.Object("percentile").Int("min_events") + p.Object("share").Int("min_events"),
		Values: p.Int("values"), Cooldown: p.Duration("cooldown"),
	}
	if w.Cooldown == 0 {
		w.Cooldown = w.reach()
	}
	for _, name := range p.Texts("by") {
		spec, _ := event.Lookup(name)
		w.By = append(w.By, spec.Field)
	}
	if w.Values == 0 && w.By != nil {
		w.Values = defaultValues
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "at", "this tier does not wait for more than the one before it", "order the tiers by at, each with a number of its own")
	rules.Ascending(tiers, "weight", "this tier can never be seen: it weighs no more than the one before it", "give later tiers greater weights, or remove this one")
	for _, t := range tiers {
		w.Tiers = append(w.Tiers, Tier{At: t.Int("at"), Weight: t.Weight("weight")})
	}
	if len(tiers) > 0 { // otherwise already reported
		w.contradictions(p)
		w.beyond(tiers)
	}
	return w
}

// contradictions reports parameters that exclude each other.
func (w *SlidingWindow) contradictions(p *rules.Params) {
	switch {
	case !p.Has("window") && !p.Has("session_gap"):
		p.Problem("", "the detector has no window", "add window: 10m, or session_gap: 30m")
	case p.Has("window") && p.Has("session_gap"):
		p.Problem("session_gap", "a session has no window", "keep window or session_gap")
	}
	var measures []string
	for _, name := range []string{"distinct", "sum", "percentile", "share"} {
		if p.Has(name) {
			measures = append(measures, name)
		}
	}
	if len(measures) > 1 {
		p.Problem(measures[1], fmt.Sprintf("tiers can ask for %s or for %s, not for both", measures[0], measures[1]), "keep one of the two, or make two rules of it")
		return
	}
	for _, name := range []string{"min_share", "share"} {
		if p.Has(name) && !p.Has("count") {
			p.Problem(name, name+" is a share of nothing: every matching event is counted", "say with count which events are counted, or leave "+name+" out")
		}
	}
	switch {
	case !p.Has("min_share"):
	case w.Share, w.Percentile != event.None:
		p.Problem("min_share", "min_share does not go with "+measures[0], "leave it out, or let another rule ask for it")
	case w.Distinct != event.None && w.panes():
		p.Problem("min_share", fmt.Sprintf("a share of distinct values is known only inside a window, and of tiers up to %d", mostExact), "leave min_share out, or lower the tiers")
	}
	if p.Has("values") && !p.Has("by") {
		p.Problem("values", "there are no values to keep", "say with by whose values they are, or leave values out")
	}
	for i, f := range w.By {
		switch {
		case f == w.Distinct:
			p.Problem("by", fmt.Sprintf("each window by %s has one distinct %s", f, f), "leave it out of by, or out of distinct")
		case slices.Contains(w.By[:i], f):
			p.Problem("by", fmt.Sprintf("%s stands twice", f), "leave one out")
		}
	}
}

// beyond reports tiers that exceed the measurable range.
func (w *SlidingWindow) beyond(tiers []*rules.Params) {
	most, why := mostCount, "events"
	switch {
	case w.Share:
		most, why = 100, "percent"
	case w.Distinct != event.None:
		most, why = mostDistinct, "distinct values"
	case w.Sum != event.None, w.Percentile != event.None:
		return
	}
	for i, t := range w.Tiers {
		if t.At > most {
			tiers[i].Problem("at", fmt.Sprintf("a tier cannot wait for %d %s", t.At, why), fmt.Sprintf("write 1 to %d", most))
		}
	}
}

// reach returns how long an event may matter.
func (w *SlidingWindow) reach() time.Duration { return w.Window + w.Gap }

// panes reports whether events are summed up in panes instead of being remembered
// one by one.
func (w *SlidingWindow) panes() bool {
	return w.Gap > 0 || w.Sum != event.None || w.Percentile != event.None || w.Share || w.top().At > mostExact
}

func (w *SlidingWindow) top() Tier { return w.Tiers[len(w.Tiers)-1] }

// measure returns the name of the measure, and its field.
func (w *SlidingWindow) measure() (name string, of event.Field) {
	switch {
	case w.Share:
		return "share_percent", event.None
	case w.Sum != event.None:
		return "sum", w.Sum
	case w.Percentile != event.None:
		return "percentile", w.Percentile
	case w.Distinct != event.None:
		return "distinct", w.Distinct
	}
	return "count", event.None
}

// Fields implements [rules.Spec].
func (w *SlidingWindow) Fields() (all []event.Field) {
	for _, c := range []*rules.Condition{w.Counted, w.Cancel} {
		if c != nil {
			all = append(all, c.Fields...)
		}
	}
	if _, of := w.measure(); of != event.None {
		all = append(all, of)
	}
	all = append(all, w.By...)
	slices.Sort(all)
	return slices.Compact(all)
}

// Keys implements [rules.Keyed].
func (w *SlidingWindow) Keys() []event.Field { return w.By }

// State implements [rules.Spec].
func (w *SlidingWindow) State() string {
	s, of := w.measure()
	if of != event.None {
		s += " " + of.String()
	}
	switch {
	case w.Gap > 0:
		s += " of sessions"
	case w.panes():
		s += " of panes"
	}
	for _, f := range w.By {
		s += " by " + f.String()
	}
	if w.Cancel != nil {
		s += " or cancelled"
	}
	return s
}

// Canonical implements [rules.Spec].
func (w *SlidingWindow) Canonical() string {
	s := fmt.Sprintf("window %d distinct %d min_share %d cooldown %d", w.Window.Milliseconds(), w.Distinct, w.MinShare, w.Cooldown.Milliseconds())
	if w.Counted != nil {
		s += fmt.Sprintf(" count %q", w.Counted.Canonical)
	}
	if w.Cancel != nil {
		s += fmt.Sprintf(" cancel %q", w.Cancel.Canonical)
	}
	if w.panes() {
		s += fmt.Sprintf(" gap %d sum %d percentile %d p %d share %t min_events %d", w.Gap.Milliseconds(), w.Sum, w.Percentile, w.P, w.Share, w.MinEvents)
	}
	if w.By != nil {
		s += fmt.Sprintf(" by %d values %d", w.By, w.Values)
	}
	for _, t := range w.Tiers {
		s += fmt.Sprintf(" tier %d %d", t.At, t.Weight)
	}
	return s
}

// Raised implements [Adjustable]. It refuses counts above the exact range, because
// another form of the window would answer.
func (w *SlidingWindow) Raised(what string, need int64) rules.Spec {
	raised := *w
	raised.Tiers = slices.Clone(w.Tiers)
	name, _ := w.measure()
	switch {
	case what == name && need <= w.most():
		for i := range raised.Tiers {
			raised.Tiers[i].At = max(raised.Tiers[i].At, int(need))
		}
	case what == "share_percent" && need <= 100:
		raised.MinShare = max(w.MinShare, int(need))
	case what == "matching" && need <= mostAt:
		raised.MinEvents = max(w.MinEvents, int(need))
	default:
		return nil
	}
	if raised.panes() != w.panes() {
		return nil
	}
	return &raised
}

// most returns the highest minimum of the tiers.
func (w *SlidingWindow) most() int64 {
	switch {
	case w.Share:
		return 100
	case w.Distinct != event.None:
		return mostDistinct
	}
	return mostAt
}

// Keeps implements [rules.Spec].
func (w *SlidingWindow) Keeps() rules.Keeps {
	n := windowHeader + (w.entries()+1)*entrySize
	if w.panes() {
		n = w.paneBytes()
	}
	if w.Cancel != nil {
		n += cancelHeader
	}
	if w.By != nil {
		n = valuesHeader + w.Values*(valueHeader+n)
	}
	return rules.Keeps{Reach: w.reach(), After: w.Cooldown, Bytes: n}
}

// entries returns how many entries are kept of an entity.
func (w *SlidingWindow) entries() int {
	return min(max(4*w.top().At, leastBound), mostBound)
}

func (w *SlidingWindow) detector(e Environment) Detector {
	inner := windowForm(w.exact(e))
	if w.panes() {
		inner = w.paned(e)
	}
	if w.Cancel == nil && w.By == nil {
		return inner
	}
	return w.composed(e, inner)
}

// windowForm is a representation of a window's events.
type windowForm interface {
	Detector
	// take adds an event on time, one that is counted or that a share includes.
	take(c *Context, counted bool, f *Firing) bool
	// forget drops everything up to a time (Unix ms).
	forget(s Slot, until int64)
}

func (w *SlidingWindow) exact(e Environment) *slidingWindow {
	d := &slidingWindow{
		rule: w, holds: w.holds(), window: w.Window.Milliseconds(), lateness: e.Lateness, cooldown: w.Cooldown.Milliseconds(),
		lowest: w.Tiers[0].At, top: w.top(), bound: w.entries(), hasher: e.Hasher,
	}
	d.seen.init(d.bound)
	return d
}

// holds returns the predicate of counted events; nil: all.
func (w *SlidingWindow) holds() rules.Predicate {
	if w.Counted == nil {
		return nil
	}
	return w.Counted.Holds
}

// slidingWindow counts events, or distinct values, in event-time windows (s−W, s].
// It fires when a window that contains the arriving event reaches a tier: the one
// that ends with it, or one that ends with a later event whose value was new to its
// window. Entries are kept in order of event time. So within the allowed lateness
// the highest tier reached does not depend on the order of arrival. (There is one
// exception: with a minimum share, a late event may change the share of a window
// that has already fired.)
//
// The payload is a header of 24 bytes and entries of 8, in order of time:
//
//	0 base i64 (Unix ms) · 8 fired at i64 · 16 threshold fired u16 · 18 weight fired u8 · 19 unused · 20 entries u16 · 22 unused
//	entry: time − base u32 (ms) · value u32; the lowest bit of value says that it is counted
//
// The last firing is stored as a threshold and a weight, not as an index into the
// rule's tiers, because the tiers may have changed by the next event. All other
// settings may change too. The payload has as many entries as the former settings
// allowed.
//
// Of a distinct value only the occurrences that matter are kept: an occurrence
// between two others that are less than the window apart is in no window without one
// of them. So a repeated value cannot push others out. The count is exact as long as
// the entries of one window, and of the lateness before it, fit the bound: four
// entries for each of the top tier's count. Beyond the bound, and after thinning,
// the oldest entry is dropped.
type slidingWindow struct {
	rule     *SlidingWindow
	holds    rules.Predicate // of counted events; nil: all are
	window   int64           // ms
	lateness int64           // ms
	cooldown int64           // ms
	lowest   int             // the lowest count of any tier
	top      Tier
	bound    int // entries that are kept; there is room for one more until one of them is dropped
	hasher   Hasher
	number   [8]byte // input of the hash
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

// after returns the first of n entries later than t, which is relative to the base;
// n if there is none.
func (e entries) after(t int64, n int) int {
	if n == 0 || e.delta(0) > t {
		return 0
	}
	return sort.Search(n, func(i int) bool { return e.delta(i) > t })
}

// list returns the entries from i up to j.
func (e entries) list(i, j int) []byte {
	return e[windowHeader+i*entrySize : windowHeader+j*entrySize]
}
func (e entries) counted(i int) bool { return e.value(i)&1 != 0 }
func (e entries) room() int          { return (len(e) - windowHeader) / entrySize }

// said reports whether the tier is no higher than the last firing.
func (e entries) said(t Tier) bool {
	return t.At <= int(le.Uint16(e[16:])) && t.Weight <= e[18]
}

// fired records a firing with its time.
func (e entries) fired(t Tier, at int64) {
	le.PutUint64(e[8:], uint64(at))
	le.PutUint16(e[16:], uint16(t.At))
	e[18] = t.Weight
}

func (e entries) setLen(n int) { le.PutUint16(e[20:], uint16(n)) }

// remove removes n entries starting at i.
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
	return w.take(c, counted, f)
}

func (w *slidingWindow) take(c *Context, counted bool, f *Firing) bool {
	value, ok := w.valueOf(c.Event, counted)
	if !ok {
		return false
	}
	e, at := w.insert(c, value)
	if at < 0 || !counted || e.len() < w.lowest {
		return false
	}
	if e.said(w.top) && !w.cooled(e, c.Time) {
		return false // nothing higher to report yet
	}
	if countedOf(e.list(0, e.len())) < w.lowest {
		return false // in any window
	}
	return w.evaluate(e, at, c.Time, f)
}

// Fit implements Detector. If former settings allowed more entries, the oldest are
// dropped.
func (w *slidingWindow) Fit(payload []byte) ([]byte, bool) {
	e := entries(payload)
	if len(e) < windowHeader || (len(e)-windowHeader)%entrySize != 0 || e.len() > e.room() {
		return nil, false
	}
	w.cut(e)
	return e[:min(len(e), windowHeader+(w.bound+1)*entrySize)], true
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
	x.Last = x.First - 1
	var c tally
	if end >= 0 {
		if c = w.count(e, end, ends, true); c.first <= end {
			x.Held = append(x.Held, w.evidence(nil, e, c)...)
			x.First, x.Last = e.time(c.first), e.time(end)
		}
	}
	for i, t := range w.rule.Tiers {
		x.Demands = append(x.Demands, Demand{Tier: i, Weight: t.Weight, What: w.measure(), Have: int64(c.counted), Need: int64(t.At)})
		if w.rule.MinShare > 0 {
			x.Demands = append(x.Demands, Demand{Tier: i, Weight: t.Weight, What: "share_percent", Have: int64(c.share()), Need: int64(w.rule.MinShare)})
		}
		if e != nil && i == w.tierOf(c) && e.said(t) && !w.cooled(e, at) {
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "cooldown", Until: e.firedAt() + w.cooldown})
		}
	}
	return x
}

// forget implements windowForm.
func (w *slidingWindow) forget(s Slot, until int64) {
	e, gone := entries(s.Payload()), 0
	for gone < e.len() && e.time(gone) <= until {
		gone++
	}
	e.remove(0, gone)
}

// valueOf returns the value of an entry: 31 bits of the distinct value's hash, and
// whether it is counted. An event without the value is ignored.
func (w *slidingWindow) valueOf(e *event.Event, counted bool) (v uint32, ok bool) {
	if d := w.rule.Distinct; d != event.None {
		if !e.Has(d) {
			return 0, false
		}
		v = uint32(hashOf(w.hasher, e, d, &w.number))
	}
	v &^= 1
	if counted {
		v |= 1
	}
	return v, true
}

// hashOf returns the keyed hash of a field's value, also of a number.
func hashOf(h Hasher, e *event.Event, f event.Field, number *[8]byte) uint64 {
	if f.Numeric() {
		le.PutUint64(number[:], uint64(e.Num(f)))
		return h.Text(unsafe.String(&number[0], len(number)))
	}
	return h.Text(e.Text(f))
}

// insert stores the event. It returns its position, or −1 if there is no room.
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
	latest := at == n
	if latest && w.rule.Distinct != event.None && w.thinBefore(e, delta, value) {
		n, at = n-1, at-1
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
	if !latest && w.rule.Distinct != event.None {
		at = w.thin(e, at)
	}
	if gone := w.cut(e); gone > 0 {
		if at = max(at-gone, 0); e.delta(0) > delta {
			at = -1
		}
	}
	return e, at
}

// cut drops the oldest entries beyond the bound, and returns their number.
func (w *slidingWindow) cut(e entries) int {
	extra := max(e.len()-w.bound, 0)
	if extra > 0 {
		e.remove(0, extra)
	}
	return extra
}

// roomFor returns the new capacity of a payload that cannot hold n entries: twice
// the present one, up to the bound, or more if former tiers kept more.
func (w *slidingWindow) roomFor(n int) int {
	return max(min(2*(n-1), w.bound+1), n, firstEntries)
}

// prune drops entries that share no window with any event on time.
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

// rebase moves the base so that t can be stored relative to it. It fails if t is too
// far before the others for a common base.
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

// thinBefore does the same as thin before an entry is appended, so that a repeated
// value needs no room. It reports whether an entry was removed.
func (w *slidingWindow) thinBefore(e entries, delta int64, value uint32) bool {
	before := e.previous(e.len(), value)
	if before < 0 {
		return false
	}
	first := e.previous(before, value)
	if first < 0 || delta-e.delta(first) >= w.window {
		return false
	}
	e.remove(before, 1)
	return true
}

// thin drops the redundant occurrences of the new entry's value. It returns the
// position of the new entry, or the one it would have if it was dropped itself.
func (w *slidingWindow) thin(e entries, at int) int {
	value := e.value(at)
	before := e.previous(at, value)
	if before >= 0 {
		if first := e.previous(before, value); first >= 0 && e.delta(at)-e.delta(first) < w.window {
			e.remove(before, 1)
			at--
			before = first
		}
	}
	after := e.next(at, value)
	if after < 0 {
		return at
	}
	if last := e.next(after, value); last >= 0 && e.delta(last)-e.delta(at) < w.window {
		e.remove(after, 1)
		after = e.next(at, value)
	}
	if before >= 0 && after >= 0 && e.delta(after)-e.delta(before) < w.window {
		e.remove(at, 1)
		return after - 1
	}
	return at
}

// previous returns the nearest earlier entry with a value; −1 if there is none.
func (e entries) previous(i int, value uint32) int {
	// For a busy address, each event skips hundreds of entries.
	b := e.list(0, i)
	for ; len(b) >= 4*entrySize; b = b[:len(b)-4*entrySize] {
		four := (*[4 * entrySize]byte)(b[len(b)-4*entrySize:])
		if le.Uint32(four[28:]) == value || le.Uint32(four[20:]) == value || le.Uint32(four[12:]) == value || le.Uint32(four[4:]) == value {
			break
		}
	}
	for ; len(b) >= entrySize; b = b[:len(b)-entrySize] {
		if le.Uint32(b[len(b)-4:]) == value {
			return len(b)/entrySize - 1
		}
	}
	return -1
}

// next returns the nearest later entry with a value; −1 if there is none.
func (e entries) next(i int, value uint32) int {
	n := e.len()
	for b := e.list(i+1, n); len(b) >= entrySize; b = b[entrySize:] {
		if le.Uint32(b[4:]) == value {
			return n - len(b)/entrySize
		}
	}
	return -1
}

func (w *slidingWindow) cooled(e entries, t int64) bool {
	return t >= e.firedAt() && t-e.firedAt() >= w.cooldown
}

// evaluate checks the window that ends at t, and the windows around t that end with
// a later event whose value was new. The highest tier reached fires.
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

// better counts the window that ends at ends, whose last entry is end, and describes
// it if it reaches a higher tier than best.
func (w *slidingWindow) better(e entries, end int, ends int64, best int, f *Firing) int {
	c := w.count(e, end, ends, false)
	tier := w.tierOf(c)
	if tier <= best {
		return best
	}
	w.describe(f, e, c, tier)
	return tier
}

// gains reports whether an entry is counted and its value is new to the window that
// ends with it. Thinning does not change the answer.
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

// tally holds the counts of one window.
type tally struct {
	first   int   // position of the first entry
	ends    int64 // end of the window, relative to the base
	counted int   // counted events, or distinct counted values
	others  int   // matching events that are not counted
}

// share returns the percentage of counted events, rounded down.
func (c tally) share() int {
	if c.counted == 0 {
		return 0
	}
	return 100 * c.counted / (c.counted + c.others)
}

// count tallies the window that ends at ends, relative to the base. Unless the whole
// window is requested, it stops when no tier can be reached any more.
func (w *slidingWindow) count(e entries, end int, ends int64, whole bool) (c tally) {
	first := e.after(ends-w.window, end+1)
	c.first, c.ends = first, ends
	list := e.list(first, end+1)
	if w.rule.Distinct == event.None {
		c.counted = countedOf(list)
		c.others = end + 1 - first - c.counted
		return c
	}
	most := math.MaxInt
	if !whole {
		most = w.mostOthers(list)
	}
	w.seen.reset()
	for b := list; len(b) >= entrySize; b = b[entrySize:] {
		v := le.Uint32(b[4:])
		if !w.seen.add(v) {
			continue
		}
		if v&1 != 0 {
			c.counted++
			continue
		}
		if c.others++; c.others > most {
			break
		}
	}
	return c
}

// mostOthers returns how many other events a window of some entries may contain
// before the share of counted ones is too low. For a busy address with mostly
// successful sign-ins, the limit is passed long before all entries are read.
func (w *slidingWindow) mostOthers(list []byte) int {
	if w.rule.MinShare == 0 {
		return math.MaxInt
	}
	return countedOf(list) * (100 - w.rule.MinShare) / w.rule.MinShare
}

// countedOf returns the number of counted entries.
func countedOf(list []byte) (n int) {
	for ; len(list) >= 4*entrySize; list = list[4*entrySize:] {
		four := (*[4 * entrySize]byte)(list)
		n += int(four[4]&1) + int(four[12]&1) + int(four[20]&1) + int(four[28]&1)
	}
	for ; len(list) >= entrySize; list = list[entrySize:] {
		n += int(list[4] & 1)
	}
	return n
}

// tierOf returns the highest tier that a window reaches; −1 for none.
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

// measure returns the name of the measure.
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

// valueSet is a set of values that is cleared in constant time.
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
