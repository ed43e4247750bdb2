package emit

import "hash/maphash"

// remembered is how many ids a memory holds at least, once it has had that many.
const remembered = 1 << 15

// memory holds the ids that came last, a bounded number of them. A nil memory holds
// none.
type memory struct {
	seed       maphash.Seed
	young, old map[uint64]struct{}
}

func newMemory() *memory {
	return &memory{seed: maphash.MakeSeed(), young: map[uint64]struct{}{}}
}

// add remembers an id, if it is not "".
func (m *memory) add(id string) {
	if m == nil || id == "" {
		return
	}
	if len(m.young) >= remembered {
		m.old, m.young = m.young, make(map[uint64]struct{}, remembered)
	}
	m.young[maphash.String(m.seed, id)] = struct{}{}
}

// take reports whether an id is remembered, and forgets it.
func (m *memory) take(id string) bool {
	if m == nil || id == "" {
		return false
	}
	h := maphash.String(m.seed, id)
	_, young := m.young[h]
	_, old := m.old[h]
	delete(m.young, h)
	delete(m.old, h)
	return young || old
}
