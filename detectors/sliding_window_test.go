package detectors_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const lateness = 60_000 // ms

// slot is a record's part for one rule, without the record.
type slot struct{ payload []byte }

func (s *slot) Payload() []byte { return s.payload }

func (s *slot) Resize(n int) []byte {
	grown := make([]byte, n)
	copy(grown, s.payload)
	s.payload = grown
	return grown
}

// arrival is an event that matches the rule, on its arrival at the detector.
type arrival struct {
	time      int64
	watermark int64
	account   string
	failed    bool
}

func (a arrival) late() bool { return a.watermark != math.MinInt64 && a.time < a.watermark-lateness }

// input converts a like the engine.
func (a arrival) input(s detectors.Slot, e *event.Event) *detectors.Context {
	c := new(detectors.Context)
	a.fill(c, s, e)
	return c
}

func (a arrival) fill(c *detectors.Context, s detectors.Slot, e *event.Event) {
	e.Reset()
	if a.account != "" {
		e.SetText(event.Account, a.account)
	}
	e.SetText(event.Auth, "success")
	if a.failed {
		e.SetText(event.Auth, "failure")
	}
	*c = detectors.Context{Own: s, Event: e, Time: a.time, Watermark: a.watermark, Late: a.late()}
}

func failures() *rules.Condition {
	return &rules.Condition{Holds: func(e *event.Event) bool { return e.Text(event.Auth) == "failure" }, Fields: []event.Field{event.Auth}, Canonical: "failures"}
}

// rule counts failures, or accounts that failed.
func rule(distinct bool, minShare int, cooldown time.Duration, at ...int) *rules.Rule {
	w := &detectors.SlidingWindow{Window: 10 * time.Minute, Cooldown: cooldown, MinShare: minShare}
	w.Counted = failures()
	if distinct {
		w.Distinct = event.Account
	}
	for i, n := range at {
		w.Tiers = append(w.Tiers, detectors.Tier{At: n, Weight: uint8(10 * (i + 1))})
	}
	return &rules.Rule{ID: "r", Spec: w}
}

func windowOf(r *rules.Rule) *detectors.SlidingWindow { return r.Spec.(*detectors.SlidingWindow) }

