package detectors

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// composedWindow gives each combination of some fields' values its own window, or
// lets some events clear the count, or both. Another form stores the window itself.
// It receives a part of the payload as its own.
//
// With values the payload is a header of 8 bytes and the combinations, in the order
// of their first arrival:
//
//	0 evicted u32 · 4 unused
//	combination: hash u64 · matters until i64 (Unix ms) · size u16 · the window's payload
//
// A window that can be cancelled has 8 bytes before it: the time up to which nothing
// counts, plus 1 ms; 0 if nothing was cancelled.
type composedWindow struct {
	rule     *SlidingWindow
	holds    rules.Predicate // of counted events; nil: all are
	cancel   rules.Predicate // nil: none
	inner    windowForm
	hasher   Hasher
	lateness int64 // ms
	reach    int64 // ms
	cooldown int64 // ms

	values valuesSlot
	window cancelledSlot
	key    []byte // scratch
	number [8]byte
}

const (
	valuesHeader = 8
	valueHeader  = 18
	cancelHeader = 8
)

func (w *SlidingWindow) composed(e Environment, inner windowForm) *composedWindow {
	d := &composedWindow{
		rule: w, holds: w.holds(), inner: inner, hasher: e.Hasher,
		lateness: e.Lateness, reach: w.reach().Milliseconds(), cooldown: w.Cooldown.Milliseconds(),
	}
	if w.Cancel != nil {
		d.cancel = w.Cancel.Holds
	}
	d.values.most = w.Values
	return d
}

// Apply implements Detector.
func (w *composedWindow) Apply(c *Context, f *Firing) bool {
	if c.Late {
		return false
	}
	cancels := w.cancel != nil && w.cancel(c.Event)
	counted := !cancels && (w.holds == nil || w.holds(c.Event))
	if !cancels && !counted && !w.rule.others() {
		return false
	}
	c.Counts = counted
	own := c.Own
	if w.rule.By != nil && !w.open(c) {
		return false
	}
	fired := w.one(c, cancels, counted, f)
	c.Own = own
	if w.rule.By != nil && fired {
		w.values.keep(c.Time + w.cooldown)
		f.Evidence = w.named(f.Evidence, c.Event)
	}
	return fired
}

// one passes the event to its window.
func (w *composedWindow) one(c *Context, cancels, counted bool, f *Firing) bool {
	if w.cancel == nil {
		return w.inner.take(c, counted, f)
	}
	w.window.of = c.Own
	c.Own = &w.window
	if !cancels {
		return c.Time >= w.window.until() && w.inner.take(c, counted, f)
	}
	// With values, a cancellation does not create a combination.
	known := w.rule.By == nil || w.window.of.Payload() != nil
	if known && c.Time >= w.window.until() && w.window.clear(c.Time) && w.window.Payload() != nil {
		w.inner.forget(&w.window, c.Time)
	}
	return false
}

// open finds the combination of the event's values; false if the event lacks one. It
// drops combinations that no event on time can match any more.
func (w *composedWindow) open(c *Context) bool {
	hash, ok := w.hash(c.Event)
	if !ok {
		return false
	}
	gone := int64(math.MinInt64)
	if c.Watermark != math.MinInt64 {
		gone = c.Watermark - w.lateness
	}
	w.values.open(c, hash, c.Time+w.reach, gone)
	c.Own = &w.values
	return true
}

// hash returns the hash of a combination.
func (w *composedWindow) hash(e *event.Event) (h uint64, ok bool) {
	w.key = w.key[:0]
	for _, f := range w.rule.By {
		if !e.Has(f) {
			return 0, false
		}
		if len(w.rule.By) == 1 {
			return hashOf(w.hasher, e, f, &w.number), true
		}
		if f.Numeric() {
			w.key = le.AppendUint64(w.key, uint64(e.Num(f)))
			continue
		}
		text := e.Text(f)
		w.key = append(binary.AppendUvarint(w.key, uint64(len(text))), text...)
	}
	return w.hasher.Text(unsafe.String(&w.key[0], len(w.key))), true
}

