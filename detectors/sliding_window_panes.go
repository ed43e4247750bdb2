package detectors

import (
	"math"
	"math/bits"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/sketch"
	"github.com/weirdev/weir/rules"
)

// paneWindow sums events up in panes: intervals of event time, each with its
// measure. It is the form for windows that contain too many events to remember one
// by one, and for sessions, each of which is one pane.
//
// A window (s−W, s] consists of the panes whose first event is in it. So at its old
// end it misses the events of at most one pane, over less than a pane's width, and
// it counts no event outside.
//
// The payload is a header of 24 bytes, and panes from the latest to the oldest:
//
//	0 fired at i64 · 8 threshold fired i64 · 16 weight fired u8 · 17 unused
//	pane: first u48 (Unix ms) · last u48 · size u16 · data in the measure's format
type paneWindow struct {
	rule     *SlidingWindow
	holds    rules.Predicate // of counted events; nil: all are
	measure  measure
	hasher   Hasher
	reach    int64 // ms: the window, or the gap between sessions
	lateness int64 // ms
	cooldown int64 // ms
	shift    uint8 // a slice of time is 1<<shift ms
	most     int   // panes
	data     int   // maximum bytes of data in all panes together
	number   [8]byte
	merged   []byte // scratch
}

const (
	panesHeader = 24
	paneHeader  = 14

	mostSessions   = 8
	mostTotals     = 128 // panes of a window
	mostSpreads    = 32
	mostDistincts  = 24
	mostSpreadData = 1024 * sketch.BucketBytes

	finePanes   = 32 // minimum number of slices in a window
	coarsePanes = 8  // the same if a slice takes much room
)

// measure is the measure of a pane's events.
type measure interface {
	// room returns how many bytes data needs after a value is added.
	room(data []byte, value int64) int
	// add adds a value, and reports whether that changes anything. data has the
	// room, and used bytes of it were in use before.
	add(data []byte, used int, value int64, counted bool) (changed bool)
	// merge appends to b the union of x and y.
	merge(b, x, y []byte) []byte
	valid(data []byte) bool

	// reset and join collect the panes of a window in found.
	reset()
	join(data []byte)
	found() found
}

// found is the content of a window.
type found struct {
	measured int64 // the value that tiers are compared with
	counted  int64 // events; −1 if unknown
	matching int64 // counted and other events
}

// paneLimits returns the maximum number of panes, the maximum bytes of their data
// together, and the minimum number of slices in a window.
func (w *SlidingWindow) paneLimits() (most, data, slices int) {
	switch {
	case w.Percentile != event.None:
		most, data, slices = mostSpreads, mostSpreadData, coarsePanes
	case w.Distinct != event.None:
		most, data, slices = mostDistincts, mostDistincts*sketch.Registers, coarsePanes
	default:
		most, data, slices = mostTotals, mostTotals*sumBytes, finePanes
	}
	if w.Gap > 0 {
		most = mostSessions
		data = min(data, most*sketch.Buckets*sketch.BucketBytes)
	}
	return most, data, slices
}

// paneBytes returns the maximum size of a payload.
func (w *SlidingWindow) paneBytes() int {
	most, data, _ := w.paneLimits()
	one := sumBytes // by how much a pane's data may grow before others are dropped
	switch {
	case w.Percentile != event.None:
		return panesHeader + (most+1)*paneHeader + data + sketch.BucketBytes
	case w.Distinct != event.None:
		one = sketch.Registers
	case w.Sum == event.None:
		one = totalBytes
	}
	return panesHeader + (most+1)*(paneHeader+one)
}

func (w *SlidingWindow) paned(e Environment) *paneWindow {
	most, data, slices := w.paneLimits()
	d := &paneWindow{
		rule: w, holds: w.holds(), hasher: e.Hasher, reach: w.reach().Milliseconds(), lateness: e.Lateness, cooldown: w.Cooldown.Milliseconds(),
		shift: uint8(bits.Len64(uint64(w.reach().Milliseconds())/uint64(slices)) - 1), most: most, data: data,
	}
	switch {
	case w.Percentile != event.None:
		d.measure = &spread{p: w.P}
		d.merged = make([]byte, 0, sketch.Buckets*sketch.BucketBytes)
	case w.Distinct != event.None:
		d.measure = &distinct{union: sketch.NewUnion(most + 1)}
		d.merged = make([]byte, 0, 2*sketch.Registers)
	default:
		d.measure = &totals{sums: w.Sum != event.None, share: w.Share}
		d.merged = make([]byte, 0, sumBytes)
	}
	return d
}

