package engine

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// flood is a stream of failed sign-ins from addresses, one raw partition.
type flood struct {
	t      testing.TB
	p      *Partition
	set    *rules.Set
	w      *facet.Writer
	e      *event.Event
	raw    int64 // offset of the next event
	from   int64
	frames int64
	at     int64 // event time, Unix ms
	out    Output
}

func newFlood(t testing.TB, maxEntities int) *flood {
	set := defaultRules(t)
	cfg := testConfig()
	cfg.Sources, cfg.MaxEntities = 1, maxEntities
	p, err := NewPartition(cfg, set, testHasher(), 5, 9)
	if err != nil {
		t.Fatal(err)
	}
	projection := set.Projection()
	e := new(event.Event)
	e.SetText(event.Account, "ann")
	e.SetText(event.Auth, "failure")
	e.SetNum(event.Status, 401)
	return &flood{t: t, p: p, set: set, w: facet.NewWriter(1, 9, &projection), e: e, at: rules.TestStart}
}

func address(name string) facet.Entity { return facet.Entity{Kind: facet.IP, Key: name} }

// event adds one event; frames are applied as they fill.
func (f *flood) event(from, account string) {
	f.e.SetNum(event.Time, f.at)
	f.e.SetText(event.Account, account)
	f.w.Add(address(from), 0, f.raw, f.e)
	f.raw++
	if f.raw-f.from >= 500 {
		f.flush()
	}
}

func (f *flood) flush() {
	frame := f.w.Finish(facet.Section{Owner: 1, From: f.from, To: f.raw, Watermark: f.at})
	if err := f.p.Apply(f.frames, frame, &f.out); err != nil {
		f.t.Fatal(err)
	}
	f.from = f.raw
	f.frames++
	f.out.Updates = f.out.Updates[:0]
}

// state is what is remembered of an address; "" where nothing is.
func (f *flood) state(name string) (all string) {
	rec, ok := f.p.table.Find(f.p.hasher.Sum(address(name)), f.p.watermark)
	if !ok {
		return ""
	}
	for id, payload := range rec.Slots {
		all += fmt.Sprintf("%d %x ", id, payload)
	}
	return all
}

// keys is how many random keys a flood has: ten million in the long version.
func floodKeys() int {
	if os.Getenv("WEIR_LONG") != "" {
		return 10_000_000
	}
	return 300_000
}

// TestAFloodOfKeysPushesNobodyOut sends random addresses, 20,000 a second, over a
// thousand that came a few times before and are then silent, and hides an attack
// in it.
func TestAFloodOfKeysPushesNobodyOut(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(256 << 20))
	const legitimate, most, before = 1000, 20_000, 8
	f := newFlood(t, most)
	name := func(i int) string { return fmt.Sprint("192.0.2.", i) }
	for range before {
		for i := range legitimate {
			f.event(name(i), "ann")
		}
		f.at += 1000
	}
	f.flush()
	known := map[string]string{}
	for i := range legitimate {
		if known[name(i)] = f.state(name(i)); known[name(i)] == "" {
			t.Fatal("nothing is known of a legitimate address")
		}
	}
	f.out.Reset()

	keys, rng, started := floodKeys(), rand.New(rand.NewPCG(1, 7)), time.Now()
	for i := range keys {
		f.event(fmt.Sprintf("2001:db8:%x::", rng.Uint64()), "bob")
		if i%20 == 0 {
			f.at++
		}
		if i%(keys/100) == 0 {
			f.event("198.51.100.1", fmt.Sprint("victim-", i)) // comes a hundred times in all
		}
	}
	f.flush()
	took := time.Since(started)

	kept := 0
	for name, want := range known {
		if f.state(name) == want {
			kept++
		}
	}
	total := f.p.Ledger().Total()
	snapshot := snapshotOf(t, f.p, int(f.frames))
	runtime.GC()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("%d of %d kept, %d entities, %d evicted, %+v, state %d KiB, snapshot %d KiB, heap %d MiB, %d keys/s",
		kept, legitimate, f.p.Entities(), f.p.Evicted(facet.IP), total, f.p.Bytes()>>10, len(snapshot)>>10, mem.HeapAlloc>>20,
		int(float64(keys)/took.Seconds()))
	if kept < legitimate*999/1000 {
		t.Errorf("%d of %d are remembered as they were", kept, legitimate)
	}
	if f.p.Entities() > most || f.p.Bytes() > most*300+4<<20 {
		t.Errorf("%d entities in %d bytes", f.p.Entities(), f.p.Bytes())
	}
	if len(snapshot) > f.p.Bytes()*12/10 {
		t.Errorf("a snapshot of %d bytes for a state of %d", len(snapshot), f.p.Bytes())
	}
	if mem.HeapAlloc > 200<<20 {
		t.Errorf("%d bytes of heap", mem.HeapAlloc)
	}
	found := false
	for _, s := range f.out.Signals {
		found = found || s.Entity.Key == "198.51.100.1"
	}
	if !found {
		t.Error("the attack inside the flood is not found")
	}
}

// TestWhoIsNotAdmittedIsCounted fills the cap with regulars.
func TestWhoIsNotAdmittedIsCounted(t *testing.T) {
	const most = 200
	f := newFlood(t, most)
	for range 8 {
		for i := range most {
			f.event(fmt.Sprint("192.0.2.", i), "ann")
		}
	}
	f.flush()
	for i := range 5000 {
		f.event(fmt.Sprint("2001:db8:", i), "bob")
	}
	f.flush()
	total := f.p.Ledger().Total()
	if total.Applied != 8*most+5000 || total.Unadmitted != 5000 || f.p.Evicted(facet.IP) != 0 || f.p.Refused(facet.IP) != 5000 {
		t.Errorf("%+v, %d evicted, %d refused", total, f.p.Evicted(facet.IP), f.p.Refused(facet.IP))
	}
	for range 9 { // one that comes again and again gets its place, and then its windows
		f.event("203.0.113.1", "eve")
	}
	f.flush()
	if f.state("203.0.113.1") == "" || f.p.Evicted(facet.IP) != 1 {
		t.Errorf("one that came as often as the others has no state; %d evicted", f.p.Evicted(facet.IP))
	}
	if total := f.p.Ledger().Total(); total.Unadmitted != 5007 {
		t.Errorf("%d facets were of entities not admitted", total.Unadmitted)
	}
}
