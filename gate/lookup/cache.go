package lookup

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// entry is a kept value of an entity.
type entry struct {
	value score.Value // Kind 0: Redis has no value
	at    time.Time   // when it was current; zero: it is from disk
	epoch uint64      // the feed's epoch at the time of reading
}

// cache keeps scores under their Redis keys, and the keys of entities, because a
// key costs a hash. It is safe for concurrent use.
type cache struct {
	seed   maphash.Seed
	shards [shards]shard
	names  [shards]nameShard
}

const shards = 16

type shard struct {
	sync.Mutex
	entries generations[string, entry]
}

type nameShard struct {
	sync.Mutex
	keys generations[facet.Entity, string]
}

func newCache(entries int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range shards {
		c.shards[i].entries = newGenerations[string, entry](entries / shards)
		c.names[i].keys = newGenerations[facet.Entity, string](entries / shards)
	}
	return c
}

func (c *cache) shard(key string) *shard { return &c.shards[maphash.String(c.seed, key)%shards] }

// get returns the entry of a key.
func (c *cache) get(key string) (entry, bool) {
	s := c.shard(key)
	s.Lock()
	defer s.Unlock()
	return s.entries.get(key)
}

// put stores a value that was read or heard, and returns the one that is kept
// afterwards. since is the time at which reading began; it is zero if the value was
// heard. Positions never go back: the value with the greater position stays. A
// score that Redis no longer has is dropped, unless it arrived after since.
func (c *cache) put(key string, e entry, since time.Time) score.Value {
	s := c.shard(key)
	s.Lock()
	defer s.Unlock()
	old, ok := s.entries.get(key)
	switch {
	case !ok || old.value.Kind == 0:
	case e.value.Kind == 0 && old.at.After(since):
		return old.value
	case e.value.Kind != 0 && e.value.Position.Less(old.value.Position):
		if !old.at.After(since) {
			old.at, old.epoch = e.at, e.epoch // just looked up, and still the newest known
			s.entries.put(key, old)
		}
		return old.value
	}
	s.entries.put(key, e)
	return e.value
}

// size returns the number of entries.
func (c *cache) size() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.Lock()
		n += s.entries.len()
		s.Unlock()
	}
	return n
}

// scores yields all entries that hold a score.
func (c *cache) scores(yield func(key string, v score.Value)) {
	type pair struct {
		key   string
		value score.Value
	}
	var room []pair
	for i := range c.shards {
		s := &c.shards[i]
		room = room[:0]
		s.Lock()
		s.entries.all(func(key string, e entry) {
			if e.value.Kind != 0 {
				room = append(room, pair{key, e.value})
			}
		})
		s.Unlock()
		for _, p := range room {
			yield(p.key, p.value)
		}
	}
}

// key returns the key of an entity; make computes it if it is not cached.
func (c *cache) key(e facet.Entity, make func(facet.Entity) string) string {
	var h maphash.Hash
	h.SetSeed(c.seed)
	h.WriteByte(byte(e.Kind))
	h.WriteString(e.Key)
	s := &c.names[h.Sum64()%shards]
	s.Lock()
	key, ok := s.keys.get(e)
	s.Unlock()
	if ok {
		return key
	}
	key = make(e)
	s.Lock()
	s.keys.put(cloned(e), key)
	s.Unlock()
	return key
}
