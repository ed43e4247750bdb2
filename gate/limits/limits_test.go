package limits

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/quota"
)

// memory is a store that fails on demand.
type memory struct {
	mu      sync.Mutex
	local   *quota.Local
	fail    error
	some    error // for every other request
	hang    bool  // until the context ends
	takes   time.Duration
	panics  bool
	cuts    bool // one answer is missing
	trips   int
	asked   int // requests
	flying  int
	mostFly int
}

func newMemory() *memory { return &memory{local: quota.NewLocal(1 << 20)} }

func (m *memory) Take(ctx context.Context, batch [][]quota.Counter) []quota.Answer {
	m.mu.Lock()
	m.trips++
	m.asked += len(batch)
	m.flying++
	m.mostFly = max(m.mostFly, m.flying)
	fail, some, hang, takes, panics, cuts := m.fail, m.some, m.hang, m.takes, m.panics, m.cuts
	m.mu.Unlock()
	defer m.set(func() { m.flying-- })
	if panics {
		panic("as the test wants")
	}
	if hang {
		takes = time.Hour
	}
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			fail = ctx.Err()
		}
	}
	answers := make([]quota.Answer, len(batch))
	for i := range batch {
		switch {
		case fail != nil:
			answers[i].Err = fail
		case some != nil && i%2 == 1:
			answers[i].Err = some
		default:
			answers[i] = m.local.Take(batch[i], time.Now())
		}
	}
	if cuts {
		return answers[1:]
	}
	return answers
}

func (m *memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

const budget = 25 * time.Millisecond

func start(t testing.TB, s Store, change func(*lookup.Config)) *Limits {
	t.Helper()
	cfg := lookup.Defaults()
	if change != nil {
		change(&cfg)
	}
	l, err := New(Dependencies{Store: s, Bounds: cfg, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func counter(name string, most int) []quota.Counter {
	return []quota.Counter{{
		ID: "login", Entities: []facet.Entity{{Kind: facet.Account, Tenant: "shop", Key: name}}, Most: most, Window: time.Minute, Refuses: true,
	}}
}

// take counts one request.
func take(t testing.TB, l *Limits, name string, most int) Answer {
	t.Helper()
	a := l.Start(counter(name, most), budget).Wait(t.Context())
	if len(a.Counts) != 1 {
		t.Fatalf("%+v", a)
	}
	return a
}

// TestTheStoreCountsWhileItAnswers, and several requests share a round trip.
func TestTheStoreCountsWhileItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		one, other := start(t, m, nil), start(t, m, nil)
		for n, exceeded := range []bool{false, false, false, true} {
			l := one
			if n%2 == 1 {
				l = other
			}
			if a := take(t, l, "alice", 3); a.Trouble != "" || a.Counts[0].Exceeded != exceeded {
				t.Fatalf("request %d: %+v", n, a)
			}
		}
		m.set(func() { m.takes, m.trips = 10*time.Millisecond, 0 })
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if a := take(t, one, fmt.Sprint("user-", i), 3); a.Trouble != "" {
					t.Errorf("%+v", a)
				}
			})
		}
		wg.Wait()
		if m.trips > mostTrips+2 || m.mostFly > mostTrips {
			t.Errorf("%d round trips, %d at once", m.trips, m.mostFly)
		}
		if got := testutil.ToFloat64(one.metrics.checked); got != 102 {
			t.Errorf("%v are checked", got)
		}
	})
}

// TestWithoutTheStoreEachGateCountsByItself: the local limit is a floor.
func TestWithoutTheStoreEachGateCountsByItself(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*memory)
		want  string
	}{
		{"it fails", func(m *memory) { m.fail = errors.New("away") }, lookup.Failed},
		{"it is slow", func(m *memory) { m.takes = 100 * time.Millisecond }, lookup.Timeout},
		{"it hangs", func(m *memory) { m.hang = true }, lookup.Timeout},
		{"it panics", func(m *memory) { m.panics = true }, lookup.Failed},
		{"it loses an answer", func(m *memory) { m.cuts = true }, lookup.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				tc.spoil(m)
				l := start(t, m, nil)
				for n, exceeded := range []bool{false, false, false, true, true, true, true, true} {
					begun := time.Now()
					a := take(t, l, "alice", 3)
					if a.Counts[0].Exceeded != exceeded || n == 0 && a.Trouble != tc.want || a.Trouble == "" {
						t.Errorf("request %d: %+v", n, a)
					}
					if took := time.Since(begun); took > budget {
						t.Errorf("request %d took %v", n, took)
					}
				}
				<-time.After(time.Minute)
				if a := take(t, l, "alice", 3); a.Counts[0].Exceeded {
					t.Errorf("a window later: %+v", a)
				}
				<-time.After(time.Second) // what is under way ends
			})
		})
	}
}