// named adds to the evidence the values, the number of combinations kept of the
// entity, and the number evicted while they could have mattered.
func (w *composedWindow) named(list []facet.Evidence, e *event.Event) []facet.Evidence {
	for _, f := range w.rule.By {
		if f.Numeric() {
			list = append(list, facet.Number(f.String(), e.Num(f)))
		} else {
			list = append(list, facet.Text(f.String(), e.Text(f)))
		}
	}
	v := values(w.values.of.Payload())
	return append(list, facet.Number("values", int64(v.len())), facet.Number("pushed_out", int64(le.Uint32(v))))
}

// Fit implements Detector. If there are too many combinations, those that expire
// first are dropped.
func (w *composedWindow) Fit(payload []byte) ([]byte, bool) {
	if w.rule.By == nil {
		return w.fitCancelled(payload)
	}
	v := values(payload)
	if !v.valid() {
		return nil, false
	}
	for v.len() > w.rule.Values {
		v = v.without(v.oldest())
	}
	now := valuesHeader
	for at := valuesHeader; at < len(v); {
		next := v.next(at)
		kept, ok := w.fitCancelled(v[at+valueHeader : next])
		if !ok {
			return nil, false
		}
		copy(v[now:], v[at:at+valueHeader])
		le.PutUint16(v[now+16:], uint16(len(kept)))
		copy(v[now+valueHeader:], kept)
		now += valueHeader + len(kept)
		at = next
	}
	return v[:now], true
}

func (w *composedWindow) fitCancelled(payload []byte) ([]byte, bool) {
	if w.cancel == nil {
		return w.inner.Fit(payload)
	}
	if len(payload) < cancelHeader {
		return nil, false
	}
	if len(payload) == cancelHeader {
		return payload, true
	}
	kept, ok := w.inner.Fit(payload[cancelHeader:])
	return payload[:cancelHeader+len(kept)], ok
}

// Explain implements Detector. With values, it covers the combination that expires
// last: usually that of the last event.
func (w *composedWindow) Explain(payload []byte, at int64) Explanation {
	v := values(payload)
	if w.rule.By != nil && payload != nil {
		payload = nil
		if i := v.newest(); i < len(v) {
			payload = v[i+valueHeader : v.next(i)]
		}
	}
	if w.cancel != nil {
		payload = uncancelled(payload)
	}
	x := w.inner.Explain(payload, at)
	if w.rule.By != nil && v != nil {
		x.Held = append(x.Held, facet.Number("values", int64(v.len())), facet.Number("pushed_out", int64(le.Uint32(v))))
	}
	return x
}

// values is a view of the payload.
type values []byte

func (v values) hash(at int) uint64 { return le.Uint64(v[at:]) }
func (v values) until(at int) int64 { return int64(le.Uint64(v[at+8:])) }
func (v values) size(at int) int    { return int(le.Uint16(v[at+16:])) }
func (v values) next(at int) int    { return at + valueHeader + v.size(at) }

func (v values) len() (n int) {
	for at := valuesHeader; at < len(v); at = v.next(at) {
		n++
	}
	return n
}

func (v values) valid() bool {
	at := valuesHeader
	for at+valueHeader <= len(v) && v.next(at) <= len(v) {
		at = v.next(at)
	}
	return at == len(v)
}

// without removes a combination.
func (v values) without(at int) values {
	return v[:at+copy(v[at:], v[v.next(at):])]
}

// oldest returns the position of the combination that expires first, the first to
// arrive among equals.
func (v values) oldest() int {
	least := valuesHeader
	for at := least; at < len(v); at = v.next(at) {
		if v.until(at) < v.until(least) {
			least = at
		}
	}
	return least
}

// newest returns the position of the combination that expires last, the last to
// arrive among equals.
func (v values) newest() int {
	most := valuesHeader
	for at := most; at < len(v); at = v.next(at) {
		if v.until(at) >= v.until(most) {
			most = at
		}
	}
	return most
}

// valuesSlot is the part of a slot that belongs to a combination of values.
type valuesSlot struct {
	of    Slot
	most  int
	hash  uint64
	until int64 // expiry of the part
	gone  int64 // parts that expire by then are dropped
	at    int   // −1: no part yet
}