// panes is a view of the payload.
type panes []byte

func (p panes) firedAt() int64           { return int64(le.Uint64(p)) }
func (p panes) said(t Tier) bool         { return int64(t.At) <= int64(le.Uint64(p[8:])) && t.Weight <= p[16] }
func (p panes) hasFired() bool           { return le.Uint64(p[8:]) > 0 } // its weight may be 0
func (p panes) first(at int) int64       { return moment(p[at:]) }
func (p panes) last(at int) int64        { return moment(p[at+6:]) }
func (p panes) size(at int) int          { return int(le.Uint16(p[at+12:])) }
func (p panes) next(at int) int          { return at + paneHeader + p.size(at) }
func (p panes) content(at int) []byte    { return p[at+paneHeader : p.next(at)] }
func (p panes) setFirst(at int, t int64) { setMoment(p[at:], t) }
func (p panes) setLast(at int, t int64)  { setMoment(p[at+6:], t) }

// before returns the position of the pane that follows the one at at in time; 0 if
// that is the latest.
func (p panes) before(at int) (later int) {
	for i := panesHeader; i < at; i = p.next(i) {
		later = i
	}
	return later
}

// fired records a firing with its time.
func (p panes) fired(t Tier, at int64) {
	le.PutUint64(p, uint64(at))
	le.PutUint64(p[8:], uint64(t.At))
	p[16] = t.Weight
}

// moment reads a 48-bit time, which reaches beyond the year 9999.
func moment(b []byte) int64 {
	return int64(uint64(le.Uint32(b)) | uint64(le.Uint16(b[4:]))<<32)
}

func setMoment(b []byte, t int64) {
	le.PutUint32(b, uint32(t))
	le.PutUint16(b[4:], uint16(t>>32))
}

// Apply implements Detector.
func (w *paneWindow) Apply(c *Context, f *Firing) bool {
	counted := w.holds == nil || w.holds(c.Event)
	if c.Late || !counted && !w.rule.others() {
		return false
	}
	c.Counts = counted
	return w.take(c, counted, f)
}

// others reports whether uncounted events matter.
func (w *SlidingWindow) others() bool { return w.MinShare > 0 || w.Share }

func (w *paneWindow) take(c *Context, counted bool, f *Firing) bool {
	value, ok := w.valueOf(c.Event)
	if !ok {
		return false
	}
	at, changed := w.insert(c, value, counted)
	if at < 0 || !counted {
		return false
	}
	p := panes(c.Own.Payload())
	cooled := w.cooled(p, c.Time)
	if p.said(w.rule.top()) && !cooled || !changed && !(cooled && p.hasFired()) {
		return false // nothing higher to report yet
	}
	return w.evaluate(p, at, c.Time, f)
}

// valueOf returns the value that the measure adds for an event; events without the
// field have none.
func (w *paneWindow) valueOf(e *event.Event) (v int64, ok bool) {
	_, of := w.rule.measure()
	switch {
	case of == event.None:
		return 0, true
	case !e.Has(of):
		return 0, false
	case w.rule.Distinct != event.None:
		return int64(uint32(hashOf(w.hasher, e, of, &w.number))), true
	}
	return e.Num(of), true
}

// insert adds the event to its pane. It returns the pane's new position, or −1 if
// there is no room, and whether the measure has changed.
func (w *paneWindow) insert(c *Context, value int64, counted bool) (at int, changed bool) {
	p := panes(c.Own.Payload())
	if p == nil {
		if p = c.Own.Resize(panesHeader); p == nil {
			return -1, false
		}
	}
	at, there := w.find(p, c.Time)
	if !there && c.Watermark != math.MinInt64 {
		w.cut(c.Own, c.Watermark-w.lateness-w.reach)
	}
	was := len(c.Own.Payload())
	if at = w.place(c, at, there, value); at < 0 {
		return -1, false
	}
	p = c.Own.Payload()
	used := p.size(at)
	le.PutUint16(p[at+12:], uint16(w.measure.room(p.content(at), value)))
	changed = w.measure.add(p.content(at), used, value, counted)
	if w.rule.Gap > 0 {
		var united bool
		at, united = w.unite(c, at)
		changed = changed || united
	}
	if len(c.Own.Payload()) > was {
		at = w.bound(c, at)
	}
	return at, changed
}

// cut drops the panes that end by then.
func (w *paneWindow) cut(s Slot, until int64) {
	p := panes(s.Payload())
	for at := panesHeader; at < len(p); at = p.next(at) {
		if p.last(at) <= until {
			s.Resize(at)
			return
		}
	}
}

