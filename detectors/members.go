package detectors

import (
	"math"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Members remembers the members of a group: the entities that the counted events of
// its window named last, as many as fit the limits. The payload is a list in the
// order in which they came last, each time i64 (Unix ms) · length u16 · key.
type Members struct {
	kind     facet.Kind
	cancel   *rules.Condition // nil: nothing withdraws a member
	window   int64            // ms
	lateness int64            // ms
}

const (
	memberHeader = 10
)

// NewMembers creates the memory of a rule's groups; nil if the rule has none.
// lateness is in ms.
func NewMembers(r *rules.Rule, lateness int64) *Members {
	if r.Members == nil {
		return nil
	}
	return &Members{kind: r.Members.Entity, cancel: r.Members.Cancel, window: r.MembersReach().Milliseconds(), lateness: lateness}
}

// Apply records the member that a counted event names, and forgets the one that a
// cancelling event names, whether it counts or not. A member is named and withdrawn in
// order of arrival; a late event does neither.
func (m *Members) Apply(s Slot, c *Context) {
	switch {
	case m.cancel != nil && !c.Late && m.cancel.Holds(c.Event):
		m.withdraw(s, c)
	case c.Counts:
		m.See(s, c)
	}
}

// withdraw forgets the member that the event names.
func (m *Members) withdraw(s Slot, c *Context) {
	member, ok := facet.EntityOf(m.kind, c.Event, nil)
	if !ok {
		return
	}
	b := s.Payload()
	for at := 0; at < len(b); at += memberSize(b[at:]) {
		if string(b[at+memberHeader:at+memberSize(b[at:])]) == member.Key {
			s.Resize(at + copy(b[at:], b[at+memberSize(b[at:]):]))
			return
		}
	}
}

// See records the members that a counted event names.
func (m *Members) See(s Slot, c *Context) {
	member, ok := facet.EntityOf(m.kind, c.Event, nil)
	if !ok || memberHeader+len(member.Key) > rules.MostMemberBytes {
		return
	}
	oldest := int64(math.MinInt64)
	if c.Watermark != math.MinInt64 {
		oldest = c.Watermark - m.lateness - m.window
	}
	kept := keepMembers(s.Payload(), member.Key, oldest)
	b := s.Resize(kept + memberHeader + len(member.Key))
	if b == nil {
		s.Resize(kept) // the record is full
		return
	}
	b = b[kept:]
	le.PutUint64(b, uint64(c.Time))
	le.PutUint16(b[8:], uint16(len(member.Key)))
	copy(b[memberHeader:], member.Key)
}

// keepMembers drops from b the members that came at oldest or before, the one with
// the given key, and as many of the first as needed to make room for key. It
// returns the length of the rest.
func keepMembers(b []byte, key string, oldest int64) (kept int) {
	n, bytes := 1, memberHeader+len(key)
	for at := 0; at < len(b); at += memberSize(b[at:]) {
		if memberStays(b[at:], key, oldest) {
			n, bytes = n+1, bytes+memberSize(b[at:])
		}
	}
	from := 0 // of a stretch that is kept: nearly always, at most one member goes
	for at := 0; at < len(b); {
		size, stays := memberSize(b[at:]), memberStays(b[at:], key, oldest)
		if stays && (n > rules.MostMembers || bytes > rules.MostMemberBytes) {
			n, bytes, stays = n-1, bytes-size, false
		}
		if !stays {
			kept += copy(b[kept:], b[from:at])
			from = at + size
		}
		at += size
	}
	return kept + copy(b[kept:], b[from:])
}

func memberSize(b []byte) int { return memberHeader + int(le.Uint16(b[8:])) }

func memberStays(b []byte, key string, oldest int64) bool {
	return int64(le.Uint64(b)) > oldest && string(b[memberHeader:memberSize(b)]) != key
}

// Take calls yield with the key of every member that came inside the window that
// ends at t, or later, in the order in which they came last, and forgets them all.
// The keys are valid until yield returns.
func (m *Members) Take(s Slot, t int64, yield func(k facet.Kind, key []byte)) {
	b := s.Payload()
	for at := 0; at < len(b); at += memberSize(b[at:]) {
		if int64(le.Uint64(b[at:])) > t-m.window {
			yield(m.kind, b[at+memberHeader:at+memberSize(b[at:])])
		}
	}
	if b != nil {
		s.Resize(0)
	}
}

// Reads reports whether a payload has this form, so that See can continue with it.
func (m *Members) Reads(payload []byte) bool {
	n := 0
	for ; len(payload) > 0; n++ {
		if len(payload) < memberHeader || len(payload) < memberSize(payload) {
			return false
		}
		payload = payload[memberSize(payload):]
	}
	return n <= rules.MostMembers
}