// open finds the part of the combination with a hash.
func (s *valuesSlot) open(c *Context, hash uint64, until, gone int64) {
	s.of, s.hash, s.until, s.gone, s.at = c.Own, hash, until, gone, -1
	s.sweep()
	v := values(s.of.Payload())
	for at := valuesHeader; at < len(v); at = v.next(at) {
		if v.hash(at) == hash {
			s.at = at
			s.keep(until)
			return
		}
	}
}

// keep extends the part's expiry to a time.
func (s *valuesSlot) keep(until int64) {
	v := values(s.of.Payload())
	le.PutUint64(v[s.at+8:], uint64(max(v.until(s.at), until)))
}

// sweep drops the expired combinations. If none is left, the entity counts as new.
func (s *valuesSlot) sweep() {
	v := values(s.of.Payload())
	n := len(v)
	for at := valuesHeader; at < len(v); {
		if v.until(at) <= s.gone {
			v = v.without(at)
		} else {
			at = v.next(at)
		}
	}
	if len(v) == valuesHeader {
		clear(v)
	}
	if len(v) < n {
		s.of.Resize(len(v))
	}
}

// Payload implements Slot.
func (s *valuesSlot) Payload() []byte {
	if s.at < 0 {
		return nil
	}
	v := values(s.of.Payload())
	end := v.next(s.at)
	return v[s.at+valueHeader : end : end]
}

// Resize implements Slot.
func (s *valuesSlot) Resize(n int) []byte {
	if s.at < 0 {
		return s.make(n)
	}
	v := values(s.of.Payload())
	size, end := len(v), v.next(s.at)
	grow := n - v.size(s.at)
	if grow > 0 {
		if v = s.of.Resize(size + grow); v == nil {
			return nil
		}
	}
	copy(v[end+grow:], v[end:size])
	if grow > 0 {
		clear(v[end : end+grow])
	}
	le.PutUint16(v[s.at+16:], uint16(n))
	if grow < 0 {
		s.of.Resize(size + grow)
	}
	return s.Payload()
}

// make creates the combination's part, if necessary in place of another.
func (s *valuesSlot) make(n int) []byte {
	v := values(s.of.Payload())
	if v == nil {
		if v = s.of.Resize(valuesHeader); v == nil {
			return nil
		}
	}
	for v.len() >= s.most {
		v = s.of.Resize(len(v.without(v.oldest())))
		if out := le.Uint32(v); out < math.MaxUint32 {
			le.PutUint32(v, out+1)
		}
	}
	at := len(v)
	if v = s.of.Resize(at + valueHeader + n); v == nil {
		return nil
	}
	le.PutUint64(v[at:], s.hash)
	le.PutUint64(v[at+8:], uint64(s.until))
	le.PutUint16(v[at+16:], uint16(n))
	s.at = at
	return s.Payload()
}

// cancelledSlot is a slot without its cancellation time.
type cancelledSlot struct{ of Slot }

// until returns the earliest time that counts.
func (s *cancelledSlot) until() int64 {
	if b := s.of.Payload(); b != nil {
		return int64(le.Uint64(b))
	}
	return 0
}

// clear records that nothing counts up to a time; false if there is no room.
func (s *cancelledSlot) clear(t int64) bool {
	b := s.of.Payload()
	if b == nil {
		b = s.of.Resize(cancelHeader)
	}
	if b == nil {
		return false
	}
	le.PutUint64(b, uint64(t)+1)
	return true
}

// Payload implements Slot.
func (s *cancelledSlot) Payload() []byte { return uncancelled(s.of.Payload()) }

// uncancelled returns the window's part of a payload; nil if there is none yet.
func uncancelled(payload []byte) []byte {
	if len(payload) <= cancelHeader {
		return nil
	}
	return payload[cancelHeader:]
}

// Resize implements Slot.
func (s *cancelledSlot) Resize(n int) []byte {
	b := s.of.Resize(cancelHeader + n)
	if b == nil {
		return nil
	}
	return b[cancelHeader:]
}
