package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const testSources, testPartitions = 3, 8

func defaultRules(t testing.TB) *rules.Set {
	t.Helper()
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func testConfig() Config {
	cfg := Defaults()
	cfg.Sources, cfg.Partitions, cfg.MaxEntities = testSources, testPartitions, 60
	return cfg
}

func testHasher() facet.Hasher { return facet.NewHasher([16]byte{1, 2, 3}) }

func testPartition(t testing.TB, set *rules.Set) *Partition {
	t.Helper()
	p, err := NewPartition(testConfig(), set, testHasher(), 5, 9)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// history is a log of frames, as ingest writes it: several raw partitions, so
// many people and attackers that some are evicted, events that repeat and come
// late, and pauses in which everybody expires.
func history(set *rules.Set, seed uint64, frames int) [][]byte {
	rng := rand.New(rand.NewPCG(seed, 2))
	projection := set.Projection()
	var writers [testSources]*facet.Writer
	for i := range writers {
		writers[i] = facet.NewWriter(1, 9, &projection)
	}
	var all [][]byte
	var covered [testSources]int64
	var owners [testSources]uint64
	now := rules.TestStart
	scratch := make([]byte, 0, 32)
	for range frames {
		source := rng.IntN(testSources)
		now += rng.Int64N(2000)
		if rng.IntN(50) == 0 {
			now += 7_200_000
		}
		from := covered[source]
		w := writers[source]
		first := max(0, from-rng.Int64N(3)) // what a former owner has sent
		if first < from || owners[source] == 0 {
			owners[source]++
			w.Sent = 0
		}
		to := from + rng.Int64N(12)
		for offset := first; offset < to; offset++ {
			e := randomEvent(rng, now-rng.Int64N(rng.Int64N(100_000)+1))
			for _, k := range facet.Kinds() {
				if projection[k] == nil {
					continue
				}
				if ent, ok := facet.EntityOf(k, e, scratch); ok {
					w.Add(ent, 0, offset, e)
				}
			}
		}
		covered[source] = to
		all = append(all, bytes.Clone(w.Finish(facet.Section{Source: int32(source), Owner: owners[source], From: first, To: max(to, first), Watermark: now})))
	}
	return all
}

func randomEvent(rng *rand.Rand, at int64) *event.Event {
	e := new(event.Event)
	e.SetNum(event.Time, at)
	e.SetText(event.Tenant, "shop")
	e.SetText(event.Account, fmt.Sprint("user-", rng.IntN(120)))
	e.SetText(event.ClientIP, fmt.Sprint("192.0.2.", min(rng.IntN(250), rng.IntN(250))))
	e.SetText(event.Device, fmt.Sprint("device-", rng.IntN(100)))
	e.SetText(event.Route, "/login")
	e.SetText(event.Object, fmt.Sprint(rng.IntN(1000)))
	e.SetNum(event.Status, 401)
	e.SetText(event.Auth, []string{"failure", "success"}[rng.IntN(2)])
	if rng.IntN(3) == 0 { // one of the attackers
		e.SetText(event.ClientIP, fmt.Sprint("198.51.100.", rng.IntN(3)))
		e.SetText(event.Account, fmt.Sprint("user-", rng.IntN(30)))
		e.SetText(event.Auth, "failure")
	}
	return e
}

// apply feeds frames from one offset on, and returns what came of it.
func apply(t testing.TB, p *Partition, log [][]byte, from, to int) (out Output) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := p.Apply(int64(i), log[i], &out); err != nil {
			t.Fatalf("offset %d: %v", i, err)
		}
	}
	return out
}

func snapshotOf(t testing.TB, p *Partition, next int) []byte {
	t.Helper()
	b, err := p.Snapshot(int64(next))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func restoreTest(set *rules.Set, b []byte) (*Partition, int64, error) {
	return RestorePartition(testConfig(), set, testHasher(), 5, 9, b)
}

func mustRestore(t testing.TB, set *rules.Set, b []byte, next int) *Partition {
	t.Helper()
	p, got, err := restoreTest(set, b)
	if err != nil || got != int64(next) {
		t.Fatalf("restore %d: next %d, %v", next, got, err)
	}
	return p
}

func TestTheHistoryHasWhatTheTestsNeed(t *testing.T) {
	set := defaultRules(t)
	p := testPartition(t, set)
	log := history(set, 1, 600)
	out := apply(t, p, log, 0, len(log))
	total, evicted := p.Ledger().Total(), int64(0)
	for _, k := range facet.Kinds() {
		evicted += p.table.Evicted(uint8(k))
	}
	live := slices.Collect(p.Live)
	if len(out.Signals) < 30 || total.Late < 20 || total.Duplicate < 50 || evicted < 50 || len(live) == 0 {
		t.Errorf("%d signals, %+v, %d evicted, %d scores", len(out.Signals), total, evicted, len(live))
	}
}
