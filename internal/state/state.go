// Package state holds the state of the entities of one facet partition: flat
// records in slabs, found by a 64-bit keyed hash, each with one slot of bytes per
// rule.
//
// Everything in it follows from the order of the calls: there is no clock, no
// randomness and no iteration over maps. It does not know what the slots hold. One
// goroutine uses a table.
package state

import (
	"encoding/binary"
	"sync/atomic"
)

// A record begins with a header of 40 bytes:
//
//	0  key u64          16 expires i64 (Unix ms)   32 kind u8 · flags u8 · used u16
//	8  last i64         24 newer ref · older ref   36 group u16 · unused
//
// followed by slots: id u32 · length u16 · payload. The lower two bits of the flags
// are the record's standing, the third means that it is held, and the upper half
// counts its touches, up to 15.
const (
	offKey     = 0
	offLast    = 8
	offExpires = 16
	offNewer   = 24
	offOlder   = 28
	offKind    = 32
	offFlags   = 33
	offUsed    = 34
	offGroup   = 36
	headerSize = 40
	slotHeader = SlotHeader

	largestFirst = 16 // class of new records: a busy entity must not make many others large

	standingMask = 3
	heldFlag     = 4
	countShift   = 4

	never = 1 << 63 // as an i64 the smallest: expired until it is touched

	maxKinds  = 32
	maxRecord = 1<<16 - 1

	// SlotHeader is the size of a slot without its payload, in bytes.
	SlotHeader = 6
	// MostPayload is the room of a record for slots, in bytes, including their
	// headers.
	MostPayload = maxRecord - headerSize
)

var le = binary.LittleEndian

// Table is the state of one partition.
type Table struct {
	index  index
	slabs  [classes]slab
	groups []group
	found  map[groupKey]uint16 // group by name; for look-ups only
	caps   [maxKinds]int
	sketch sketch
	latest [maxKinds]latest
	held   int           // records that are held
	views  *atomic.Int32 // frozen views that may still be read
}

// latest remembers the two records of a kind that came last, so that the next one
// gets the room that they have grown to at once.
type latest struct {
	key   uint64
	class uint8 // of the one before
}

// list is a chain of records from the coldest to the most recent.
type list struct {
	coldest, newest ref
	n               int
}

// New creates an empty table that keeps at most caps[kind] records of a kind and
// tenant; 0 means no limit.
func New(caps [maxKinds]int) *Table {
	t := &Table{index: newIndex(), caps: caps, views: new(atomic.Int32), found: map[groupKey]uint16{}}
	t.sketch.views = t.views
	for c := range t.slabs {
		t.slabs[c] = newSlab(c, t.views)
		// Piece 0 of class 0 would have the name noRef.
		if c == 0 {
			t.slabs[c].alloc()
		}
	}
	return t
}

// Caps is the type of [New]'s argument.
type Caps = [maxKinds]int

// Record is one entity's state. It is valid until the table is frozen, or removes
// the record, which Admit may do to one of the same kind and tenant. Calls for
// another record leave it valid: pieces of memory never move, and only the record's
// own Resize gives it another one. So do not open a record twice.
type Record struct {
	t *Table
	r ref
	b []byte

	near, past int // where the last slot found begins, and the one before it; 0: unknown
}

// at returns a record's piece to read and write.
func (t *Table) at(r ref) []byte { return t.slabs[r.class()].at(r.index()) }

// open returns a record to read and write.
func (t *Table) open(r ref) Record { return Record{t: t, r: r, b: t.at(r)} }

// peek returns a record to read only.
func (t *Table) peek(r ref) Record {
	return Record{t: t, r: r, b: t.slabs[r.class()].peek(r.index())}
}

// Get returns the record of a key, if there is one. A record that has expired by
// watermark is empty, as if it were new.
func (t *Table) Get(key uint64, watermark int64) (rec Record, ok bool) {
	r := t.index.get(key)
	if r == noRef {
		return rec, false
	}
	rec = t.open(r)
	if rec.expired(watermark) {
		rec.clear()
	}
	return rec, true
}

// Find returns the record of a key if there is one that has not expired.
func (t *Table) Find(key uint64, watermark int64) (rec Record, ok bool) {
	r := t.index.get(key)
	if r == noRef {
		return rec, false
	}
	rec = t.open(r)
	return rec, !rec.expired(watermark)
}