// find returns the pane that an event belongs to, or the position for a new one. An
// event belongs to the pane around it, or else to a near neighbour, preferably the
// later one.
func (w *paneWindow) find(p panes, t int64) (at int, there bool) {
	later := -1
	for at = panesHeader; at < len(p) && p.last(at) >= t; at = p.next(at) {
		if p.first(at) <= t {
			return at, true
		}
		later = at
	}
	switch {
	case later >= 0 && w.near(t, p.first(later)):
		return later, true
	case at < len(p) && w.near(p.last(at), t):
		return at, true
	}
	return at, false
}

// near reports whether events at two times belong to one slice of time, or to one
// session.
func (w *paneWindow) near(earlier, later int64) bool {
	if w.rule.Gap > 0 {
		return later-earlier < w.reach
	}
	return earlier>>w.shift == later>>w.shift
}

// place makes room for a value in the pane at at, and creates the pane if necessary.
// The pane's size stays the same. It returns −1 if there is no room.
func (w *paneWindow) place(c *Context, at int, there bool, value int64) int {
	p, t := panes(c.Own.Payload()), c.Time
	n := len(p)
	if !there {
		grow := paneHeader + w.measure.room(nil, value)
		if p = c.Own.Resize(n + grow); p == nil {
			return -1
		}
		copy(p[at+grow:], p[at:n])
		clear(p[at : at+grow])
		p.setFirst(at, t)
		p.setLast(at, t)
		return at
	}
	end := p.next(at)
	if grow := w.measure.room(p.content(at), value) - p.size(at); grow > 0 {
		if p = c.Own.Resize(n + grow); p == nil {
			return -1
		}
		copy(p[end+grow:], p[end:n])
		clear(p[end : end+grow])
	}
	p.setFirst(at, min(p.first(at), t))
	p.setLast(at, max(p.last(at), t))
	return at
}

// unite merges the session at at with those that it now reaches: a neighbour, or
// more if the gap was shorter before. It returns the new position.
func (w *paneWindow) unite(c *Context, at int) (now int, united bool) {
	for {
		p := panes(c.Own.Payload())
		later := p.before(at)
		switch older := p.next(at); {
		case older < len(p) && w.near(p.last(older), p.first(at)):
		case later > 0 && w.near(p.last(at), p.first(later)):
			at = later
		default:
			return at, united
		}
		if !w.join(c, at) {
			return at, united
		}
		united = true
	}
}

// join merges the pane at at with the older one behind it; false if there is no
// room.
func (w *paneWindow) join(c *Context, at int) bool {
	p := panes(c.Own.Payload())
	older := p.next(at)
	end, n := p.next(older), len(p)
	w.merged = w.measure.merge(w.merged[:0], p.content(at), p.content(older))
	now := at + paneHeader + len(w.merged)
	if now > end { // two lists have become registers
		if p = c.Own.Resize(n + now - end); p == nil {
			return false
		}
	}
	p.setFirst(at, p.first(older))
	le.PutUint16(p[at+12:], uint16(len(w.merged)))
	copy(p[now:], p[end:n])
	copy(p[at+paneHeader:], w.merged)
	c.Own.Resize(n + now - end)
	return true
}

// bound drops the oldest panes while there are too many. It returns −1 if the one at
// at is among them.
func (w *paneWindow) bound(c *Context, at int) int {
	p := panes(c.Own.Payload())
	kept := w.fits(p)
	if kept < len(p) {
		c.Own.Resize(kept)
	}
	if at >= kept {
		return -1
	}
	return at
}

// fits returns how many bytes of a payload stay within the limits on panes.
func (w *paneWindow) fits(p panes) int {
	n, data := 0, 0
	for at := panesHeader; at < len(p); at = p.next(at) {
		n, data = n+1, data+p.size(at)
		if n > w.most || data > w.data {
			return at
		}
	}
	return len(p)
}

func (w *paneWindow) cooled(p panes, t int64) bool {
	return t >= p.firedAt() && t-p.firedAt() >= w.cooldown
}

// evaluate checks the windows that contain the pane at at and end with it or a later
// one; for a session, only the pane itself. The highest tier reached fires, for the
// window that ends first among equals.
func (w *paneWindow) evaluate(p panes, at int, t int64, f *Firing) bool {
	best := -1
	for end := panesHeader; end <= at; end = p.next(end) {
		if end != at && !w.shares(p, at, end) {
			continue
		}
		x, oldest := w.gather(p, end)
		if tier := w.tierOf(x); tier >= 0 && tier >= best {
			best = tier
			w.describe(f, p, x, end, oldest, tier)
		}
	}
	if best < 0 {
		return false
	}
	tier := w.rule.Tiers[best]
	if p.said(tier) && !w.cooled(p, t) {
		return false
	}
	p.fired(tier, t)
	return true
}

