package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// run is a partition with its outputs.
type run struct {
	p       *engine.Partition
	frames  *framer
	signals []score.Signal
	updates map[facet.Entity]score.Update
	loops   []engine.LoopbackFrame
	buffer  []byte
}

func newRun(t rapid.TB, h *history) *run {
	t.Helper()
	set, err := h.set()
	if err != nil {
		t.Fatal(err)
	}
	p, err := engine.NewPartition(h.config(), set, hasher, 3, incarnation)
	if err != nil {
		t.Fatal(err)
	}
	return &run{p: p, frames: newFramer(set, set.Projection()), updates: map[facet.Entity]score.Update{}}
}

// apply applies a record. Its bytes are overwritten afterwards, like those of a
// fetch: nothing may keep them.
func (r *run) apply(t rapid.TB, offset int64, rec record) {
	t.Helper()
	r.buffer = append(r.buffer[:0], r.frames.frame(rec)...)
	var out engine.Output
	if err := r.p.Apply(offset, r.buffer, &out); err != nil {
		t.Fatalf("offset %d: %v", offset, err)
	}
	for i := range r.buffer {
		r.buffer[i] = '#'
	}
	r.take(&out)
}

// drawHistory draws a history without losses or damage.
func drawHistory(t *rapid.T) history {
	return calm(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 150).Draw(t, "events"))
}

// same compares all outputs of two runs, except positions and the count of
// duplicates where these may differ.
func same(t *rapid.T, got, want *run, places bool) {
	t.Helper()
	gotLedger, wantLedger := got.p.Ledger(), want.p.Ledger()
	gotSignals, wantSignals := slices.Clone(got.signals), slices.Clone(want.signals)
	gotScores, wantScores := live(got.p), live(want.p)
	gotUpdates, wantUpdates := maps.Clone(got.updates), maps.Clone(want.updates)
	if !places {
		for _, l := range []*engine.Ledger{&gotLedger, &wantLedger} {
			l.Loopback.Duplicate = 0
			for i := range l.Sources {
				l.Sources[i].Duplicate = 0
			}
		}
		for _, s := range [][]score.Signal{gotSignals, wantSignals} {
			for i := range s {
				s[i].Position = score.Position{}
			}
		}
		for _, s := range [][]score.Update{gotScores, wantScores} {
			for i := range s {
				s[i].Position = score.Position{}
			}
		}
		for _, m := range []map[facet.Entity]score.Update{gotUpdates, wantUpdates} {
			for e, u := range m {
				u.Position = score.Position{}
				m[e] = u
			}
		}
	}
	if places && !reflect.DeepEqual(got.loops, want.loops) || len(got.loops) == 0 != (len(want.loops) == 0) {
		t.Fatalf("loop-back: %d frames, want %d, or others", len(got.loops), len(want.loops))
	}
	if d := first(gotSignals, wantSignals); d != "" {
		t.Fatalf("signals: %s", d)
	}
	if d := first(gotScores, wantScores); d != "" {
		t.Fatalf("scores: %s", d)
	}
	if !reflect.DeepEqual(gotUpdates, wantUpdates) || !reflect.DeepEqual(gotLedger, wantLedger) || got.p.Watermark() != want.p.Watermark() {
		t.Fatalf("updates %+v, want %+v\nledger %+v, want %+v", gotUpdates, wantUpdates, gotLedger, wantLedger)
	}
}

func TestAppliedTwiceIsAppliedOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		once, twice := newRun(t, &h), newRun(t, &h)
		for i, r := range h.records {
			once.apply(t, int64(1000*i), r)
			twice.apply(t, int64(1000*i), r)
			for n := range rapid.IntRange(0, 2).Draw(t, "again") {
				back := rapid.IntRange(0, min(i, 5)).Draw(t, "back")
				twice.apply(t, int64(1000*i+n+1), h.records[i-back])
			}
		}
		for i := range twice.signals {
			if twice.signals[i].Position.Offset%1000 != 0 {
				t.Fatalf("a repeat caused %+v", twice.signals[i])
			}
		}
		same(t, twice, once, false)
	})
}

