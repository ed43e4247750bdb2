package quota

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/facet"
)

func of(name string) []facet.Entity {
	return []facet.Entity{{Kind: facet.Account, Tenant: "shop", Key: name}, {Kind: facet.IP, Tenant: "shop", Key: "203.0.113.9"}}
}

// counted is the brute-force model: all times that ever counted, by limit.
type counted map[string][]time.Time

func (m counted) window(c *Counter, now time.Time) (in []time.Time) {
	for _, at := range m[c.ID] {
		if at.After(now.Add(-c.Window)) {
			in = append(in, at)
		}
	}
	return in
}

func (m counted) take(counters []Counter, now time.Time) []Count {
	counts, refused := make([]Count, len(counters)), false
	for i, c := range counters {
		counts[i].Exceeded = len(m.window(&c, now)) >= c.Most
		refused = refused || counts[i].Exceeded && c.Refuses
	}
	for i, c := range counters {
		if c.All || !counts[i].Exceeded && !refused {
			m[c.ID] = append(m[c.ID], now)
		}
		in := m.window(&c, now)
		in = in[max(0, len(in)-c.Most):]
		counts[i].Remaining = c.Most - len(in)
		if len(in) > 0 {
			counts[i].Reset = in[0].Add(c.Window).Sub(now)
		}
	}
	return counts
}

func TestLocalCountsAsTheModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 0))
	for n := range 10_000 {
		l, model, now := NewLocal(1000), counted{}, time.Unix(1_800_000_000, 0)
		var counters []Counter
		for i := range 1 + rng.IntN(3) {
			counters = append(counters, Counter{
				ID: fmt.Sprint("limit-", i), Entities: of("alice"), Most: 1 + rng.IntN(4), Window: time.Duration(1+rng.IntN(4)) * time.Millisecond,
				Refuses: rng.IntN(3) > 0, All: rng.IntN(3) == 0,
			})
		}
		for range 30 {
			now = now.Add([]time.Duration{0, 1, 500, 999, 1000, 1001, 4000}[rng.IntN(7)] * time.Microsecond)
			some := slices.DeleteFunc(slices.Clone(counters), func(Counter) bool { return rng.IntN(4) == 0 })
			got, want := l.Take(some, now), model.take(some, now)
			if got.Err != nil || !got.At.Equal(now) || !slices.Equal(got.Counts, want) {
				t.Fatalf("schedule %d: %+v: got %+v, want %+v", n, some, got, want)
			}
		}
	}
}

func TestEachCombinationOfEntitiesHasItsOwnCount(t *testing.T) {
	l, now := NewLocal(1000), time.Unix(0, 0)
	exceeded := func(id string, entities []facet.Entity) bool {
		return l.Take([]Counter{{ID: id, Entities: entities, Most: 1, Window: time.Minute, Refuses: true}}, now).Counts[0].Exceeded
	}
	for i, c := range []struct {
		id       string
		entities []facet.Entity
	}{
		{"a", of("alice")},
		{"b", of("alice")},
		{"a", of("bob")},
		{"a", of("alice")[:1]},
		{"a", []facet.Entity{{Kind: facet.Account, Tenant: "bank", Key: "alice"}}},
		{"a", []facet.Entity{{Kind: facet.Device, Tenant: "shop", Key: "alice"}}},
	} {
		if exceeded(c.id, c.entities) || !exceeded(c.id, c.entities) {
			t.Errorf("combination %d shares a count", i)
		}
	}
}

// TestItsMemoryIsBounded: those that were not used for long are forgotten first.
func TestItsMemoryIsBounded(t *testing.T) {
	const most = 10_000
	l, now := NewLocal(most), time.Unix(0, 0)
	counter := func(name string) []Counter {
		return []Counter{{ID: "a", Entities: of(name), Most: 3, Window: time.Minute, Refuses: true}}
	}
	held := func() (n int) {
		for _, half := range []map[string]*times{l.young, l.old} {
			for _, list := range half {
				n += costOfKey + len(list.at)
			}
		}
		return n
	}
	for i := range 100_000 {
		l.Take(counter(fmt.Sprint("user-", i)), now)
		if i%200 == 0 {
			l.Take(counter("regular"), now)
		}
		if i%5000 == 0 && held() > most+costOfKey+3 {
			t.Fatalf("%d are held after %d", held(), i)
		}
	}
	if !l.Take(counter("regular"), now).Counts[0].Exceeded {
		t.Error("one that is used all the time was forgotten")
	}
	if l.Take(counter("user-1"), now).Counts[0].Exceeded {
		t.Error("one that was not used for long is known")
	}
}

// TestTimesThatNoLongerCountTakeNoRoom: whoever asks all the time under a short window
// does not push out those under a long one.
func TestTimesThatNoLongerCountTakeNoRoom(t *testing.T) {
	l, now := NewLocal(1000), time.Unix(0, 0)
	of := func(name string, most int, window time.Duration) bool {
		return l.Take([]Counter{{ID: "a", Entities: of(name), Most: most, Window: window, Refuses: true}}, now).Counts[0].Exceeded
	}
	of("careful", 1, time.Hour)
	for i := range 5000 {
		now = now.Add(100 * time.Millisecond)
		of("busy", 20, time.Second)
		if i%500 == 0 {
			of(fmt.Sprint("user-", i), 1, time.Hour)
		}
	}
	if !of("careful", 1, time.Hour) {
		t.Error("of twelve counters, one was forgotten")
	}
}

func TestLocalAdmitsTheMostUnderConcurrency(t *testing.T) {
	l := NewLocal(1000)
	var mu sync.Mutex
	var wg sync.WaitGroup
	admitted := 0
	for range 50 {
		wg.Go(func() {
			for range 100 {
				if a := l.Take([]Counter{{ID: "a", Entities: of("alice"), Most: 100, Window: time.Hour, Refuses: true}}, time.Now()); !a.Counts[0].Exceeded {
					mu.Lock()
					admitted++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if admitted != 100 {
		t.Errorf("%d are admitted", admitted)
	}
}

func BenchmarkLocal(b *testing.B) {
	l := NewLocal(1 << 20)
	counters := []Counter{{ID: "a", Entities: of("alice"), Most: 100, Window: time.Millisecond, Refuses: true}}
	b.ReportAllocs()
	for b.Loop() {
		l.Take(counters, time.Now())
	}
}
