package lookup

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// entry is a kept value of an entity. It does not change. What most look-ups read
// comes first, so that it is in one cache line.
type entry struct {
	at    time.Time   // when it was current; zero: it is from disk
	epoch uint64      // the feed's epoch at the time of reading
	value score.Value // Kind 0: Redis has no value
}

// cache keeps scores under their Redis keys, a limited number of them: those that
// were used last. Beside them it keeps where the score of an entity is, so that a
// look-up costs one hash and no lock. It is safe for concurrent use.
type cache struct {
	seed   maphash.Seed
	shards [shards]shard
	names  []atomic.Pointer[name] // a power of two
}

const shards = 16

// shard holds a part of the cells. When the young half is full, it becomes the old
// half; cells of the previous old half that were not used since are dropped.
type shard struct {
	sync.Mutex
	half       int // maximum number of young cells
	young, old map[string]*cell
	turn       atomic.Uint64 // how often the halves have changed
}

// cell is the place of a key's entry.
type cell struct {
	key   string
	shard *shard
	entry atomic.Pointer[entry]
	used  atomic.Uint64 // turn of the shard in which the cell became young
}

// name is an entity, its key, and its cell. It does not change; another one takes its
// place.
type name struct {
	entity facet.Entity
	key    string
	cell   *cell // nil: none when the name was made
}

// is reports whether n is the name of an entity. What differs most comes first.
func (n *name) is(e *facet.Entity) bool {
	return n.entity.Key == e.Key && n.entity.Kind == e.Kind && n.entity.Tenant == e.Tenant
}

func newCache(entries int) *cache {
	c := &cache{seed: maphash.MakeSeed(), names: make([]atomic.Pointer[name], 1<<bits.Len(uint(entries)))}
	for i := range shards {
		c.shards[i].half, c.shards[i].young = max(entries/shards/2, 1), map[string]*cell{}
	}
	return c
}

// finder finds the entities of one request, which commonly have one tenant.
type finder struct {
	*cache
	keyOf  func(facet.Entity) string // of what is not kept
	tenant string
	hash   uint64 // of the tenant
}

func (c *cache) finder(keyOf func(facet.Entity) string) finder {
	return finder{cache: c, keyOf: keyOf}
}

// find returns what is known of an entity, and its key. e is nil if nothing is
// known.
func (c *finder) find(of *facet.Entity) (key string, e *entry) {
	if of.Tenant != c.tenant {
		c.tenant, c.hash = of.Tenant, 0
		if of.Tenant != "" {
			c.hash = bits.RotateLeft64(maphash.String(c.seed, of.Tenant), 1)
		}
	}
	h := maphash.String(c.seed, of.Key) ^ c.hash
	h += uint64(of.Kind) * 0x9e3779b97f4a7c15
	mask := uint64(len(c.names) - 1)
	first, second := &c.names[h&mask], &c.names[h>>32&mask]
	place, n := first, first.Load()
	if n == nil || !n.is(of) {
		place, n = second, second.Load()
		if n == nil || !n.is(of) {
			n = &name{entity: cloned(of), key: c.keyOf(*of)}
			if place = second; first.Load() == nil {
				place = first
			}
		}
	}
	if n.cell != nil && n.cell.used.Load() == n.cell.shard.turn.Load() {
		return n.key, n.cell.entry.Load()
	}
	// The cell is not known, old, or dropped.
	s := c.shard(n.key)
	s.Lock()
	found := s.get(n.key)
	s.Unlock()
	if found != n.cell || place.Load() != n {
		place.Store(&name{n.entity, n.key, found})
	}
	if found == nil {
		return n.key, nil
	}
	return n.key, found.entry.Load()
}

func (c *cache) shard(key string) *shard { return &c.shards[maphash.String(c.seed, key)%shards] }

// get returns the cell of a key, and makes it young; nil if there is none.
func (s *shard) get(key string) *cell {
	if c := s.young[key]; c != nil {
		return c
	}
	c := s.old[key]
	if c != nil {
		s.add(c)
	}
	return c
}

// add makes a cell young.
func (s *shard) add(c *cell) {
	if len(s.young) >= s.half {
		s.old, s.young = s.young, make(map[string]*cell, len(s.young)/2)
		s.turn.Add(1)
	}
	s.young[c.key] = c
	c.used.Store(s.turn.Load())
}

// put stores a value that was read or heard, and returns the one that is kept
// afterwards. since is the time at which reading began; it is zero if the value was
// heard. Positions never go back: the value with the greater position stays. A
// score that Redis no longer has is dropped, unless it arrived after since.
func (c *cache) put(key string, e entry, since time.Time) *score.Value {
	s := c.shard(key)
	s.Lock()
	defer s.Unlock()
	place := s.get(key)
	if place == nil {
		place = &cell{key: key, shard: s}
		place.entry.Store(&e)
		s.add(place)
		return &e.value
	}
	old := place.entry.Load()
	switch {
	case old.value.Kind == 0:
	case e.value.Kind == 0 && old.at.After(since):
		return &old.value
	case e.value.Kind != 0 && e.value.Position.Less(old.value.Position):
		if !old.at.After(since) { // just looked up, and still the newest known
			place.entry.Store(&entry{e.at, e.epoch, old.value})
		}
		return &old.value
	}
	place.entry.Store(&e)
	return &e.value
}

// size returns the number of entries; one that is both young and old counts twice.
func (c *cache) size() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		n += len(s.young) + len(s.old)
		s.Unlock()
	}
	return n
}

// scores yields the scores that hold at now (Unix milliseconds), at most about most:
// the same number of each shard, and those that were used last.
func (c *cache) scores(most int, now int64, yield func(key string, v score.Value)) {
	type pair struct {
		key   string
		value score.Value
	}
	var room []pair
	for i := range c.shards {
		s := &c.shards[i]
		room = room[:0]
		add := func(c *cell) {
			if e := c.entry.Load(); e.value.Kind != 0 && e.value.Expires > now && len(room) < most/shards {
				room = append(room, pair{c.key, e.value})
			}
		}
		s.Lock()
		for _, c := range s.young {
			add(c)
		}
		for key, c := range s.old {
			if s.young[key] == nil {
				add(c)
			}
		}
		s.Unlock()
		for _, p := range room {
			yield(p.key, p.value)
		}
	}
}

// cloned returns a copy of an entity. All of a tenant share its text, which is
// compared in every look-up and so stays near.
func cloned(e *facet.Entity) facet.Entity {
	return facet.Entity{Kind: e.Kind, Tenant: unique.Make(e.Tenant).Value(), Key: strings.Clone(e.Key)}
}