// shares reports whether the window that ends with a pane also contains an older
// one.
func (w *paneWindow) shares(p panes, at, end int) bool {
	return w.rule.Gap == 0 && p.first(at) > p.last(end)-w.reach
}

// gather measures the window that ends with the pane at end. It also returns its
// oldest pane.
func (w *paneWindow) gather(p panes, end int) (x found, oldest int) {
	w.measure.reset()
	for at := end; at < len(p); at = p.next(at) {
		if at != end && !w.shares(p, at, end) {
			break
		}
		w.measure.join(p.content(at))
		oldest = at
	}
	return w.measure.found(), oldest
}

// tierOf returns the highest tier that a window reaches; −1 for none.
func (w *paneWindow) tierOf(x found) int {
	if x.counted >= 0 && 100*x.counted < int64(w.rule.MinShare)*x.matching || w.rule.MinEvents > 0 && x.matching < int64(w.rule.MinEvents) {
		return -1
	}
	best := -1
	for i, t := range w.rule.Tiers {
		if x.measured >= int64(t.At) {
			best = i
		}
	}
	return best
}

func (w *paneWindow) describe(f *Firing, p panes, x found, end, oldest, tier int) {
	t := w.rule.Tiers[tier]
	name, _ := w.rule.measure()
	f.Tier, f.Weight = tier, t.Weight
	f.Evidence = append(f.Evidence[:0], facet.Number(name, x.measured), facet.Number("threshold", int64(t.At)))
	f.Evidence = w.evidence(f.Evidence, p, x, end, oldest)
}

// evidence describes a window.
func (w *paneWindow) evidence(list []facet.Evidence, p panes, x found, end, oldest int) []facet.Evidence {
	if w.rule.Percentile != event.None {
		list = append(list, facet.Number("p", int64(w.rule.P)))
	}
	if x.matching >= 0 {
		list = append(list, facet.Number("matching", x.matching))
	}
	if x.counted >= 0 && !w.rule.Share {
		list = append(list, facet.Number("share_percent", percent(x.counted, x.matching)))
	}
	span := "window_ms"
	if w.rule.Gap > 0 {
		span = "session_gap_ms"
	}
	return append(list, facet.Number(span, w.reach), facet.Number("first_ms", p.first(oldest)), facet.Number("last_ms", p.last(end)))
}

// percent rounds down; it is 0 if whole is 0.
func percent(part, whole int64) int64 {
	if whole == 0 {
		return 0
	}
	return 100 * part / whole
}

// forget implements windowForm. It drops all panes that begin by then, with their
// content.
func (w *paneWindow) forget(s Slot, until int64) {
	p := panes(s.Payload())
	for at := panesHeader; at < len(p); at = p.next(at) {
		if p.first(at) <= until {
			s.Resize(at)
			return
		}
	}
}

// Fit implements Detector. If former settings allowed more panes, the oldest are
// dropped.
func (w *paneWindow) Fit(payload []byte) ([]byte, bool) {
	p := panes(payload)
	if len(p) < panesHeader {
		return nil, false
	}
	newest := int64(math.MaxInt64)
	for at := panesHeader; at < len(p); at = p.next(at) {
		if len(p) < at+paneHeader || len(p) < p.next(at) || !w.measure.valid(p.content(at)) {
			return nil, false
		}
		if p.first(at) > p.last(at) || p.last(at) >= newest {
			return nil, false
		}
		newest = p.first(at)
	}
	return p[:w.fits(p)], true
}