// Within a frame, a section may be split between any two events: the bytes of the
// state stay the same. If the parts are separate frames, everything except the
// positions stays the same.
func TestHowFacetsAreBatchedMakesNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		plain, cut, apart := newRun(t, &h), newRun(t, &h), newRun(t, &h)
		for i, r := range h.records {
			plain.apply(t, int64(1000*i), r)
			if r.loop != nil || r.controls != nil {
				cut.apply(t, int64(1000*i), r)
				apart.apply(t, int64(1000*i), r)
				continue
			}
			sections := split(t, r.sections)
			cut.apply(t, int64(1000*i), record{sections: sections})
			for n, s := range sections {
				apart.apply(t, int64(1000*i+n), record{sections: []section{s}})
			}
		}
		same(t, cut, plain, true)
		same(t, apart, plain, false)
		if cut.p.Digest() != plain.p.Digest() {
			t.Fatal("cut sections give another state")
		}
	})
}

// split splits sections between events. Time advances only with the last part.
func split(t *rapid.T, sections []section) (parts []section) {
	for _, s := range sections {
		for len(s.events) > 1 && rapid.IntRange(0, 2).Draw(t, "cut") > 0 {
			n := rapid.IntRange(1, len(s.events)-1).Draw(t, "events")
			head := s
			head.events, s.events = s.events[:n], s.events[n:]
			s.before = slices.Concat(s.before, head.events)
			head.Watermark = facet.NoWatermark
			head.To = rapid.Int64Range(head.events[n-1].offset+1, s.events[0].offset).Draw(t, "to")
			s.From = head.To
			parts = append(parts, head)
		}
		parts = append(parts, s)
	}
	return parts
}

func TestRestoredIsGoingOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		set, err := h.set()
		if err != nil {
			t.Fatal(err)
		}
		on, again := newRun(t, &h), newRun(t, &h)
		for i, r := range h.records {
			on.apply(t, int64(i), r)
			if rapid.IntRange(0, 15).Draw(t, "restore") == 0 {
				if again.p, err = restored(again.p, &h, set, int64(i)); err != nil {
					t.Fatal(err)
				}
			}
			again.apply(t, int64(i), r)
		}
		same(t, again, on, true)
		if again.p.Digest() != on.p.Digest() {
			t.Fatal("another state")
		}
	})
}

// The state and the outputs stay the same if the partition is restored before every
// single record: with timers, cohorts and verdicts.
func TestRestoredBeforeEveryRecordIsGoingOn(t *testing.T) {
	for seed := range uint64(9) {
		h := calm(9+seed, 120)
		set, err := h.set()
		if err != nil {
			t.Fatal(err)
		}
		on, again := newRun(t, &h), newRun(t, &h)
		for i, r := range h.records {
			if again.p, err = restored(again.p, &h, set, int64(i)); err != nil {
				t.Fatal(err)
			}
			on.apply(t, int64(i), r)
			again.apply(t, int64(i), r)
			if again.p.Digest() != on.p.Digest() || !reflect.DeepEqual(again.loops, on.loops) || !reflect.DeepEqual(again.signals, on.signals) {
				t.Fatalf("seed %d: another state after record %d", seed, i)
			}
		}
	}
}

// A partition that stops and reads its log again from the start reaches the same
// state as one that continued.
func TestReadAgainFromTheStartIsGoingOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		stop := rapid.IntRange(0, len(h.records)).Draw(t, "stop")
		on, again := newRun(t, &h), newRun(t, &h)
		for i, r := range h.records[:stop] {
			on.apply(t, int64(i), r)
		}
		for i, r := range h.records {
			again.apply(t, int64(i), r)
			if i+1 == stop && again.p.Digest() != on.p.Digest() {
				t.Fatal("another state where the first one stopped")
			}
		}
		for i, r := range h.records[stop:] {
			on.apply(t, int64(stop+i), r)
		}
		same(t, again, on, true)
		if again.p.Digest() != on.p.Digest() {
			t.Fatal("another state in the end")
		}
	})
}

// arrivals creates a history of one raw partition in which no event is late, no
// bound is reached and no rule has a minimum share. These are the conditions of the
// promise about the order of arrival.
func arrivals(m *maker, events []*raw) history {
	h := history{lateness: 3_600_000, sources: 1, rules: m.h.rules}
	var sent []*raw
	for i := 0; i < len(events); {
		n := min(1+m.IntN(4), len(events)-i)
		s := section{Section: facet.Section{From: int64(i), To: int64(i + n)}}
		for j, e := range events[i : i+n] {
			s.events = append(s.events, &raw{int64(i + j), e.time, e.values})
			s.Watermark = max(s.Watermark, e.time)
		}
		s.before = sent
		sent = slices.Concat(sent, s.events)
		h.records = append(h.records, record{sections: []section{s}})
		i += n
	}
	return h
}