func (t *Table) insert(key uint64, kind uint8, group uint16, count uint8) Record {
	r := t.alloc(t.firstClass(kind, key))
	rec := t.open(r)
	rec.initialize(key, kind, group, flagsOf(count))
	t.index.set(key, r)
	t.push(t.listOf(rec.b), r, rec.b)
	return rec
}

// firstClass returns the size class for a new record: the smaller one of what the last
// two of its kind fill by now, up to 1 KiB. Otherwise a record would move many times
// during its first event, and leave holes.
func (t *Table) firstClass(kind uint8, key uint64) int {
	l := &t.latest[kind]
	class := uint8(0)
	if r := t.index.get(l.key); r != noRef {
		rec := t.peek(r)
		c, _ := classFor(rec.used())
		class = uint8(c)
	}
	first := min(class, l.class, largestFirst)
	l.key, l.class = key, class
	return int(first)
}

// initialize makes an empty record from a piece with arbitrary content.
func (rec *Record) initialize(key uint64, kind uint8, group uint16, flags uint8) {
	clear(rec.b[:headerSize])
	le.PutUint64(rec.b[offKey:], key)
	le.PutUint64(rec.b[offExpires:], never)
	rec.b[offKind], rec.b[offFlags] = kind, flags
	le.PutUint16(rec.b[offGroup:], group)
	le.PutUint16(rec.b[offUsed:], headerSize)
}

// Remove removes the record of a key, if there is one. The sketch that counts
// entities without a record is left as it is: it holds no keys.
func (t *Table) Remove(key uint64) {
	if r := t.index.get(key); r != noRef {
		t.remove(t.open(r))
	}
}

func (t *Table) alloc(class int) ref {
	return ref(class)<<indexBits | ref(t.slabs[class].alloc())
}

func (t *Table) remove(rec Record) {
	if rec.Held() {
		t.held--
	}
	t.unlink(t.listOf(rec.b), rec.b)
	t.index.remove(rec.Key())
	t.slabs[rec.r.class()].release(rec.r.index())
}

// Len returns the number of records of a kind, including expired ones that were not
// reclaimed yet.
func (t *Table) Len(kind uint8) (n int) {
	for i := range t.groups {
		if t.groups[i].kind == kind {
			n += t.groups[i].len()
		}
	}
	return n
}

// Records returns the number of records of all kinds.
func (t *Table) Records() (n int) {
	for i := range t.groups {
		n += t.groups[i].len()
	}
	return n
}

// Evicted returns how many records of a kind the cap evicted.
func (t *Table) Evicted(kind uint8) (n int64) {
	for i := range t.groups {
		if t.groups[i].kind == kind {
			n += t.groups[i].evicted
		}
	}
	return n
}

// Bytes returns the memory of the table.
func (t *Table) Bytes() int {
	n := t.index.bytes() + t.sketch.bytes()
	for i := range t.slabs {
		n += t.slabs[i].bytes()
	}
	return n
}

// Used returns the bytes that records fill, without the room that they have left. It
// reads every record.
func (t *Table) Used() (n int) {
	t.index.all(func(_ uint64, r ref) bool {
		rec := t.peek(r)
		n += rec.used()
		return true
	})
	return n
}

// All calls yield for every record that has not expired, in no useful order. The
// records are read-only.
func (t *Table) All(watermark int64, yield func(Record) bool) {
	t.index.all(func(_ uint64, r ref) bool {
		rec := t.peek(r)
		return rec.expired(watermark) || yield(rec)
	})
}

// Held returns the number of held records.
func (t *Table) Held() int { return t.held }

// EachHeld calls yield for every held record, in no useful order. yield may write
// to the record, and release it.
func (t *Table) EachHeld(yield func(Record)) {
	t.index.all(func(_ uint64, r ref) bool {
		if rec := t.peek(r); rec.Held() {
			yield(t.open(r))
		}
		return true
	})
}

func (t *Table) listOf(b []byte) *list {
	return &t.groups[le.Uint16(b[offGroup:])].lists[b[offFlags]&standingMask]
}

