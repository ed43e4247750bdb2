package lookup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

var codec = score.NewCodec([]byte("a secret for tests only"), "weir:risk")

// memory is a store that fails on demand.
type memory struct {
	mu      sync.Mutex
	scores  map[string]score.Value
	bad     map[string]bool
	fail    error
	hang    bool // until the context ends
	takes   time.Duration
	asked   int // round trips
	most    int // in one round trip
	flying  int
	mostFly int
}

func (m *memory) Fetch(ctx context.Context, keys []string) ([]score.Value, []bool, error) {
	m.mu.Lock()
	m.asked++
	m.flying++
	m.most, m.mostFly = max(m.most, len(keys)), max(m.mostFly, m.flying)
	fail, hang, takes := m.fail, m.hang, m.takes
	values, bad := make([]score.Value, len(keys)), make([]bool, len(keys))
	for i, k := range keys {
		values[i], bad[i] = m.scores[k], m.bad[k]
	}
	m.mu.Unlock()
	defer m.set(func() { m.flying-- })
	if hang {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	return values, bad, fail
}

func (m *memory) Ready(context.Context) error { return nil }

func (m *memory) Follow(ctx context.Context, _ score.Hearer) error {
	<-ctx.Done()
	return nil
}

func (m *memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *memory) trips() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

func entity(i int) facet.Entity {
	return facet.Entity{Kind: facet.Account, Tenant: "shop", Key: fmt.Sprint("user-", i)}
}

// value returns a score of an entity at an offset.
func value(e facet.Entity, offset int64, weight uint8) score.Value {
	return score.Value{
		Kind: e.Kind, Digest: codec.Digest(e), Position: score.Position{Incarnation: 1, Offset: offset}, Expires: 253_000_000_000_000,
		Contributions: []score.Contribution{{Rule: "r", Category: "bot", Reason: "why", Phase: rules.Enforce, Weight: weight, HalfLife: 3600}},
	}
}

func stored(entities ...facet.Entity) *memory {
	m := &memory{scores: map[string]score.Value{}, bad: map[string]bool{}}
	for _, e := range entities {
		m.scores[codec.Key(e)] = value(e, 1, 90)
	}
	return m
}

func start(t testing.TB, m Store, change func(*Config)) *Lookup {
	t.Helper()
	cfg := Defaults()
	if change != nil {
		change(&cfg)
	}
	l, err := New(cfg, Dependencies{Store: m, Codec: codec, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const budget = 25 * time.Millisecond

// look looks up one entity.
func look(t testing.TB, l *Lookup, e facet.Entity) Answer {
	t.Helper()
	return l.Look(t.Context(), []facet.Entity{e}, time.Now(), budget, false)
}

func TestWhatIsKeptCostsNoRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stored(entity(0))
		l := start(t, m, nil)
		l.Whole()
		for range 100 {
			a := l.Look(t.Context(), []facet.Entity{entity(0), entity(1)}, time.Now(), budget, false)
			if a.Trouble != "" || a.Value(0).Contributions[0].Weight != 90 || a.Value(1) != nil {
				t.Fatalf("got %+v", a)
			}
		}
		if m.trips() != 1 || m.most != 2 {
			t.Errorf("%d round trips, of %d keys at most", m.trips(), m.most)
		}
		if hits, misses := testutil.ToFloat64(l.metrics.hits), testutil.ToFloat64(l.metrics.misses); hits != 99 || misses != 1 {
			t.Errorf("%v hits, %v misses", hits, misses)
		}
		<-time.After(5 * time.Second) // max_stale, of the bubble's clock
		look(t, l, entity(1))
		if m.trips() != 2 {
			t.Errorf("%d round trips when it is too old", m.trips())
		}
	})
}

func TestWithoutTheFeedScoresAreKeptForASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stored(entity(0))
		l := start(t, m, nil)
		expect := func(what string, trips int) {
			t.Helper()
			look(t, l, entity(0))
			if m.trips() != trips {
				t.Errorf("%s: %d round trips, want %d", what, m.trips(), trips)
			}
		}
		expect("at first", 1)
		<-time.After(999 * time.Millisecond)
		expect("within the second", 1)
		<-time.After(time.Millisecond)
		expect("after it", 2)
		l.Whole()
		<-time.After(time.Second)
		expect("read before anybody followed", 3)
		<-time.After(4 * time.Second)
		expect("with the feed", 3)
		l.Broken()
		expect("read before a gap", 4)
		l.Whole()
		<-time.After(1500 * time.Millisecond)
		expect("read amid a gap", 5)
	})
}

