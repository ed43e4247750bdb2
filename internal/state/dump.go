package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A dump contains everything that later calls can distinguish, and nothing that
// depends on where records lie. The same calls give the same bytes, even if some of
// them were made before a dump and the rest on the table restored from it. Numbers
// are varints unless stated otherwise:
//
//	groups, in the order in which they came about, each:
//	  kind · tenant u64 · evicted · dropped · refused · lists of newcomers, regulars and remarkable ones
//	  list: records, from the coldest to the most recent, each:
//	    key u64 · last (delta) · expires (delta) · count u8, and 16 more where it is held
//	    length of the slots · slots as they lie in the record
//	sketch
//
// A record that has expired but was not reclaimed yet is dumped without its slots.
// The record itself is needed: until it is reclaimed it counts for the cap and has
// a place in the order of coldness, so without it later evictions would hit others.
// Its slots are not, because nobody can read them again. Reclaiming every record at
// its expiry would be exact too, but it needs a second order of all records, by
// expiry, maintained with every touch.

// ErrDump means that bytes are no dump.
var ErrDump = errors.New("dump of state is damaged")

// Frozen is a table as it was at one moment, while the table itself changes.
// Another goroutine may read it.
type Frozen struct{ table Table }

// Freeze returns the table as it is now. It takes microseconds: the chunks of the
// slabs are shared, and the table copies a chunk before it first writes to it.
// Release ends the sharing.
func (t *Table) Freeze() *Frozen {
	t.views.Add(1)
	f := &Frozen{Table{groups: append([]group(nil), t.groups...), sketch: t.sketch.freeze(), views: t.views}}
	for c := range t.slabs {
		f.table.slabs[c] = t.slabs[c].freeze()
	}
	return f
}

// Release ends the use of f. Call it once.
func (f *Frozen) Release() { f.table.views.Add(-1) }

// Dump writes the canonical form of the state. A record that has expired by
// watermark is written without its slots. watermark must be the one of the table's
// next call, or an earlier one.
func (f *Frozen) Dump(w io.Writer, watermark int64) error {
	b := make([]byte, 0, dumpBuffer+maxRecord)
	b = binary.AppendUvarint(b, uint64(len(f.table.groups)))
	for i := range f.table.groups {
		g := &f.table.groups[i]
		b = le.AppendUint64(append(b, g.kind), g.tenant)
		b = binary.AppendUvarint(b, uint64(g.evicted))
		b = binary.AppendUvarint(b, uint64(g.dropped))
		b = binary.AppendUvarint(b, uint64(g.refused))
		for _, l := range g.lists {
			var err error
			if b, err = f.list(w, b, l, watermark); err != nil {
				return err
			}
		}
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	return f.table.sketch.dump(w)
}

// dumpBuffer is the number of bytes gathered before a write.
const dumpBuffer = 64 << 10

// heldMark marks a held record in a dump.
const heldMark = mostCount + 1

// list appends one list to b, and writes b whenever it is full.
func (f *Frozen) list(w io.Writer, b []byte, l list, watermark int64) ([]byte, error) {
	b = binary.AppendUvarint(b, uint64(l.n))
	var last, expires int64
	for r := l.coldest; r != noRef; {
		rec := f.table.peek(r)
		b = le.AppendUint64(b, rec.Key())
		b = binary.AppendVarint(b, rec.Last()-last)
		b = binary.AppendVarint(b, rec.Expires()-expires)
		mark := rec.count()
		if rec.Held() {
			mark |= heldMark
		}
		b = append(b, mark)
		last, expires = rec.Last(), rec.Expires()
		slots := rec.b[headerSize:rec.used()]
		if rec.expired(watermark) {
			slots = nil
		}
		b = binary.AppendUvarint(b, uint64(len(slots)))
		b = append(b, slots...)
		if len(b) >= dumpBuffer {
			if _, err := w.Write(b); err != nil {
				return b, err
			}
			b = b[:0]
		}
		r = ref(le.Uint32(rec.b[offNewer:]))
	}
	return b, nil
}

// SlotCheck decides on a slot of a dump: kept is the payload, or a beginning of it,
// which check may have modified; nil drops the slot. An impossible payload is an
// error.
type SlotCheck func(kind uint8, slot uint32, payload []byte) (kept []byte, err error)

// Restore creates a table from a dump, with caps that may differ from those of the
// dumped table: a kind with too many records loses its coldest. The error is
// [ErrDump], or an error of reading.
func Restore(r *bufio.Reader, caps Caps, check SlotCheck) (*Table, error) {
	d := restoring{r: r, t: New(caps), check: check}
	groups, err := binary.ReadUvarint(r)
	if err != nil || groups > maxGroups+maxKinds {
		return nil, d.failed(err, "%d groups", groups)
	}
	for range groups {
		if err := d.group(); err != nil {
			return nil, err
		}
	}
	return d.t, d.sketch()
}

type restoring struct {
	r     *bufio.Reader
	t     *Table
	check SlotCheck
	slots [maxRecord]byte
}

// failed returns the reading error if there is one; a dump that ends too early is
// damaged.
func (d *restoring) failed(err error, format string, args ...any) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: cut short", ErrDump)
	case err != nil:
		return err
	}
	return fmt.Errorf("%w: "+format, append([]any{ErrDump}, args...)...)
}