// Explain implements Detector.
func (w *paneWindow) Explain(payload []byte, at int64) (x Explanation) {
	p, end := panes(payload), panesHeader
	for end < len(p) && p.first(end) > at {
		end = p.next(end)
	}
	x.Last = x.First - 1
	var held found
	if end < len(p) && p.last(end) > at-w.reach {
		var oldest int
		held, oldest = w.gather(p, end)
		x.Held = w.evidence(nil, p, held, end, oldest)
		x.First, x.Last = p.first(oldest), p.last(end)
	}
	name, _ := w.rule.measure()
	share, reached := percent(held.counted, held.matching), -1
	for i, t := range w.rule.Tiers {
		demand := func(what string, have, need int64) bool {
			x.Demands = append(x.Demands, Demand{Tier: i, Weight: t.Weight, What: what, Have: have, Need: need})
			return have >= need
		}
		met := demand(name, held.measured, int64(t.At))
		if need := int64(w.rule.MinShare); need > 0 && held.counted >= 0 {
			met = demand("share_percent", share, need) && met
		}
		if need := int64(w.rule.MinEvents); need > 0 {
			met = demand("matching", held.matching, need) && met
		}
		if met {
			reached = i
		}
	}
	if reached >= 0 && p.said(w.rule.Tiers[reached]) && !w.cooled(p, at) {
		x.HeldBack = append(x.HeldBack, HeldBack{Tier: reached, By: "cooldown", Until: p.firedAt() + w.cooldown})
	}
	return x
}

// totals counts events, and may sum a field: counted u32 · others u32 · sum i64.
type totals struct {
	sums, share          bool
	counted, others, sum int64
}

const (
	totalBytes = 8
	sumBytes   = 16
)

func (m *totals) size() int {
	if m.sums {
		return sumBytes
	}
	return totalBytes
}

func (m *totals) room([]byte, int64) int { return m.size() }

func (m *totals) add(data []byte, _ int, value int64, counted bool) bool {
	at := data
	if !counted {
		at = data[4:]
	}
	if n := le.Uint32(at); n < math.MaxUint32 {
		le.PutUint32(at, n+1)
	}
	if m.sums && counted {
		le.PutUint64(data[8:], uint64(plus(int64(le.Uint64(data[8:])), value)))
	}
	return true
}

func (m *totals) merge(b, x, y []byte) []byte {
	for i := 0; i < totalBytes; i += 4 {
		b = le.AppendUint32(b, uint32(min(uint64(le.Uint32(x[i:]))+uint64(le.Uint32(y[i:])), math.MaxUint32)))
	}
	if m.sums {
		b = le.AppendUint64(b, uint64(plus(int64(le.Uint64(x[8:])), int64(le.Uint64(y[8:])))))
	}
	return b
}

func (m *totals) valid(data []byte) bool {
	return len(data) == m.size() && (!m.sums || int64(le.Uint64(data[8:])) >= 0)
}

func (m *totals) reset() { m.counted, m.others, m.sum = 0, 0, 0 }

func (m *totals) join(data []byte) {
	m.counted += int64(le.Uint32(data))
	m.others += int64(le.Uint32(data[4:]))
	if m.sums {
		m.sum = plus(m.sum, int64(le.Uint64(data[8:])))
	}
}

func (m *totals) found() found {
	x := found{measured: m.counted, counted: m.counted, matching: m.counted + m.others}
	switch {
	case m.sums:
		x.measured = m.sum
	case m.share:
		x.measured = percent(x.counted, x.matching)
	}
	return x
}

// plus adds two amounts, and saturates at the maximum.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// distinct counts distinct values by their hashes.
type distinct struct{ union *sketch.Union }

func (m *distinct) room(data []byte, value int64) int {
	return sketch.Distinct(data).Room(uint32(value))
}

func (m *distinct) add(data []byte, used int, value int64, _ bool) bool {
	return sketch.Distinct(data).Add(used, uint32(value))
}

func (m *distinct) merge(b, x, y []byte) []byte { return sketch.Distinct(x).Merge(b, y) }
func (m *distinct) valid(data []byte) bool      { return sketch.Distinct(data).Valid() }
func (m *distinct) reset()                      { m.union.Reset() }
func (m *distinct) join(data []byte)            { m.union.Add(data) }
func (m *distinct) found() found                { return found{measured: m.union.Count(), counted: -1, matching: -1} }

// spread computes a percentile.
type spread struct {
	p   int
	all sketch.Spread
}

func (m *spread) room(data []byte, value int64) int {
	return sketch.Histogram(data).Room(sketch.Bucket(value))
}

func (m *spread) add(data []byte, used int, value int64, _ bool) bool {
	sketch.Histogram(data).Add(used, sketch.Bucket(value))
	return true
}

func (m *spread) merge(b, x, y []byte) []byte { return sketch.Histogram(x).Merge(b, y) }
func (m *spread) valid(data []byte) bool      { return sketch.Histogram(data).Valid() }
func (m *spread) reset()                      { m.all.Reset() }
func (m *spread) join(data []byte)            { m.all.Add(data) }

func (m *spread) found() found {
	return found{measured: m.all.Percentile(m.p), counted: -1, matching: m.all.Count()}
}