func newDetector(t testing.TB, r *rules.Rule) detectors.Detector {
	t.Helper()
	d, err := detectors.New(r, detectors.Environment{Lateness: lateness, Hasher: facet.NewHasher([16]byte{1, 2, 3})})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// oracle implements the definition literally, and keeps every event that was on
// time. Among the windows that contain the arriving event, it checks the one that
// ends with it, and those that end with a later event of a new value.
type oracle struct {
	rule  *detectors.SlidingWindow
	kept  []arrival
	tier  int // −1: none fired
	fired int64
}

func (o *oracle) apply(a arrival) (tier int, fires bool) {
	if a.late() || o.rule.Distinct != event.None && a.account == "" {
		return 0, false
	}
	o.kept = append(o.kept, a)
	if !a.failed {
		return 0, false
	}
	best := o.tierOf(a.time)
	for i, end := range o.kept {
		if end.failed && end.time > a.time && end.time-a.time < o.rule.Window.Milliseconds() && o.isNew(i) {
			best = max(best, o.tierOf(end.time))
		}
	}
	cooled := a.time-o.fired >= o.rule.Cooldown.Milliseconds()
	if best < 0 || o.tier >= 0 && best <= o.tier && !cooled {
		return 0, false
	}
	o.tier, o.fired = best, a.time
	return best, true
}

// isNew reports whether event i had a counted value that was new to the window
// before it.
func (o *oracle) isNew(i int) bool {
	for _, a := range o.kept {
		if o.rule.Distinct != event.None && a.failed && a.account == o.kept[i].account &&
			a.time < o.kept[i].time && a.time > o.kept[i].time-o.rule.Window.Milliseconds() {
			return false
		}
	}
	return true
}

// tierOf returns the highest tier that the window ending at t reaches.
func (o *oracle) tierOf(t int64) int {
	counted, others := map[any]bool{}, map[any]bool{}
	for i, a := range o.kept {
		if a.time > t || a.time <= t-o.rule.Window.Milliseconds() {
			continue
		}
		var value any = i
		if o.rule.Distinct != event.None {
			value = a.account
		}
		if a.failed {
			counted[value] = true
		} else if o.rule.MinShare > 0 {
			others[value] = true
		}
	}
	best := -1
	for i, tier := range o.rule.Tiers {
		if len(counted) >= tier.At && 100*len(counted) >= o.rule.MinShare*(len(counted)+len(others)) {
			best = i
		}
	}
	return best
}

// compare sends a history to the detector and to the oracle.
func compare(t *testing.T, r *rules.Rule, history []arrival) {
	t.Helper()
	d, o := newDetector(t, r), &oracle{rule: windowOf(r), tier: -1}
	var s slot
	var e event.Event
	for i, a := range history {
		var f detectors.Firing
		fired := d.Apply(a.input(&s, &e), &f)
		if tier, want := o.apply(a); fired != want || fired && f.Tier != tier {
			t.Fatalf("event %d of %d (%+v): fired %v tier %d, want %v tier %d\n%+v", i, len(history), a, fired, f.Tier, want, tier, history[:i+1])
		}
	}
}

// history draws events whose number within a window plus the lateness stays in the
// exact range: four for each of the top tier's count.
func history(rng *rand.Rand, r *rules.Rule) []arrival {
	bound := max(4*windowOf(r).Tiers[len(windowOf(r).Tiers)-1].At, 16)
	span := windowOf(r).Window.Milliseconds() + 2*lateness
	now, accounts := int64(1_763_892_000_000), 1+rng.IntN(30)
	watermark, newest := int64(math.MinInt64), now
	var all []arrival
	for range 20 + rng.IntN(300) {
		now += rng.Int64N(2 * span / int64(bound) * []int64{1, 2, 8}[rng.IntN(3)])
		a := arrival{time: now - rng.Int64N(lateness*5/4), account: fmt.Sprint(rng.IntN(accounts)), failed: rng.IntN(10) > 1}
		switch rng.IntN(12) {
		case 0:
			a.account = ""
		case 1:
			a.time = newest // the same millisecond as another
		}
		if inSpan(all, a.time, span) >= bound {
			continue
		}
		a.watermark = watermark
		all = append(all, a)
		newest = max(newest, a.time)
		if rng.IntN(3) == 0 {
			watermark = newest
		}
	}
	return all
}

// inSpan returns the greatest number of events in any interval of span ms that
// contains t.
func inSpan(all []arrival, t, span int64) (most int) {
	for _, start := range all {
		n := 0
		for _, a := range all {
			if a.time >= start.time && a.time <= start.time+span {
				n++
			}
		}
		if t >= start.time && t <= start.time+span {
			most = max(most, n)
		}
	}
	return most
}

func TestTheWindowAgreesWithItsDefinition(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	fired := 0
	for n := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, n))
		r := rule(n%2 == 0, []int{0, 0, 50, 90}[rng.IntN(4)], time.Duration(1+rng.IntN(900))*time.Second, 3, 5+rng.IntN(4))
		h := history(rng, r)
		t.Run(fmt.Sprintf("seed %d history %d", seed, n), func(t *testing.T) { compare(t, r, h) })
		o := &oracle{rule: windowOf(r), tier: -1}
		for _, a := range h {
			if _, f := o.apply(a); f {
				fired++
			}
		}
	}
	if fired < 400 {
		t.Errorf("the histories make rules fire %d times: too tame to show anything", fired)
	}
}

// For any order of arrival within the lateness, the highest tier reached is the
// same.
func TestTheOrderOfArrivalMakesNoDifference(t *testing.T) {
	for seed := range uint64(200) {
		r := rule(seed%2 == 0, 0, 24*time.Hour, 3, 6)
		rng := rand.New(rand.NewPCG(7, seed))
		h := history(rng, r)
		slices.SortFunc(h, func(a, b arrival) int { return int(a.time - b.time) })
		h = h[:min(len(h), 24)]
		for i := range h {
			h[i].watermark = math.MinInt64
		}
		want := highest(t, r, h)
		for range 5 {
			rng.Shuffle(len(h), func(i, j int) { h[i], h[j] = h[j], h[i] })
			if got := highest(t, r, h); got != want {
				t.Fatalf("seed %d: tier %d in order of time, and %d in another", seed, want, got)
			}
		}
	}
}