func TestChangesHoldAtOnce(t *testing.T) {
	m := stored(entity(0))
	l := start(t, m, nil)
	l.Whole()
	look(t, l, entity(0))
	look(t, l, entity(1))
	l.Changed(codec.Key(entity(0)), value(entity(0), 7, 20))
	l.Changed(codec.Key(entity(1)), value(entity(1), 8, 30))
	l.Changed(codec.Key(entity(2)), value(entity(2), 9, 40)) // nobody asked for it yet
	l.Changed(codec.Key(entity(0)), value(entity(0), 6, 99)) // older
	for i, want := range []uint8{20, 30, 40} {
		if a := look(t, l, entity(i)); a.Trouble != "" || a.Value(0).Contributions[0].Weight != want {
			t.Errorf("entity %d: %+v, want weight %d", i, a, want)
		}
	}
	if m.trips() != 2 {
		t.Errorf("%d round trips", m.trips())
	}
}

// TestAnAnswerThatWasOvertakenDoesNotComeBack: a change was heard while an older
// value was still in flight.
func TestAnAnswerThatWasOvertakenDoesNotComeBack(t *testing.T) {
	for _, old := range []string{"an older score", "none"} {
		t.Run(old, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := stored()
				if old != "none" {
					m = stored(entity(0))
				}
				m.takes = 10 * time.Millisecond
				l := start(t, m, nil)
				l.Whole()
				go look(t, l, entity(0))
				<-time.After(5 * time.Millisecond)
				l.Changed(codec.Key(entity(0)), value(entity(0), 7, 20))
				<-time.After(20 * time.Millisecond)
				if a := look(t, l, entity(0)); a.Value(0).Position.Offset != 7 || m.trips() != 1 {
					t.Errorf("got %+v after %d round trips", a, m.trips())
				}
			})
		})
	}
}

// TestAStoreThatWasEmptiedIsBelieved: missing scores count as such, and older ones
// are ignored.
func TestAStoreThatWasEmptiedIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stored(entity(0), entity(1))
		m.scores[codec.Key(entity(1))] = value(entity(1), 9, 90)
		l := start(t, m, nil)
		look(t, l, entity(0))
		look(t, l, entity(1))
		m.set(func() {
			delete(m.scores, codec.Key(entity(0)))
			m.scores[codec.Key(entity(1))] = value(entity(1), 3, 10)
		})
		<-time.After(2 * time.Second)
		if a := look(t, l, entity(0)); a.Value(0) != nil {
			t.Errorf("emptied: %+v", a)
		}
		if a := look(t, l, entity(1)); a.Value(0).Position.Offset != 9 {
			t.Errorf("back in time: %+v", a)
		}
	})
}

// TestAStoreThatIsSlowerThanTheBudgetStillAnswers: the next request has the value.
// Earlier, nothing was denied with a Redis that was 20 ms slower.
func TestAStoreThatIsSlowerThanTheBudgetStillAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stored(entity(0))
		m.takes = 200 * time.Millisecond
		l := start(t, m, nil)
		begun := time.Now()
		if a := look(t, l, entity(0)); a.Trouble != Timeout || time.Since(begun) != budget {
			t.Errorf("%+v after %v", a, time.Since(begun))
		}
		begun = time.Now()
		if a := look(t, l, entity(0)); a.Trouble != Timeout || time.Since(begun) != 0 {
			t.Errorf("again: %+v after %v: it is known to take longer", a, time.Since(begun))
		}
		<-time.After(200 * time.Millisecond)
		if a := look(t, l, entity(0)); a.Trouble != "" || a.Value(0).Contributions[0].Weight != 90 {
			t.Errorf("when it has come: %+v", a)
		}
		if m.trips() != 1 {
			t.Errorf("%d round trips", m.trips())
		}
	})
}