// highest returns the highest tier that each rule reached for each entity.
func highest(t rapid.TB, h history) map[counter]int {
	r := newRun(t, &h)
	for i, rec := range h.records {
		r.apply(t, int64(i), rec)
	}
	tiers := map[counter]int{}
	for _, s := range r.signals {
		c := counter{s.Entity, s.Rule}
		tiers[c] = max(tiers[c], s.Tier)
	}
	return tiers
}

func drawArrivals(t *rapid.T) (*maker, []*raw) {
	seed := rapid.Uint64().Draw(t, "seed")
	h := randomHistory(seed, 16)
	m := newMaker(seed)
	for _, r := range h.rules {
		var kept []string
		for _, line := range strings.SplitAfter(r, "\n") {
			switch key := strings.TrimSpace(line); {
			case strings.HasPrefix(key, "min_share"):
			case strings.HasPrefix(key, "cooldown"):
			case strings.HasPrefix(key, "tiers"):
				kept = append(kept, "      cooldown: 24h\n", line)
			default:
				kept = append(kept, line)
			}
		}
		m.h.rules = append(m.h.rules, strings.Join(kept, ""))
	}
	seen := map[place]*raw{}
	for _, r := range h.records {
		for _, s := range r.sections {
			for _, e := range s.events {
				if e.time > start-1_000_000 && e.time < start+1_000_000 {
					seen[place{s.Source, e.offset}] = e
				}
			}
		}
	}
	events := slices.SortedFunc(maps.Values(seen), func(a, b *raw) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.offset, b.offset), cmp.Compare(fmt.Sprint(a.values), fmt.Sprint(b.values)))
	})
	return m, events[:min(len(events), 16)]
}

func TestTheOrderOfArrivalDoesNotChangeTheHighestTier(t *testing.T) {
	fired, checks := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		checks++
		m, events := drawArrivals(t)
		want := highest(t, arrivals(m, events))
		fired += len(want)
		if got := highest(t, arrivals(m, rapid.Permutation(events).Draw(t, "order"))); !maps.Equal(got, want) {
			t.Fatalf("got %v, in order of time %v", got, want)
		}
	})
	if fired < checks {
		t.Errorf("rules fired for %d entities in %d histories: too tame to show anything", fired, checks)
	}
}

func TestMoreEventsNeverLowerTheHighestTier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, events := drawArrivals(t)
		if len(events) == 0 {
			return
		}
		all := highest(t, arrivals(m, events))
		without := rapid.IntRange(0, len(events)-1).Draw(t, "without")
		for c, tier := range highest(t, arrivals(m, slices.Delete(slices.Clone(events), without, without+1))) {
			if got, ok := all[c]; !ok || got < tier {
				t.Fatalf("%+v: tier %d, and %d (fired %v) with one event more", c, tier, got, ok)
			}
		}
	})
}

// A log has one state and one list of signals, for any number of processors, and for
// any number of records applied at once.
func TestALogHasOneDigest(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	signals := 0
	for seed := range uint64(5) {
		h := calm(seed, 2_000)
		first := batched(t, &h, 1)
		signals += len(first.signals)
		for n := range 10 {
			runtime.GOMAXPROCS(1 + n%2)
			r := batched(t, &h, []int{1, 500, 20_000}[n%3])
			if r.p.Digest() != first.p.Digest() || !reflect.DeepEqual(r.signals, first.signals) || !reflect.DeepEqual(r.updates, first.updates) {
				t.Fatalf("seed %d: run %d gave something else", seed, n)
			}
		}
	}
	if signals < 1000 {
		t.Errorf("only %d signals", signals)
	}
}

// batched applies this many records to one output before it reads it.
func batched(t *testing.T, h *history, size int) *run {
	t.Helper()
	r := newRun(t, h)
	var out engine.Output
	for i, rec := range h.records {
		if err := r.p.Apply(int64(i), r.frames.frame(rec), &out); err != nil {
			t.Fatal(err)
		}
		if (i+1)%size == 0 || i+1 == len(h.records) {
			r.take(&out)
		}
	}
	return r
}

func (r *run) take(out *engine.Output) {
	r.signals, r.loops = append(r.signals, out.Signals...), append(r.loops, out.Loopback...)
	for _, u := range out.Updates {
		u.Expires = max(u.Expires, r.updates[u.Entity].Expires)
		r.updates[u.Entity] = u
	}
	out.Reset()
}