func highest(t *testing.T, r *rules.Rule, h []arrival) (best int) {
	t.Helper()
	d := newDetector(t, r)
	var s slot
	var e event.Event
	best = -1
	for _, a := range h {
		var f detectors.Firing
		if d.Apply(a.input(&s, &e), &f) {
			best = max(best, f.Tier)
		}
	}
	return best
}

func TestALateEventNeitherFiresNorCounts(t *testing.T) {
	d := newDetector(t, rule(false, 0, time.Minute, 3))
	var s slot
	var e event.Event
	var f detectors.Firing
	const now = 1_763_892_000_000
	for i := range int64(2) {
		d.Apply(arrival{time: now - lateness + i, watermark: now, failed: true, account: "a"}.input(&s, &e), &f)
	}
	before := slices.Clone(s.payload)
	if d.Apply(arrival{time: now - lateness - 1, watermark: now, failed: true, account: "a"}.input(&s, &e), &f) {
		t.Error("a late event fired")
	}
	if !slices.Equal(s.payload, before) {
		t.Error("a late event changed the state")
	}
	if !d.Apply(arrival{time: now - lateness, watermark: now, failed: true, account: "a"}.input(&s, &e), &f) {
		t.Error("the third event that was just on time did not fire")
	}
}

// With tiers of 10 and 20, a repeated value cannot hide the arrival of others.
func TestRepeatsCannotPushOthersOut(t *testing.T) {
	d := newDetector(t, rule(true, 0, time.Hour, 10, 20))
	var s slot
	var e event.Event
	tiers := []int{}
	now := int64(1_763_892_000_000)
	for n := range 20 {
		for range 500 {
			now += 10
			var f detectors.Firing
			if d.Apply(arrival{time: now, watermark: now, account: "again and again", failed: true}.input(&s, &e), &f) {
				tiers = append(tiers, f.Tier)
			}
		}
		var f detectors.Firing
		if d.Apply(arrival{time: now, watermark: now, account: fmt.Sprint(n), failed: true}.input(&s, &e), &f) {
			tiers = append(tiers, f.Tier)
		}
	}
	if !slices.Equal(tiers, []int{0, 1}) {
		t.Errorf("tiers %v fired, want each once", tiers)
	}
}

// The same holds at the bound: with these tiers, sixteen entries are remembered.
func TestRepeatsPushNoOtherOutOfAFullWindow(t *testing.T) {
	d := newDetector(t, rule(true, 0, time.Second, 3, 4))
	var s slot
	var e event.Event
	var f detectors.Firing
	now := int64(1_763_892_000_000)
	for n := range 25 {
		now += 1000
		a := arrival{time: now, watermark: math.MinInt64, account: fmt.Sprint(min(n, 14)), failed: true}
		if fired := d.Apply(a.input(&s, &e), &f); n >= 2 && (!fired || f.Evidence[0].Values[0] != int64(min(n, 14)+1)) {
			t.Fatalf("event %d: fired %v, evidence %v, want %d values", n, fired, f.Evidence, min(n, 14)+1)
		}
	}
}

func TestAFloodIsBounded(t *testing.T) {
	for _, distinct := range []bool{false, true} {
		d := newDetector(t, rule(distinct, 0, time.Minute, 10, 100))
		var s slot
		var e event.Event
		fired := 0
		now := int64(1_763_892_000_000)
		for n := range 200_000 {
			now += int64(n & 1)
			var f detectors.Firing
			if d.Apply(arrival{time: now, watermark: now - 1000, account: fmt.Sprint(n), failed: true}.input(&s, &e), &f) {
				fired++
			}
		}
		if len(s.payload) > 24+8*401 {
			t.Errorf("distinct %v: %d bytes", distinct, len(s.payload))
		}
		if fired != 1+2 { // both tiers, and the top one a minute later
			t.Errorf("distinct %v: fired %d times in 100 s", distinct, fired)
		}
	}
}