func TestAStoreThatHangsCostsFewBudgetsAndThenNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stored(entity(0))
		m.hang = true
		l := start(t, m, nil)
		cost, counts := time.Duration(0), map[string]int{}
		const requests = 2000 // one every 5 ms, each for another entity
		for i := range requests {
			begun := time.Now()
			a := look(t, l, entity(i))
			took := time.Since(begun)
			if took > budget {
				t.Fatalf("request %d took %v", i, took)
			}
			cost += took
			counts[a.Trouble]++
			<-time.After(5*time.Millisecond - min(took, 5*time.Millisecond))
		}
		// Four round trips hang for half a second, then four more. Then the breaker
		// is open, except for one try per second.
		if cost > 40*budget || counts[""] != 0 || counts[Breaker] < requests/3 {
			t.Errorf("the requests waited for %v: %v", cost, counts)
		}
		if m.mostFly > mostTrips || m.trips() > 30 {
			t.Errorf("%d round trips, %d at once", m.trips(), m.mostFly)
		}
		if l.breaker.Open() != 1 {
			t.Error("the breaker is closed")
		}
		m.set(func() { m.hang = false })
		back := time.Now()
		for look(t, l, entity(0)).Trouble != "" {
			if time.Since(back) > 2*time.Second {
				t.Fatal("it has not recovered within 2 s")
			}
			<-time.After(time.Millisecond)
		}
		<-time.After(time.Second)
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.asks) != 0 || len(l.queue) != 0 || l.trips.Count() != 0 {
			t.Errorf("left: %d wanted, %d queued, %d round trips", len(l.asks), len(l.queue), l.trips.Count())
		}
	})
}

func TestCrowdsDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stored()
		m.hang = true
		l := start(t, m, nil)
		var wg sync.WaitGroup
		var mu sync.Mutex
		counts := map[string]int{}
		for i := range 2000 {
			wg.Go(func() {
				a := l.Look(context.Background(), []facet.Entity{entity(i), entity(-i)}, time.Now(), budget, false)
				mu.Lock()
				counts[a.Trouble]++
				mu.Unlock()
			})
		}
		wg.Wait()
		synctest.Wait()
		if counts[""] != 0 || counts[Busy] == 0 || counts[Timeout] == 0 {
			t.Errorf("got %v", counts)
		}
		l.mu.Lock()
		if len(l.queue) > mostWaste*l.cfg.MaxLookups {
			t.Errorf("%d keys are wanted", len(l.queue))
		}
		if l.trips.Count() > mostTrips {
			t.Errorf("%d round trips at once", l.trips.Count())
		}
		l.mu.Unlock()
		l.running.Wait() // the round trips end on their own
	})
}

func TestRequestsShareRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stored()
		m.takes = 10 * time.Millisecond
		l := start(t, m, nil)
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				if a := look(t, l, entity(i%50)); a.Trouble != "" {
					t.Errorf("got %+v", a)
				}
			})
		}
		wg.Wait()
		if m.trips() > 2*mostTrips || m.mostFly > mostTrips {
			t.Errorf("%d round trips, %d at once", m.trips(), m.mostFly)
		}
	})
}

func TestWhoGoesAwayDoesNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stored(entity(0))
		m.takes = 10 * time.Millisecond
		l := start(t, m, func(c *Config) { c.BreakerFailures = 1 })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if a := l.Look(ctx, []facet.Entity{entity(0)}, time.Now(), budget, false); a.Trouble != Canceled {
			t.Errorf("got %+v", a)
		}
		if a := look(t, l, entity(0)); a.Trouble != "" || m.trips() != 1 {
			t.Errorf("the next one: %+v after %d round trips", a, m.trips())
		}
	})
}

func TestWhatIsNoScoreIsAPartOfTheAnswer(t *testing.T) {
	m := stored(entity(0))
	m.bad[codec.Key(entity(1))] = true
	l := start(t, m, func(c *Config) { c.BreakerFailures = 1 })
	for range 3 {
		a := l.Look(t.Context(), []facet.Entity{entity(0), entity(1)}, time.Now(), time.Second, false)
		if a.Trouble != Partial || a.Value(0).Contributions[0].Weight != 90 || a.Value(1) != nil {
			t.Fatalf("got %+v", a)
		}
	}
}

