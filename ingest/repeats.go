package ingest

import (
	"hash/maphash"
	"math/bits"
)

// repeatWindow is the number of offsets within which a repeat is recognised.
const repeatWindow = 1 << 16

// repeats recognises records that a gateway sent again after a lost reply: their
// key and value equal those of one of the last repeatWindow offsets. It is a
// function of the log alone, so a successor gets the same answers after reading
// that stretch again.
//
// It keeps 128 bits of a hash under secrets of this process, so nobody can forge a
// record that looks like another. It takes 1.5 MiB.
type repeats struct {
	seeds [4]maphash.Seed
	ring  []print  // by offset modulo the window
	index []uint32 // place in ring + 1, found by open addressing; 0 is free
	next  int64    // the offset after the last that was shown
}

// print stands for the bytes of a record. The zero print stands for none.
type print struct{ a, b uint64 }

const indexMask = 2*repeatWindow - 1

// newRepeats creates an empty window; the first record will be at first or later.
func newRepeats(first int64) *repeats {
	r := &repeats{ring: make([]print, repeatWindow), index: make([]uint32, indexMask+1), next: first}
	for i := range r.seeds {
		r.seeds[i] = maphash.MakeSeed()
	}
	return r
}

// see takes the record at offset, which is above all earlier ones, and reports
// whether it repeats a record in the window.
func (r *repeats) see(offset int64, key, value []byte) bool {
	// Offsets may be missing in a log; the records in their places are too old as
	// well.
	for o := max(r.next, offset-repeatWindow); o < offset; o++ {
		r.forget(uint32(o % repeatWindow))
	}
	r.next = offset + 1
	p := r.print(key, value)
	known := r.index[r.find(p)]
	if known != 0 {
		r.forget(known - 1)
	}
	place := uint32(offset % repeatWindow)
	r.forget(place)
	r.ring[place], r.index[r.find(p)] = p, place+1
	return known != 0
}

// forget empties a place of the ring.
func (r *repeats) forget(place uint32) {
	if p := r.ring[place]; p != (print{}) {
		r.remove(r.find(p))
		r.ring[place] = print{}
	}
}

func (r *repeats) print(key, value []byte) print {
	p := print{
		a: maphash.Bytes(r.seeds[0], value) + bits.RotateLeft64(maphash.Bytes(r.seeds[1], key), 17),
		b: maphash.Bytes(r.seeds[2], value) + bits.RotateLeft64(maphash.Bytes(r.seeds[3], key), 29),
	}
	if p == (print{}) {
		p.a = 1
	}
	return p
}

// find returns the index of p, or where it would be put.
func (r *repeats) find(p print) int {
	at := int(p.a & indexMask)
	for r.index[at] != 0 && r.ring[r.index[at]-1] != p {
		at = (at + 1) & indexMask
	}
	return at
}

// remove frees a place in the index, and moves up the following ones that could not
// be found otherwise.
func (r *repeats) remove(at int) {
	for next := (at + 1) & indexMask; r.index[next] != 0; next = (next + 1) & indexMask {
		home := int(r.ring[r.index[next]-1].a & indexMask)
		if (next-home)&indexMask >= (next-at)&indexMask {
			r.index[at] = r.index[next]
			at = next
		}
	}
	r.index[at] = 0
}
