package state

// index finds the record of a 64-bit key: open addressing with linear probing. The
// keys come from a keyed hash, so their low bits are the home position.
//
// It grows by doubling, a few entries at each insertion, so that no single
// insertion pays for millions.
type index struct {
	now table
	old table // the table being emptied into now; empty if there is none
	at  int   // next position of old to move
}

type table struct {
	keys []uint64
	refs []ref // noRef: empty
	n    int
}

const (
	firstSize   = 1 << 10
	movedAtOnce = 8 // entries of the old table that each insertion moves
)

func newTable(size int) table { return table{keys: make([]uint64, size), refs: make([]ref, size)} }

func newIndex() index { return index{now: newTable(firstSize)} }

// find returns the position of a key, or of the hole where it would go.
func (t *table) find(key uint64) (pos int, ok bool) {
	mask := len(t.refs) - 1
	for pos = int(key) & mask; t.refs[pos] != noRef; pos = (pos + 1) & mask {
		if t.keys[pos] == key {
			return pos, true
		}
	}
	return pos, false
}

func (t *table) put(key uint64, r ref) {
	pos, ok := t.find(key)
	if !ok {
		t.n++
	}
	t.keys[pos], t.refs[pos] = key, r
}

// remove closes the hole by moving back entries that were displaced over it.
func (t *table) remove(key uint64) {
	pos, ok := t.find(key)
	if !ok {
		return
	}
	t.n--
	mask := len(t.refs) - 1
	for next := (pos + 1) & mask; t.refs[next] != noRef; next = (next + 1) & mask {
		home := int(t.keys[next]) & mask
		if (next-home)&mask >= (next-pos)&mask {
			t.keys[pos], t.refs[pos] = t.keys[next], t.refs[next]
			pos = next
		}
	}
	t.refs[pos] = noRef
}

func (x *index) get(key uint64) ref {
	if pos, ok := x.now.find(key); ok {
		return x.now.refs[pos]
	}
	if x.old.n > 0 {
		if pos, ok := x.old.find(key); ok {
			return x.old.refs[pos]
		}
	}
	return noRef
}

// set stores the record of a key, new or moved.
func (x *index) set(key uint64, r ref) {
	if x.old.n > 0 {
		if pos, ok := x.old.find(key); ok {
			x.old.refs[pos] = r
			x.migrate()
			return
		}
	}
	x.now.put(key, r)
	x.migrate()
	if x.old.n == 0 && 5*x.now.n > 4*len(x.now.refs) {
		x.old, x.at = x.now, 0
		x.now = newTable(2 * len(x.old.refs))
	}
}

func (x *index) remove(key uint64) {
	if x.old.n > 0 {
		x.old.remove(key)
	}
	x.now.remove(key)
}

// migrate moves some entries of the old table. A move may shift others back, so a
// position is checked until it is empty.
func (x *index) migrate() {
	for range movedAtOnce {
		if x.old.n == 0 {
			x.old, x.at = table{}, 0
			return
		}
		for x.old.refs[x.at] == noRef {
			x.at = (x.at + 1) & (len(x.old.refs) - 1)
		}
		key, r := x.old.keys[x.at], x.old.refs[x.at]
		x.old.remove(key)
		x.now.put(key, r)
	}
}

// all calls yield for every entry.
func (x *index) all(yield func(key uint64, r ref) bool) {
	for _, t := range []*table{&x.now, &x.old} {
		for pos, r := range t.refs {
			if r != noRef && !yield(t.keys[pos], r) {
				return
			}
		}
	}
}

func (x *index) bytes() int { return 12 * (len(x.now.refs) + len(x.old.refs)) }
