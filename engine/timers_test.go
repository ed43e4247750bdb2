package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// waiting is a detector that fires a minute after each entity's latest event, and
// keeps nothing else.
type waiting struct{}

func (waiting) Fields() []event.Field                               { return nil }
func (waiting) State() string                                       { return "" }
func (waiting) Canonical() string                                   { return "" }
func (waiting) Keeps() rules.Keeps                                  { return rules.Keeps{Ahead: time.Hour} }
func (w waiting) Detector(detectors.Environment) detectors.Detector { return w }

func (waiting) Apply(c *detectors.Context, _ *detectors.Firing) bool {
	c.Timer = c.Time + 60_000
	return false
}

func (waiting) Due(_ *detectors.Context, f *detectors.Firing) bool {
	f.Tier, f.Weight, f.Evidence = 0, 50, f.Evidence[:0]
	return true
}

func (waiting) Fit([]byte) ([]byte, bool)                   { return nil, false }
func (waiting) Explain([]byte, int64) detectors.Explanation { return detectors.Explanation{} }

// awaited is a partition with the rule, and what writes to it.
type awaited struct {
	testing.TB
	p      *Partition
	w      *facet.Writer
	offset int64
	out    Output
}

func newAwaited(t testing.TB, maxEntities int) *awaited {
	t.Helper()
	set := oneRule(t, waiting{})
	cfg := Defaults()
	cfg.Lateness, cfg.MaxEntities, cfg.Sources, cfg.Partitions = 0, maxEntities, 1, 1
	p, err := NewPartition(cfg, set, testHasher(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	projection := set.Projection()
	return &awaited{TB: t, p: p, w: facet.NewWriter(1, 1, &projection)}
}

// events applies a record with an event of each account from..to−1 at a time, and
// lets time go on to it.
func (a *awaited) events(from, to int, at int64) (signals int) {
	a.Helper()
	var e event.Event
	e.SetNum(event.Time, at)
	e.SetNum(event.Status, 200)
	first := a.offset
	for i := from; i < to; i++ {
		a.w.Add(facet.Entity{Kind: facet.Account, Key: fmt.Sprint("user-", i)}, 0, a.offset, &e)
		a.offset++
	}
	return a.frame(first, at)
}

func (a *awaited) frame(from, watermark int64) (signals int) {
	a.Helper()
	frame := a.w.Finish(facet.Section{Owner: 1, From: from, To: a.offset, Watermark: watermark})
	a.out.Reset()
	if err := a.p.Apply(a.offset, frame, &a.out); err != nil {
		a.Fatal(err)
	}
	return len(a.out.Signals)
}

func (a *awaited) tick(watermark int64) (signals int) { return a.frame(a.offset, watermark) }

const day = int64(86_400_000)

// TestManyTimersAtOnce: of timers that are due at once each record has so many
// called, in their order, as if there had been no snapshot in between.
func TestManyTimersAtOnce(t *testing.T) {
	const n = 2*mostDue + 300
	a := newAwaited(t, 1<<20)
	for i := 0; i < n; i += 4 {
		a.events(i, i+4, rules.TestStart+int64(i))
	}
	var found []string
	for _, want := range []int{mostDue, mostDue, 300, 0} {
		if got := a.tick(rules.TestStart + day); got != want {
			t.Fatalf("%d signals, want %d", got, want)
		}
		for i, s := range a.out.Signals {
			if s.Position.Index != int32(i) || s.Position.Offset != a.offset {
				t.Fatalf("signal %d has position %+v", i, s.Position)
			}
			found = append(found, s.Entity.Key)
		}
		b := snapshotOf(t, a.p, 1)
		again, _, err := RestorePartition(a.p.cfg, a.p.rules, testHasher(), 0, 1, b)
		if err != nil {
			t.Fatal(err)
		}
		if again.Digest() != a.p.Digest() || !slices.Equal(sortedEntries(again), sortedEntries(a.p)) {
			t.Fatal("what is restored is another state")
		}
		a.p = again
	}
	slices.Sort(found)
	if len(slices.Compact(found)) != n {
		t.Errorf("of %d entities, %d had a signal", n, len(slices.Compact(found)))
	}
	if a.p.table.Held() != 0 || len(a.p.timers.heap) != 0 {
		t.Errorf("%d records are held, %d entries are left", a.p.table.Held(), len(a.p.timers.heap))
	}
}

func sortedEntries(p *Partition) []entry {
	all := slices.Clone(p.timers.heap)
	slices.SortFunc(all, entry.compare)
	return all
}

// At the end of the log what is due by the latest time that was said is called, all
// of it; what would have come later, nobody knows.
func TestAnEndIsNoAbsence(t *testing.T) {
	a := newAwaited(t, 1<<20)
	a.events(0, 2*mostDue, rules.TestStart)
	a.events(2*mostDue, 2*mostDue+10, rules.TestStart+1)
	if got := a.tick(rules.TestStart + 60_000 - 1); got != 0 {
		t.Fatalf("%d signals too early", got)
	}
	a.p.see(rules.TestStart + 60_000)
	if got := a.tick(facet.EndWatermark); got != 2*mostDue {
		t.Errorf("%d signals, want %d", got, 2*mostDue)
	}
	if len(a.out.Updates) != 0 {
		t.Errorf("%d scores of a log that has ended", len(a.out.Updates))
	}
}

// A flood of entities with timers takes no more memory than those that are kept,
// and those that give way are counted.
func TestTimersOfEntitiesThatGiveWayAreDropped(t *testing.T) {
	a := newAwaited(t, 500)
	for i := 0; i < 20_000; i += 100 {
		a.events(i, i+100, rules.TestStart)
		if len(a.p.timers.heap) > 2*500+1024+1 {
			t.Fatalf("%d entries for %d records", len(a.p.timers.heap), a.p.table.Held())
		}
	}
	if a.p.table.Held() != 500 || a.p.DroppedTimers(facet.Account) != 19_500 {
		t.Errorf("%d timers are set, %d were dropped", a.p.table.Held(), a.p.DroppedTimers(facet.Account))
	}
	if got := a.tick(rules.TestStart + day); got != 500 {
		t.Errorf("%d signals, want 500", got)
	}
}

// A timer that every event moves on costs no entry.
func TestAMovedTimerCostsNoEntry(t *testing.T) {
	a := newAwaited(t, 500)
	for i := range int64(5_000) {
		a.events(0, 1, rules.TestStart+i)
	}
	if len(a.p.timers.heap) != 1 {
		t.Errorf("%d entries", len(a.p.timers.heap))
	}
	if got := a.tick(rules.TestStart + 4_999 + 59_999); got != 0 {
		t.Errorf("%d signals too early", got)
	}
	if got := a.tick(rules.TestStart + 4_999 + 60_000); got != 1 {
		t.Errorf("%d signals, want 1", got)
	}
}

// BenchmarkTimersDue is what a record costs that has as many timers called as one
// may, all of which fire.
func BenchmarkTimersDue(b *testing.B) {
	a := newAwaited(b, 1<<24)
	for i := 0; i < b.N*mostDue; i += 1024 {
		a.events(i, i+1024, rules.TestStart)
	}
	b.ResetTimer()
	for range b.N {
		if got := a.tick(rules.TestStart + day/24); got != mostDue {
			b.Fatalf("%d signals", got)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*mostDue), "ns/timer")
}