// TestAHangingStoreCostsLittle: goroutines do not pile up, requests stop waiting, and
// the store is found when it is back.
func TestAHangingStoreCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.hang = true
		l := start(t, m, nil)
		before, counts, cost := runtime.NumGoroutine(), map[string]int{}, time.Duration(0)
		for i := range 2000 { // one every 5 ms
			begun := time.Now()
			a := take(t, l, fmt.Sprint("user-", i), 3)
			took := time.Since(begun)
			cost += took
			counts[a.Trouble]++
			<-time.After(5*time.Millisecond - min(took, 5*time.Millisecond))
			if n := runtime.NumGoroutine(); n > before+mostTrips+1 {
				t.Fatalf("%d goroutines", n)
			}
		}
		if cost > 40*budget || counts[""] != 0 || counts[lookup.Breaker] < 600 {
			t.Errorf("the requests waited for %v: %v", cost, counts)
		}
		if m.mostFly > mostTrips || m.trips > 30 || l.breaker.Open() != 1 {
			t.Errorf("%d round trips, %d at once", m.trips, m.mostFly)
		}
		m.set(func() { m.hang = false })
		back := time.Now()
		for take(t, l, "alice", 1<<10).Trouble != "" {
			<-time.After(5 * time.Millisecond)
		}
		if took := time.Since(back); took > 2*time.Second {
			t.Errorf("it is found after %v", took)
		}
	})
}

// TestWhoLeftIsNotCountedLater: a request whose budget was over before it was sent
// has been counted here.
func TestWhoLeftIsNotCountedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.takes = 400 * time.Millisecond
		l := start(t, m, nil)
		for i := range mostTrips {
			take(t, l, fmt.Sprint("user-", i), 3) // occupies a round trip
		}
		var requests []*Request // queued
		for range 3 {
			requests = append(requests, l.Start(counter("alice", 3), time.Second))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m.set(func() { m.asked = 0 })
		for _, r := range requests[:2] {
			if a := r.Wait(ctx); a.Trouble != lookup.Canceled {
				t.Errorf("%+v", a)
			}
		}
		if a := requests[2].Wait(t.Context()); a.Trouble != "" {
			t.Errorf("%+v", a)
		}
		m.set(func() {
			if m.asked != 1 {
				t.Errorf("%d are sent", m.asked)
			}
		})
		<-time.After(time.Second)
		synctest.Wait()
		if l.waiting != 0 || len(l.queue) != 0 || l.trips.Count() != 0 {
			t.Errorf("%d wait, %d are queued, %d round trips", l.waiting, len(l.queue), l.trips.Count())
		}
	})
}

// TestAPartOfTheStoreIsAway: the others are counted, and the breaker stays closed.
func TestAPartOfTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.some, m.takes = errors.New("a node is away"), time.Millisecond
		l := start(t, m, nil)
		for range 20 {
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() { take(t, l, fmt.Sprint("user-", i), 1000) })
			}
			wg.Wait()
		}
		if l.breaker.Open() != 0 || testutil.ToFloat64(l.metrics.troubles[lookup.Failed]) == 0 || testutil.ToFloat64(l.metrics.checked) == 0 {
			t.Errorf("open %v, %v failed, %v checked", l.breaker.Open(), testutil.ToFloat64(l.metrics.troubles[lookup.Failed]), testutil.ToFloat64(l.metrics.checked))
		}
	})
}

func TestTooManyRequestsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.takes = 10 * time.Millisecond
		l := start(t, m, func(c *lookup.Config) { c.MaxLookups = 5 })
		var requests []*Request
		for range 8 {
			requests = append(requests, l.Start(counter("alice", 100), budget))
		}
		busy := 0
		for _, r := range requests {
			if r.Wait(t.Context()).Trouble == lookup.Busy {
				busy++
			}
		}
		if busy != 3 {
			t.Errorf("%d were too many", busy)
		}
	})
}

func TestRunEndsRoundTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.hang = true
		l := start(t, m, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		r := l.Start(counter("alice", 3), 10*time.Second)
		synctest.Wait()
		cancel()
		if a := r.Wait(t.Context()); a.Trouble != lookup.Failed || len(a.Counts) != 1 {
			t.Errorf("%+v", a)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if a := take(t, l, "alice", 3); a.Trouble != lookup.Failed {
			t.Errorf("after the end: %+v", a)
		}
	})
}

func TestMissingPartsAreNamed(t *testing.T) {
	for _, deps := range []Dependencies{
		{}, {Store: newMemory(), Timeout: time.Second}, {Store: newMemory(), Bounds: lookup.Defaults()}, {Bounds: lookup.Defaults(), Timeout: time.Second},
	} {
		if _, err := New(deps); err == nil {
			t.Errorf("%+v", deps)
		}
	}
}

// BenchmarkTake measures what a limit costs a gate beside the round trip.
func BenchmarkTake(b *testing.B) {
	l := start(b, newMemory(), nil)
	b.ReportAllocs()
	for b.Loop() {
		l.Start(counter("alice", 100), budget).Wait(b.Context())
	}
}
