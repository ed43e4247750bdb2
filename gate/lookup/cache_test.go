package lookup

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// at returns a value with a position.
func at(offset int64) entry {
	return entry{value: score.Value{Kind: facet.Account, Position: score.Position{Offset: offset}, Expires: 1000}, at: time.UnixMilli(offset)}
}

func keyOf(e facet.Entity) string { return e.Tenant + "|" + e.Key }

// TestTheCacheHoldsWhatCameLast: it is bounded, and finds only what was put, under
// the entity and in the list.
func TestTheCacheHoldsWhatCameLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(2*shards, 10*shards).Draw(t, "most")
		c, model := newCache(most), map[facet.Entity]int64{}
		finder := c.finder(keyOf)
		people := rapid.IntRange(1, 30*shards).Draw(t, "people")
		for i := range rapid.IntRange(1, 1000).Draw(t, "steps") {
			n := rapid.IntRange(0, people).Draw(t, "who")
			e := facet.Entity{Kind: facet.Account, Tenant: fmt.Sprint("t", n%2), Key: fmt.Sprint("user-", n)}
			if rapid.Bool().Draw(t, "put") {
				model[e] = int64(i + 1)
				if v := c.put(keyOf(e), at(int64(i+1)), time.Time{}); v.Position.Offset != int64(i+1) {
					t.Fatalf("%+v is kept", v)
				}
				if _, found := finder.find(&e); found == nil || found.value.Position.Offset != int64(i+1) {
					t.Fatalf("%v is gone at once: %v", e, found)
				}
			} else if key, found := finder.find(&e); key != keyOf(e) || found != nil && found.value.Position.Offset != model[e] {
				t.Fatalf("%v is %v under %s, want %d", e, found, key, model[e])
			}
			if n := c.size(); n > most {
				t.Fatalf("%d entries, more than %d", n, most)
			}
		}
		seen := map[string]bool{}
		c.scores(1<<20, 0, func(key string, v score.Value) {
			if seen[key] {
				t.Fatalf("%s comes twice", key)
			}
			seen[key] = true
		})
		for e, offset := range model {
			if _, found := finder.find(&e); found != nil && found.value.Position.Offset != offset {
				t.Fatalf("%v is %d, want %d", e, found.value.Position.Offset, offset)
			}
		}
	})
}

// TestAChangeIsSeenAtOnce by all, while others push it out of the cache.
func TestAChangeIsSeenAtOnce(t *testing.T) {
	c := newCache(4 * shards)
	var wg sync.WaitGroup
	for n := range 4 {
		mine := facet.Entity{Kind: facet.Account, Key: fmt.Sprint("mine-", n)}
		wg.Go(func() {
			finder := c.finder(keyOf)
			for i := range int64(2000) {
				c.put(keyOf(mine), at(i+1), time.Time{})
				if _, found := finder.find(&mine); found != nil && found.value.Position.Offset != i+1 {
					t.Errorf("%v is %d, want %d", mine, found.value.Position.Offset, i+1)
				}
				other := facet.Entity{Kind: facet.IP, Key: fmt.Sprint(n, "-", i%300)}
				finder.find(&other)
				c.put(keyOf(other), at(1), time.Time{})
			}
		})
	}
	wg.Wait()
}