func TestEvidenceSaysWhatCrossedTheLine(t *testing.T) {
	d := newDetector(t, rule(true, 50, time.Minute, 2))
	var s slot
	var e event.Event
	var f detectors.Firing
	const t0 = 1_763_892_000_000
	d.Apply(arrival{time: t0, watermark: math.MinInt64, account: "a", failed: true}.input(&s, &e), &f)
	d.Apply(arrival{time: t0 + 100, watermark: math.MinInt64, account: "c"}.input(&s, &e), &f)
	if !d.Apply(arrival{time: t0 + 200, watermark: math.MinInt64, account: "b", failed: true}.input(&s, &e), &f) {
		t.Fatal("did not fire")
	}
	want := []facet.Evidence{facet.Number("distinct", 2), facet.Number("threshold", 2), facet.Number("matching", 3), facet.Number("share_percent", 66),
		facet.Number("window_ms", 600_000), facet.Number("first_ms", t0), facet.Number("last_ms", t0+200)}
	if got := f.Evidence; !slices.Equal(got, want) {
		t.Errorf("evidence %v, want %v", got, want)
	}
}

// The latest occurrence may be forgotten, because it is between two others; the
// window still ends with it.
func TestEvidenceEndsWhereTheWindowEnds(t *testing.T) {
	d := newDetector(t, rule(true, 0, time.Minute, 2))
	var s slot
	var e event.Event
	const t0 = 1_763_892_000_000
	const minute = 60_000
	for _, a := range []arrival{{time: t0, account: "a"}, {time: t0 + 5*minute, account: "a"}, {time: t0 + minute, account: "b"}} {
		a.watermark, a.failed = math.MinInt64, true
		d.Apply(a.input(&s, &e), &detectors.Firing{})
	}
	var f detectors.Firing
	if !d.Apply(arrival{time: t0 + 3*minute, watermark: math.MinInt64, account: "a", failed: true}.input(&s, &e), &f) {
		t.Fatal("did not fire after the cooldown")
	}
	if got, want := f.Evidence[6], (facet.Number("last_ms", t0+3*minute)); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNothingIsRememberedFiftyDaysBeforeTheNewest(t *testing.T) {
	const t0 = 1_763_892_000_000
	for back, want := range map[int64]bool{1<<32 - 1: true, 1 << 32: false} {
		for _, newestFirst := range []bool{false, true} {
			d := newDetector(t, rule(false, 0, time.Minute, 2))
			var s slot
			var e event.Event
			times := []int64{t0 - back, t0, t0 - back}
			if newestFirst {
				times[0], times[1] = t0, t0-back
			}
			var f detectors.Firing
			fired := false
			for _, at := range times {
				fired = d.Apply(arrival{time: at, watermark: math.MinInt64, failed: true}.input(&s, &e), &f)
			}
			if fired != want {
				t.Errorf("two events %d ms before the newest, which came first: %v; fired %v", back, newestFirst, fired)
			}
		}
	}
}

// Numbers that a fixed multiplication would map to one, as an attacker who knows the
// program may choose them, still count as different values.
func TestChosenNumbersAreToldApart(t *testing.T) {
	r := rule(true, 0, time.Minute, 100)
	windowOf(r).Distinct = event.ResponseBytes
	d := newDetector(t, r)
	const inverse = 0xF1DE83E19937733D // of 0x9E3779B97F4A7C15, modulo 2^64
	var s slot
	var e event.Event
	var f detectors.Firing
	for n := range 100 {
		in := arrival{time: 1_763_892_000_000, watermark: math.MinInt64, account: "a", failed: true}.input(&s, &e)
		e.SetNum(event.ResponseBytes, int64(uint64(n)*inverse))
		if fired := d.Apply(in, &f); fired != (n == 99) {
			t.Fatalf("value %d: fired %v", n, fired)
		}
	}
}

// A state that cannot grow keeps its content, and does not fail.
func TestWithoutRoomNothingBreaks(t *testing.T) {
	d := newDetector(t, rule(false, 0, time.Minute, 3))
	var e event.Event
	var f detectors.Firing
	if d.Apply(arrival{time: 1, watermark: math.MinInt64, failed: true}.input(fullSlot{}, &e), &f) {
		t.Error("fired without a state")
	}
}

type fullSlot struct{}

func (fullSlot) Payload() []byte   { return nil }
func (fullSlot) Resize(int) []byte { return nil }

func TestARuleWithoutADetectorIsRefused(t *testing.T) {
	if _, err := detectors.New(&rules.Rule{ID: "empty"}, detectors.Environment{Lateness: lateness, Hasher: facet.NewHasher([16]byte{})}); err == nil {
		t.Error("a rule without a detector was accepted")
	}
}

func TestApplyAllocatesNothing(t *testing.T) {
	d := newDetector(t, rule(true, 60, time.Minute, 10, 20))
	var s slot
	var e event.Event
	var f detectors.Firing
	var c detectors.Context
	accounts := make([]string, 64)
	for i := range accounts {
		accounts[i] = fmt.Sprint(i)
	}
	now := int64(1_763_892_000_000)
	apply := func() {
		now += 1000
		arrival{time: now, watermark: now, account: accounts[now/1000%64], failed: true}.fill(&c, &s, &e)
		d.Apply(&c, &f)
	}
	for range 1000 {
		apply()
	}
	if n := testing.AllocsPerRun(1000, apply); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

// Bytes become a history of small steps, which is compared with the definition as
// long as it stays within the bound; and a history of extreme times, which must not
// panic or grow.
func FuzzSlidingWindow(f *testing.F) {
	f.Add([]byte("0a0b0c0d1a2b3c4d5e6f"), true)
	f.Add([]byte{0, 1, 0, 1, 0, 1, 255, 255, 9, 9, 8, 8}, false)
	f.Fuzz(func(t *testing.T, data []byte, distinct bool) {
		r := rule(distinct, 0, 2*time.Minute, 2, 4)
		now := int64(1_763_892_000_000)
		watermark := int64(math.MinInt64)
		var calm, wild []arrival
		for i := 0; i+1 < len(data) && len(calm) < 50; i += 2 {
			step, what := int64(data[i]), data[i+1]
			now += step * 500
			a := arrival{time: now - int64(what>>4)*8000, watermark: watermark, account: fmt.Sprint(what & 3), failed: what&4 == 0}
			if inSpan(calm, a.time, windowOf(r).Window.Milliseconds()+2*lateness) < 16 {
				calm = append(calm, a)
			}
			if what&8 != 0 {
				watermark = max(watermark, now)
			}
			a.time = int64(uint64(step*int64(what)) << (what & 63))
			a.watermark = math.MinInt64
			if a.time >= 0 && a.time <= 253_402_300_799_999 {
				wild = append(wild, a)
			}
		}
		compare(t, r, calm)
		var s slot
		var e event.Event
		var firing detectors.Firing
		d := newDetector(t, r)
		for _, a := range wild {
			d.Apply(a.input(&s, &e), &firing)
		}
		if len(s.payload) > 24+8*17 {
			t.Fatalf("%d bytes", len(s.payload))
		}
	})
}

func BenchmarkSlidingWindow(b *testing.B) {
	accounts := make([]string, 1000)
	for i := range accounts {
		accounts[i] = fmt.Sprint(i)
	}
	for _, c := range []struct {
		name string
		rule *rules.Rule
	}{
		{"count", rule(false, 0, time.Minute, 10, 20)},
		{"distinct", rule(true, 60, time.Minute, 10, 20)},
		{"distinct of 500", rule(true, 60, time.Minute, 100, 500)},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := newDetector(b, c.rule)
			var s slot
			var e event.Event
			var f detectors.Firing
			var in detectors.Context
			now := int64(1_763_892_000_000)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				now += 5000
				arrival{time: now, watermark: now, account: accounts[i*7%1000], failed: true}.fill(&in, &s, &e)
				d.Apply(&in, &f)
			}
		})
	}
}