// group reads one group and drops records above the cap, the coldest first.
func (d *restoring) group() error {
	head := d.slots[:9]
	if _, err := io.ReadFull(d.r, head); err != nil {
		return d.failed(err, "")
	}
	g := group{groupKey: groupKey{head[0], le.Uint64(head[1:])}}
	if _, ok := d.t.found[g.groupKey]; ok || g.kind >= maxKinds {
		return d.failed(nil, "group %d %x", g.kind, g.tenant)
	}
	for _, n := range []*int64{&g.evicted, &g.dropped, &g.refused} {
		v, err := binary.ReadUvarint(d.r)
		if err != nil || v > 1<<62 {
			return d.failed(err, "%d records evicted or refused", v)
		}
		*n = int64(v)
	}
	n := d.t.addGroup(g)
	for standing := range standings {
		if err := d.list(n, standing); err != nil {
			return err
		}
	}
	for most := d.t.caps[g.kind]; most > 0 && d.t.groups[n].len() > most; {
		d.t.evict(&d.t.groups[n])
	}
	return nil
}

func (d *restoring) list(group uint16, standing int) error {
	n, err := binary.ReadUvarint(d.r)
	if err != nil {
		return d.failed(err, "")
	}
	var last, expires int64
	for range n {
		if err := d.record(group, standing, &last, &expires); err != nil {
			return err
		}
	}
	return nil
}

// record reads one record, which becomes the most recent of its list.
func (d *restoring) record(group uint16, place int, last, expires *int64) error {
	key := d.slots[:8]
	if _, err := io.ReadFull(d.r, key); err != nil {
		return d.failed(err, "")
	}
	id := le.Uint64(key)
	if d.t.index.get(id) != noRef {
		return d.failed(nil, "key %x stands twice", id)
	}
	for _, v := range []*int64{last, expires} {
		delta, err := binary.ReadVarint(d.r)
		if err != nil {
			return d.failed(err, "")
		}
		*v += delta
	}
	count, err := d.r.ReadByte()
	if err != nil {
		return d.failed(err, "")
	}
	held := count&heldMark != 0
	count &^= heldMark
	flags := flagsOf(count)
	if place == remarkable {
		flags = count<<countShift | remarkable
	}
	if count > mostCount || int(flags&standingMask) != place {
		return d.failed(nil, "a record that came %d times in list %d", count, place)
	}
	kind := d.t.groups[group].kind
	slots, err := d.readSlots(kind)
	if err != nil {
		return err
	}
	class, _ := classFor(headerSize + len(slots))
	r := d.t.alloc(class)
	rec := d.t.open(r)
	rec.initialize(id, kind, group, flags)
	le.PutUint64(rec.b[offLast:], uint64(*last))
	le.PutUint64(rec.b[offExpires:], uint64(*expires))
	le.PutUint16(rec.b[offUsed:], uint16(headerSize+len(slots)))
	copy(rec.b[headerSize:], slots)
	rec.Hold(held)
	d.t.index.set(id, r)
	d.t.push(d.t.listOf(rec.b), r, rec.b)
	return nil
}

// readSlots reads the kept slots of a record. They are valid until the next call.
func (d *restoring) readSlots(kind uint8) ([]byte, error) {
	n, err := binary.ReadUvarint(d.r)
	if err != nil || n > maxRecord-headerSize {
		return nil, d.failed(err, "a record of %d bytes", n)
	}
	all := d.slots[:n]
	if _, err := io.ReadFull(d.r, all); err != nil {
		return nil, d.failed(err, "")
	}
	kept, err := refit(kind, all, d.check)
	if err != nil {
		return nil, d.failed(nil, "%v", err)
	}
	return kept, nil
}

var errSlotCut = errors.New("a slot is cut short")

// refit returns the slots in all that check keeps, in place.
func refit(kind uint8, all []byte, check SlotCheck) ([]byte, error) {
	kept := all[:0]
	for len(all) > 0 {
		if len(all) < slotHeader || len(all) < slotHeader+int(le.Uint16(all[4:])) {
			return nil, errSlotCut
		}
		end := slotHeader + int(le.Uint16(all[4:]))
		payload, err := check(kind, le.Uint32(all), all[slotHeader:end])
		if err != nil {
			return nil, err
		}
		if payload != nil {
			le.PutUint16(all[4:], uint16(len(payload)))
			kept = append(kept, all[:slotHeader+len(payload)]...)
		}
		all = all[end:]
	}
	return kept, nil
}

// Refit lets check decide on every slot of every record that has not expired by
// watermark, as [Restore] does. The table is then as if it had been dumped and
// restored.
func (t *Table) Refit(watermark int64, check SlotCheck) (err error) {
	t.index.all(func(_ uint64, r ref) bool {
		rec := t.open(r)
		if rec.expired(watermark) {
			return true
		}
		var kept []byte
		if kept, err = refit(rec.Kind(), rec.b[headerSize:rec.used()], check); err != nil {
			return false
		}
		le.PutUint16(rec.b[offUsed:], uint16(headerSize+len(kept)))
		return true
	})
	return err
}