// push makes a record, whose piece is b, the most recent of l.
func (t *Table) push(l *list, r ref, b []byte) {
	le.PutUint32(b[offNewer:], uint32(noRef))
	le.PutUint32(b[offOlder:], uint32(l.newest))
	if l.newest != noRef {
		le.PutUint32(t.at(l.newest)[offNewer:], uint32(r))
	} else {
		l.coldest = r
	}
	l.newest = r
	l.n++
}

// unlink removes the record whose piece is b from l.
func (t *Table) unlink(l *list, b []byte) {
	newer, older := ref(le.Uint32(b[offNewer:])), ref(le.Uint32(b[offOlder:]))
	if newer != noRef {
		le.PutUint32(t.at(newer)[offOlder:], uint32(older))
	} else {
		l.newest = older
	}
	if older != noRef {
		le.PutUint32(t.at(older)[offNewer:], uint32(newer))
	} else {
		l.coldest = newer
	}
	l.n--
}

// Key returns the record's key.
func (rec *Record) Key() uint64 { return le.Uint64(rec.b[offKey:]) }

// Kind returns the record's kind.
func (rec *Record) Kind() uint8 { return rec.b[offKind] }

// Last returns the position of the last touch.
func (rec *Record) Last() int64 { return int64(le.Uint64(rec.b[offLast:])) }

// Expires returns when the record becomes absent, unless it is held, Unix ms of the
// watermark.
func (rec *Record) Expires() int64 { return int64(le.Uint64(rec.b[offExpires:])) }

func (rec *Record) expired(watermark int64) bool { return rec.Expires() <= watermark && !rec.Held() }

// Held reports whether the record is held.
func (rec *Record) Held() bool { return rec.b[offFlags]&heldFlag != 0 }

// Hold sets whether the record is kept from expiring. A held record may still be
// evicted.
func (rec *Record) Hold(on bool) {
	switch {
	case on == rec.Held():
	case on:
		rec.b[offFlags] |= heldFlag
		rec.t.held++
	default:
		rec.b[offFlags] &^= heldFlag
		rec.t.held--
	}
}

// Remarkable reports whether eviction spares the record.
func (rec *Record) Remarkable() bool { return rec.b[offFlags]&standingMask == remarkable }

// count returns how often the record was touched, up to mostCount.
func (rec *Record) count() uint8 { return rec.b[offFlags] >> countShift }

// Touch makes the record the most recent of its kind and tenant, and counts. It
// never lowers expires.
func (rec *Record) Touch(position, expires int64) {
	le.PutUint64(rec.b[offLast:], uint64(position))
	rec.Prolong(expires)
	l := rec.t.listOf(rec.b)
	if rec.counted() {
		rec.move(l, flagsOf(regularCount)|rec.b[offFlags]&heldFlag)
	} else if l.newest != rec.r {
		rec.t.unlink(l, rec.b)
		rec.t.push(l, rec.r, rec.b)
	}
}

// counted counts a touch, and reports whether a newcomer becomes a regular.
func (rec *Record) counted() bool {
	flags := rec.b[offFlags]
	if flags>>countShift < mostCount {
		flags += 1 << countShift
		rec.b[offFlags] = flags
	}
	return flags>>countShift == regularCount && flags&standingMask == newcomer
}

// Spare makes the record remarkable: it is evicted last, until it expires. It never
// lowers expires.
func (rec *Record) Spare(expires int64) {
	rec.Prolong(expires)
	if !rec.Remarkable() {
		rec.move(rec.t.listOf(rec.b), rec.b[offFlags]&^standingMask|remarkable)
	}
}

// Prolong keeps the record at least until expires.
func (rec *Record) Prolong(expires int64) {
	le.PutUint64(rec.b[offExpires:], uint64(max(expires, rec.Expires())))
}

// move takes the record out of its list and makes it the most recent in the list of
// its new flags.
func (rec *Record) move(from *list, flags uint8) {
	rec.t.unlink(from, rec.b)
	rec.b[offFlags] = flags
	rec.t.push(rec.t.listOf(rec.b), rec.r, rec.b)
}

// clear empties an expired record. Like a new one, it is not spared.
func (rec *Record) clear() {
	le.PutUint16(rec.b[offUsed:], headerSize)
	le.PutUint64(rec.b[offExpires:], never)
	rec.near, rec.past = 0, 0
	rec.move(rec.t.listOf(rec.b), 0)
}

