package state

// group holds the records of one kind and tenant. A tenant's flood stays within its
// groups, and cannot touch another's.
type group struct {
	groupKey
	lists   [standings]list
	evicted int64
	dropped int64 // of evicted, those that were held
	refused int64
}

type groupKey struct {
	kind   uint8
	tenant uint64
}

// The standings of records, in the order of eviction. Within each, the coldest goes
// first: the one whose last touch has the lowest position. No two share a position,
// because it includes an index within the log's record.
const (
	newcomer   = iota // touched fewer than regularCount times
	regular           // touched at least that often
	remarkable        // spared from eviction
	standings
)

// regularCount is how often an entity must have come to be more than a newcomer.
// Keys that come once, however many, only take places of newcomers: the sketch
// makes one in a few hundred look as if it had come twice, and almost none as if it
// had come this often.
const regularCount = 4

// flagsOf returns the flags of an unremarkable record with a count.
func flagsOf(count uint8) uint8 {
	standing := uint8(newcomer)
	if count >= regularCount {
		standing = regular
	}
	return count<<countShift | standing
}

func (g *group) len() int { return g.lists[newcomer].n + g.lists[regular].n + g.lists[remarkable].n }

const (
	// maxGroups limits the groups of a table. Gateways name tenants; tenants beyond
	// the limit share one group of each kind.
	maxGroups    = 1 << 12
	sharedTenant = 1<<64 - 1
)

// groupOf finds or creates the group of a kind and tenant.
func (t *Table) groupOf(kind uint8, tenant uint64) uint16 {
	k := groupKey{kind, tenant}
	n, ok := t.found[k]
	if !ok && len(t.groups) >= maxGroups {
		k.tenant = sharedTenant
		n, ok = t.found[k]
	}
	if !ok {
		n = t.addGroup(group{groupKey: k})
	}
	return n
}

func (t *Table) addGroup(g group) uint16 {
	n := uint16(len(t.groups))
	t.groups = append(t.groups, g)
	t.found[g.groupKey] = n
	return n
}

// Admit creates a record for a key that has none. If the kind and tenant are at
// their cap, the coldest newcomer makes room. If there is no newcomer, the coldest
// regular does, and without regulars the coldest remarkable record, but only if the
// key came at least as often lately, by the sketch, as that entity did; both count
// up to 15. Otherwise ok is false: the key has no record, and only its count in the
// sketch rises.
func (t *Table) Admit(key uint64, kind uint8, tenant uint64, watermark int64) (rec Record, ok bool) {
	n := t.groupOf(kind, tenant)
	g := &t.groups[n]
	t.reclaim(g, watermark)
	count := uint8(0) // the first touch adds one
	if t.caps[kind] > 0 && g.len() >= t.caps[kind] {
		seen := t.sketch.add(key)
		if !t.makeRoom(g, seen) {
			g.refused++
			return rec, false
		}
		count = seen - 1
	}
	return t.insert(key, kind, n, count), true
}

// reclaim frees the coldest records of a group that have expired, a few at a time.
// An expired record and a freed one look the same to callers.
func (t *Table) reclaim(g *group, watermark int64) {
	for i := range g.lists {
		for range 2 {
			r := g.lists[i].coldest
			if r == noRef {
				break
			}
			rec := t.open(r)
			if !rec.expired(watermark) {
				break
			}
			t.remove(rec)
		}
	}
}

// makeRoom evicts a record for a key with a count.
func (t *Table) makeRoom(g *group, seen uint8) bool {
	r := g.coldest()
	if r == noRef {
		return true
	}
	rec := t.open(r)
	if rec.b[offFlags]&standingMask != newcomer && seen < rec.count() {
		return false
	}
	t.evict(g)
	return true
}

// coldest returns the next record to evict.
func (g *group) coldest() ref {
	for i := range g.lists {
		if r := g.lists[i].coldest; r != noRef {
			return r
		}
	}
	return noRef
}

func (t *Table) evict(g *group) {
	rec := t.open(g.coldest())
	if rec.Held() {
		g.dropped++
	}
	t.remove(rec)
	g.evicted++
}

// Dropped returns how many held records of a kind the cap evicted.
func (t *Table) Dropped(kind uint8) (n int64) {
	for i := range t.groups {
		if t.groups[i].kind == kind {
			n += t.groups[i].dropped
		}
	}
	return n
}

// Refused returns how often keys of a kind had no record because of the cap.
func (t *Table) Refused(kind uint8) (n int64) {
	for i := range t.groups {
		if t.groups[i].kind == kind {
			n += t.groups[i].refused
		}
	}
	return n
}