func TestErrorsAreTold(t *testing.T) {
	m := stored(entity(0))
	m.fail = errors.New("refused")
	l := start(t, m, nil)
	if a := l.Look(t.Context(), []facet.Entity{entity(0)}, time.Now(), time.Second, false); a.Trouble != Failed {
		t.Errorf("got %+v", a)
	}
	if got := testutil.ToFloat64(l.metrics.troubles[Failed]); got != 1 {
		t.Errorf("%v counted", got)
	}
}

// panicking is a store with a bug.
type panicking struct{ *memory }

func (panicking) Fetch(context.Context, []string) ([]score.Value, []bool, error) { panic("a bug") }

func TestAPanicIsAnErrorAndNobodyWaitsForEver(t *testing.T) {
	l := start(t, panicking{stored()}, nil)
	if a := l.Look(t.Context(), []facet.Entity{entity(0)}, time.Now(), time.Minute, false); a.Trouble != Failed {
		t.Errorf("got %+v", a)
	}
}

func TestWhatWasKnownEarlierCountsWhereItIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := stored(entity(0))
		l := start(t, m, nil)
		look(t, l, entity(0))
		look(t, l, entity(1))
		m.set(func() { m.fail = errors.New("away") })
		<-time.After(time.Hour)
		for _, tc := range []struct {
			name     string
			entities []facet.Entity
			earlier  bool
			weight   uint8
			known    bool
		}{
			{"an attacker", []facet.Entity{entity(0)}, true, 90, true},
			{"where it is not wanted", []facet.Entity{entity(0)}, false, 0, false},
			{"an innocent beside him", []facet.Entity{entity(0), entity(1)}, true, 90, true},
			{"a stranger beside him", []facet.Entity{entity(0), entity(2)}, true, 90, false},
		} {
			a := l.Look(t.Context(), tc.entities, time.Now(), budget, tc.earlier)
			weight := uint8(0)
			if a.Value(0) != nil {
				weight = a.Value(0).Contributions[0].Weight
			}
			if a.Trouble == "" || a.Earlier != tc.known || weight != tc.weight {
				t.Errorf("%s: %+v", tc.name, a)
			}
		}
	})
}

func TestAnExpiredScoreIsNone(t *testing.T) {
	m := stored(entity(0))
	v := m.scores[codec.Key(entity(0))]
	v.Expires = 1
	m.scores[codec.Key(entity(0))] = v
	if a := start(t, m, nil).Look(t.Context(), []facet.Entity{entity(0)}, time.Now(), time.Second, false); a.Trouble != "" || a.Value(0) != nil {
		t.Errorf("got %+v", a)
	}
}

func TestMistakesInTheConfigurationAreNamed(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"max_lookups": func(c *Config) { c.MaxLookups = 0 }, "breaker_failures": func(c *Config) { c.BreakerFailures = 0 },
		"breaker_pause": func(c *Config) { c.BreakerPause = 0 }, "max_stale": func(c *Config) { c.MaxStale = -1 }, "cache_entries": func(c *Config) { c.CacheEntries = 1 },
	} {
		c := Defaults()
		spoil(&c)
		if err := c.Validate(); err == nil || len(err.Error()) < len(name) || err.Error()[:5+len(name)] != "gate."+name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Defaults(), Dependencies{}); err == nil {
		t.Error("a look-up without a store")
	}
}

func BenchmarkLookKept(b *testing.B) {
	l := start(b, stored(entity(0)), func(c *Config) { c.MaxStale = time.Hour })
	l.Whole()
	entities := []facet.Entity{entity(0), entity(1), entity(2), entity(3)}
	l.Look(b.Context(), entities, time.Now(), time.Second, false)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a := l.Look(context.Background(), entities, time.Now(), time.Second, false); a.Trouble != "" {
				b.Fatal(a.Trouble)
			}
		}
	})
}

// TestWhatIsFoundIsInOrder: however many entities have risk, and in whatever order
// they are found.
func TestWhatIsFoundIsInOrder(t *testing.T) {
	for n := range 3 * fewFound {
		var a Answer
		values := make([]score.Value, n)
		for _, place := range rand.Perm(n) {
			a.add(Found{place, &values[place]})
		}
		found := a.Found()
		if len(found) != n || a.Value(n) != nil {
			t.Fatalf("%d: %v", n, found)
		}
		for i, f := range found {
			if f.Place != i || f.Value != &values[i] || a.Value(i) != &values[i] {
				t.Errorf("%d: %v", n, found)
			}
		}
	}
}