func (rec *Record) used() int { return int(le.Uint16(rec.b[offUsed:])) }

// find returns where the slot begins and the length of its payload. The slots of an
// entity's rules usually lie in the order in which the rules are asked, with a look at
// the same other slot in between: so find tries the last two slots, and then searches
// from the last one on.
func (rec *Record) find(id uint32) (at, n int, ok bool) {
	used := rec.used()
	if rec.past > 0 && le.Uint32(rec.b[rec.past:]) == id {
		return rec.past, int(le.Uint16(rec.b[rec.past+4:])), true
	}
	from := max(rec.near, headerSize)
	if at, n, ok = rec.scan(id, from, used); !ok {
		at, n, ok = rec.scan(id, headerSize, from)
	}
	if !ok {
		return used, 0, false
	}
	rec.sawSlot(at)
	return at, n, true
}

// sawSlot remembers where a slot begins.
func (rec *Record) sawSlot(at int) {
	if at != rec.near {
		rec.near, rec.past = at, rec.near
	}
}

// scan searches the slots that begin at from or later, and before to.
func (rec *Record) scan(id uint32, from, to int) (at, n int, ok bool) {
	for at = from; at < to; at += slotHeader + n {
		n = int(le.Uint16(rec.b[at+4:]))
		if le.Uint32(rec.b[at:]) == id {
			return at, n, true
		}
	}
	return 0, 0, false
}

// Slot returns the payload of a rule, in place; nil if there is none.
func (rec *Record) Slot(id uint32) []byte {
	at, n, ok := rec.find(id)
	if !ok {
		return nil
	}
	return rec.b[at+slotHeader : at+slotHeader+n : at+slotHeader+n]
}

// Slots calls yield for every slot.
func (rec *Record) Slots(yield func(id uint32, payload []byte) bool) {
	used := rec.used()
	for at := headerSize; at < used; {
		n := int(le.Uint16(rec.b[at+4:]))
		if !yield(le.Uint32(rec.b[at:]), rec.b[at+slotHeader:at+slotHeader+n]) {
			return
		}
		at += slotHeader + n
	}
}

// Resize sets the size of a slot to n bytes: the old content is kept as far as it
// fits, new bytes are zero. It returns nil, and changes nothing, if the record
// would become larger than 64 KiB.
func (rec *Record) Resize(id uint32, n int) []byte {
	at, had, ok := rec.find(id)
	used, grow := rec.used(), n-had
	if !ok {
		grow += slotHeader
	}
	if used+grow > maxRecord {
		return nil
	}
	rec.fit(used + grow)
	rec.sawSlot(at)
	if rec.past > at {
		rec.past = 0 // it moves
	}
	tail := at + slotHeader + had
	if ok {
		copy(rec.b[at+slotHeader+n:], rec.b[tail:used])
	}
	le.PutUint32(rec.b[at:], id)
	le.PutUint16(rec.b[at+4:], uint16(n))
	le.PutUint16(rec.b[offUsed:], uint16(used+grow))
	payload := rec.b[at+slotHeader : at+slotHeader+n : at+slotHeader+n]
	if n > had {
		clear(payload[had:])
	}
	return payload
}

// fit moves the record to a piece that holds size bytes, if its own is too small.
func (rec *Record) fit(size int) {
	class, ok := classFor(size)
	if !ok || class <= rec.r.class() {
		return
	}
	t, from := rec.t, *rec
	l := t.listOf(from.b)
	t.unlink(l, from.b)
	r := t.alloc(class)
	to := t.open(r)
	copy(to.b, from.b[:from.used()])
	t.slabs[from.r.class()].release(from.r.index())
	t.index.set(to.Key(), r)
	*rec = to
	t.insertBetween(l, to, ref(le.Uint32(to.b[offOlder:])), ref(le.Uint32(to.b[offNewer:])))
}

// insertBetween links a moved record at its old place.
func (t *Table) insertBetween(l *list, rec Record, older, newer ref) {
	if older != noRef {
		le.PutUint32(t.at(older)[offNewer:], uint32(rec.r))
	} else {
		l.coldest = rec.r
	}
	if newer != noRef {
		le.PutUint32(t.at(newer)[offOlder:], uint32(rec.r))
	} else {
		l.newest = rec.r
	}
	l.n++
}
