package detectors_test

import (
	"bytes"
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

const start = 1_763_892_000_000 // Unix ms

// request is an event for the tests of the window's forms.
type request struct {
	time, watermark int64
	account, route  string
	bytes           int64
	auth            string
}

func (q request) fill(c *detectors.Context, s detectors.Slot, e *event.Event) {
	e.Reset()
	e.SetText(event.Account, q.account)
	e.SetText(event.Route, q.route)
	e.SetNum(event.ResponseBytes, q.bytes)
	e.SetText(event.Auth, q.auth)
	*c = detectors.Context{Own: s, Event: e, Time: q.time, Watermark: q.watermark, Late: q.watermark != math.MinInt64 && q.time < q.watermark-lateness}
}

func (q request) show(d detectors.Detector, s detectors.Slot, f *detectors.Firing) bool {
	var c detectors.Context
	var e event.Event
	q.fill(&c, s, &e)
	return d.Apply(&c, f)
}

func successes() *rules.Condition {
	return &rules.Condition{Holds: func(e *event.Event) bool { return e.Text(event.Auth) == "success" }}
}

func tiersOf(at ...int) (tiers []detectors.Tier) {
	for i, n := range at {
		tiers = append(tiers, detectors.Tier{At: n, Weight: uint8(10 * (i + 1))})
	}
	return tiers
}

// forms returns a window of each form.
func forms() map[string]*detectors.SlidingWindow {
	all := map[string]*detectors.SlidingWindow{
		"count":             {Tiers: tiersOf(5, 20)},
		"distinct":          {Tiers: tiersOf(5, 20), Distinct: event.Account},
		"many":              {Tiers: tiersOf(200, 2000)},
		"many of a share":   {Tiers: tiersOf(200, 2000), MinShare: 30},
		"many distinct":     {Tiers: tiersOf(200, 2000), Distinct: event.Account},
		"sum":               {Tiers: tiersOf(10_000, 1_000_000), Sum: event.ResponseBytes},
		"percentile":        {Tiers: tiersOf(1000, 4000), Percentile: event.ResponseBytes, P: 95, MinEvents: 10},
		"share":             {Tiers: tiersOf(30, 80), Share: true, MinEvents: 10},
		"session":           {Tiers: tiersOf(5, 200), Gap: time.Minute},
		"session, distinct": {Tiers: tiersOf(5, 200), Gap: time.Minute, Distinct: event.Account},
		"session, sum":      {Tiers: tiersOf(10_000, 1_000_000), Gap: time.Minute, Sum: event.ResponseBytes},
		"session, spread":   {Tiers: tiersOf(1000, 4000), Gap: time.Minute, Percentile: event.ResponseBytes, P: 50, MinEvents: 3},
	}
	for name, w := range all {
		if w.Gap == 0 {
			w.Window = 10 * time.Minute
		}
		w.Cooldown = time.Minute
		if w.Share || w.MinShare > 0 {
			w.Counted = failures()
		}
		by, cancelled, both := *w, *w, *w
		by.By, by.Values = []event.Field{event.Route}, 4
		cancelled.Cancel = successes()
		both.By, both.Values, both.Cancel = []event.Field{event.Route, event.Auth}, 3, successes()
		all[name+" by route"], all[name+", cancelled"], all[name+" by two, cancelled"] = &by, &cancelled, &both
	}
	return all
}

func eachForm(t *testing.T, test func(t *testing.T, w *detectors.SlidingWindow, d detectors.Detector)) {
	t.Helper()
	for name, w := range forms() {
		t.Run(name, func(t *testing.T) { test(t, w, newDetector(t, &rules.Rule{ID: "r", Spec: w})) })
	}
}

// someone returns an ordinary request.
func someone(rng *rand.Rand, t int64) request {
	return request{
		time: t, watermark: math.MinInt64, account: fmt.Sprint(rng.IntN(3000)), route: fmt.Sprint(rng.IntN(6)), bytes: rng.Int64N(1 << rng.IntN(30)),
		auth: []string{"failure", "failure", "failure", "success"}[rng.IntN(4)],
	}
}

// For any input, no state exceeds its declared size, all state can be read again,
// and Apply allocates nothing.
func TestNoFormKeepsMoreThanItSays(t *testing.T) {
	eachForm(t, func(t *testing.T, w *detectors.SlidingWindow, d detectors.Detector) {
		rng := rand.New(rand.NewPCG(1, 1))
		var s slot
		var c detectors.Context
		var e event.Event
		var f detectors.Firing
		now, most := int64(start), 0
		for range 30_000 {
			now += rng.Int64N(300)
			q := someone(rng, now-rng.Int64N(lateness))
			q.fill(&c, &s, &e)
			c.Watermark = now - 1000
			c.Late = c.Time < c.Watermark-lateness
			d.Apply(&c, &f)
			most = max(most, len(s.payload))
		}
		if keeps := w.Keeps().Bytes; most > keeps {
			t.Errorf("%d bytes, said %d", most, keeps)
		}
		before := slices.Clone(s.payload)
		if kept, ok := d.Fit(s.payload); !ok || !bytes.Equal(kept, before) {
			t.Errorf("what is kept cannot be read again, or not as it was: %v", ok)
		}
		s.payload = append(make([]byte, 0, w.Keeps().Bytes), s.payload...)
		roomy := &roomySlot{s.payload}
		q := someone(rng, now)
		allocations := testing.AllocsPerRun(500, func() {
			q.time += 500
			q.fill(&c, roomy, &e)
			d.Apply(&c, &f)
		})
		if allocations != 0 {
			t.Errorf("%v allocations", allocations)
		}
	})
}

// roomySlot is a slot that never needs to grow.
type roomySlot struct{ payload []byte }

func (s *roomySlot) Payload() []byte { return s.payload }

func (s *roomySlot) Resize(n int) []byte {
	had := len(s.payload)
	s.payload = s.payload[:n]
	if n > had {
		clear(s.payload[had:])
	}
	return s.payload
}

// Within the bounds, the contents of panes and sessions do not depend on the order
// of arrival, to the byte.
func TestPanesAreTheSameInAnyOrder(t *testing.T) {
	const header = 24 // the last firing
	for name, w := range forms() {
		if w.By != nil || w.Cancel != nil || name == "count" || name == "distinct" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			d := newDetector(t, &rules.Rule{ID: "r", Spec: w})
			for seed := range uint64(15) {
				rng := rand.New(rand.NewPCG(2, seed))
				var all []request
				for range 400 {
					all = append(all, someone(rng, start+rng.Int64N(480_000)))
				}
				var first []byte
				for range 3 {
					var s slot
					var f detectors.Firing
					for _, q := range all {
						q.show(d, &s, &f)
					}
					if first == nil {
						first = s.payload[header:]
					}
					if !bytes.Equal(s.payload[header:], first) {
						t.Fatalf("seed %d: another order is another state", seed)
					}
					rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
				}
			}
		})
	}
}

// The stated error of panes: no event outside the window counts, and less than a
// pane is missing at its old end: 1/32 of the window, 1/8 for distinct values and
// percentiles.
func TestPanesMissLessThanAPane(t *testing.T) {
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(3, seed))
		w := &detectors.SlidingWindow{Window: time.Duration(1000+rng.IntN(1_000_000)) * time.Millisecond, Cooldown: time.Millisecond, Tiers: []detectors.Tier{{At: 1, Weight: 1}}}
		pane := w.Window.Milliseconds() / 32
		switch rng.IntN(3) {
		case 0:
			w.Sum = event.ResponseBytes
		case 1:
			w.Tiers = append(w.Tiers, detectors.Tier{At: 1001, Weight: 2})
		case 2:
			w.Distinct, w.Tiers, pane = event.Account, append(w.Tiers, detectors.Tier{At: 1001, Weight: 2}), w.Window.Milliseconds()/8
		}
		d := newDetector(t, &rules.Rule{ID: "r", Spec: w})
		var s slot
		var all []request
		step := 1 + rng.Int64N(w.Window.Milliseconds()/20)
		now := int64(start)
		for range 300 {
			now += 1 + rng.Int64N(step)
			q := someone(rng, now)
			q.bytes, q.account = q.bytes+1, fmt.Sprint(rng.IntN(60))
			all = append(all, q)
			var f detectors.Firing
			if !q.show(d, &s, &f) {
				t.Fatalf("seed %d: did not fire at 1", seed)
			}
			got, whole, within := f.Evidence[0].Values[0], measured(w, all, now-w.Window.Milliseconds()), measured(w, all, now-w.Window.Milliseconds()+pane)
			if got > whole || got < within {
				t.Fatalf("seed %d: measured %d, the window holds %d, and without its first pane %d", seed, got, whole, within)
			}
		}
	}
}

// measured returns the measure of a window with an open old end.
func measured(w *detectors.SlidingWindow, all []request, after int64) (n int64) {
	accounts := map[string]bool{}
	for _, q := range all {
		switch {
		case q.time <= after:
		case w.Sum != event.None:
			n += q.bytes
		case w.Distinct != event.None:
			accounts[q.account] = true
		default:
			n++
		}
	}
	return n + int64(len(accounts))
}

// The stated error for many distinct values: 3.3 %, or 9 % in one case in a hundred.
func TestManyDistinctValuesAreCountedWithinTheirError(t *testing.T) {
	const n = 5000
	squares, beyond, trials := 0.0, 0, 60
	for seed := range trials {
		w := &detectors.SlidingWindow{Window: time.Hour, Cooldown: time.Millisecond, Distinct: event.Account, Tiers: tiersOf(1, 1_000_000)}
		d, err := detectors.New(&rules.Rule{ID: "r", Spec: w}, detectors.Environment{Lateness: lateness, Hasher: facet.NewHasher([16]byte{byte(seed)})})
		if err != nil {
			t.Fatal(err)
		}
		var s slot
		var f detectors.Firing
		for i := range int64(n) {
			request{time: start + i*300, watermark: start + i*300, account: fmt.Sprint(i)}.show(d, &s, &f)
		}
		off := float64(f.Evidence[0].Values[0])/n - 1
		squares += off * off
		if math.Abs(off) > 0.09 {
			beyond++
		}
	}
	if rms := math.Sqrt(squares / float64(trials)); rms > 0.033*1.3 || beyond > 2 {
		t.Errorf("standard error %.4f, %d of %d beyond 9 %%", rms, beyond, trials)
	}
}

// TestASuccessClearsWhatFailed also covers events that arrive out of order.
func TestASuccessClearsWhatFailed(t *testing.T) {
	for name, w := range map[string]*detectors.SlidingWindow{
		"exact": {Window: 10 * time.Minute, Cooldown: time.Second, Cancel: successes(), Tiers: tiersOf(3)},
		"panes": {Window: 10 * time.Minute, Cooldown: time.Second, Cancel: successes(), Tiers: tiersOf(3, 1001)},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDetector(t, &rules.Rule{ID: "r", Spec: w})
			var s slot
			var fired []int
			for i, q := range []request{
				{time: 0, auth: "failure"}, {time: 60_000, auth: "failure"}, {time: 120_000, auth: "success"},
				{time: 110_000, auth: "failure"}, {time: 120_000, auth: "failure"}, // before the success, and with it
				{time: 180_000, auth: "failure"}, {time: 240_000, auth: "failure"}, {time: 300_000, auth: "failure"},
				{time: 200_000, auth: "success"}, {time: 360_000, auth: "failure"},
				{time: 370_000, auth: "failure"},
			} {
				var f detectors.Firing
				q.time, q.watermark = q.time+start, math.MinInt64
				if q.show(d, &s, &f) {
					fired = append(fired, i)
				}
			}
			// The third failure after the first success; two after the second one
			// and two more.
			if want := []int{7, 9, 10}; !slices.Equal(fired, want) {
				t.Errorf("fired at %v, want %v", fired, want)
			}
		})
	}
}

// TestEachValueHasAWindow also checks that the least recently seen value is evicted
// beyond the limit, and that the evidence says so.
func TestEachValueHasAWindow(t *testing.T) {
	w := &detectors.SlidingWindow{Window: 10 * time.Minute, Cooldown: time.Second, By: []event.Field{event.Route}, Values: 2, Tiers: tiersOf(3)}
	d := newDetector(t, &rules.Rule{ID: "r", Spec: w})
	var s slot
	var got [][2]string
	for i, route := range []string{"a", "b", "a", "b", "b", "c", "b", "a", "a", "b"} {
		var f detectors.Firing
		if (request{time: start + int64(i)*1000, watermark: start, route: route}).show(d, &s, &f) {
			n := len(f.Evidence)
			got = append(got, [2]string{f.Evidence[n-3].Text, fmt.Sprint(f.Evidence[n-3].Name, f.Evidence[n-2].Values[0], f.Evidence[n-1].Values[0])})
		}
	}
	// "a" was evicted by "c", and "c" by the return of "a".
	if want := [][2]string{{"b", "route2 0"}, {"b", "route2 1"}, {"b", "route2 2"}}; !slices.Equal(got, want) {
		t.Errorf("fired for %v, want %v", got, want)
	}
}

func TestACooldownMayBeShorterThanASecond(t *testing.T) {
	w := &detectors.SlidingWindow{Window: 10 * time.Minute, Cooldown: 250 * time.Millisecond, Tiers: tiersOf(1)}
	d := newDetector(t, &rules.Rule{ID: "r", Spec: w})
	var s slot
	var fired []int64
	for at := int64(0); at < 1000; at += 50 {
		var f detectors.Firing
		if (request{time: start + at, watermark: start}).show(d, &s, &f) {
			fired = append(fired, at)
		}
	}
	if want := []int64{0, 250, 500, 750}; !slices.Equal(fired, want) {
		t.Errorf("fired at %v, want %v", fired, want)
	}
}

func TestEvidenceSaysWhatWasMeasured(t *testing.T) {
	number := facet.Number
	for _, c := range []struct {
		name string
		w    detectors.SlidingWindow
		want []facet.Evidence // for the third of three requests of 100, 200 and 300 bytes, the second a success
	}{
		{"sum", detectors.SlidingWindow{Window: time.Minute, Sum: event.ResponseBytes, Tiers: tiersOf(500)},
			[]facet.Evidence{number("sum", 600), number("threshold", 500), number("matching", 3), number("share_percent", 100), number("window_ms", 60_000), number("first_ms", start), number("last_ms", start+2000)}},
		{"percentile", detectors.SlidingWindow{Window: time.Minute, Percentile: event.ResponseBytes, P: 60, MinEvents: 3, Tiers: tiersOf(192)},
			[]facet.Evidence{number("percentile", 200), number("threshold", 192), number("p", 60), number("matching", 3), number("window_ms", 60_000), number("first_ms", start), number("last_ms", start+2000)}},
		{"share", detectors.SlidingWindow{Window: time.Minute, Counted: failures(), Share: true, MinEvents: 3, Tiers: tiersOf(60)},
			[]facet.Evidence{number("share_percent", 66), number("threshold", 60), number("matching", 3), number("window_ms", 60_000), number("first_ms", start), number("last_ms", start+2000)}},
		{"session", detectors.SlidingWindow{Gap: time.Minute, Tiers: tiersOf(3)},
			[]facet.Evidence{number("count", 3), number("threshold", 3), number("matching", 3), number("share_percent", 100), number("session_gap_ms", 60_000), number("first_ms", start), number("last_ms", start+2000)}},
		{"distinct", detectors.SlidingWindow{Gap: time.Minute, Distinct: event.Account, Tiers: tiersOf(2)},
			[]facet.Evidence{number("distinct", 2), number("threshold", 2), number("session_gap_ms", 60_000), number("first_ms", start), number("last_ms", start+2000)}},
	} {
		d := newDetector(t, &rules.Rule{ID: "r", Spec: &c.w})
		var s slot
		var f detectors.Firing
		fired := false
		for i := range int64(3) {
			q := request{time: start + i*1000, watermark: math.MinInt64, bytes: 100 * (i + 1), account: fmt.Sprint(i / 2), auth: "failure"}
			if i == 1 {
				q.auth = "success"
			}
			if c.w.Cooldown = time.Millisecond; fired {
				t.Errorf("%s: fired too early", c.name)
			}
			fired = q.show(d, &s, &f)
		}
		if !fired || !slices.Equal(f.Evidence, c.want) {
			t.Errorf("%s: fired %v: %v, want %v", c.name, fired, f.Evidence, c.want)
		}
	}
}

func TestExplainSaysWhatIsAskedFor(t *testing.T) {
	w := &detectors.SlidingWindow{Window: time.Minute, Cooldown: time.Minute, Counted: failures(), Share: true, MinEvents: 4, Tiers: tiersOf(50, 80), By: []event.Field{event.Route}, Values: 4, Cancel: &rules.Condition{Holds: func(*event.Event) bool { return false }}}
	d := newDetector(t, &rules.Rule{ID: "r", Spec: w})
	var s slot
	var f detectors.Firing
	for i, auth := range []string{"failure", "success", "failure"} {
		request{time: start + int64(i)*1000, watermark: math.MinInt64, route: "a", auth: auth}.show(d, &s, &f)
	}
	x := d.Explain(s.payload, start+2000)
	want := []detectors.Demand{
		{Tier: 0, Weight: 10, What: "share_percent", Have: 66, Need: 50}, {Tier: 0, Weight: 10, What: "matching", Have: 3, Need: 4},
		{Tier: 1, Weight: 20, What: "share_percent", Have: 66, Need: 80}, {Tier: 1, Weight: 20, What: "matching", Have: 3, Need: 4},
	}
	if !slices.Equal(x.Demands, want) || x.First != start || x.Last < start+2000 {
		t.Errorf("%+v, want %v", x, want)
	}
	if later := d.Explain(s.payload, start+90_000); later.Demands[0].Have != 0 {
		t.Errorf("a minute and a half later there are still %v", later)
	}
	if none := d.Explain(nil, start); len(none.Held) != 0 || len(none.Demands) != 4 {
		t.Errorf("of nothing: %v", none)
	}
}

// Arbitrary bytes as a payload are refused, or do no harm.
func FuzzFormsReadAnything(f *testing.F) {
	all := forms()
	var names []string
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		d := newDetector(f, &rules.Rule{ID: "r", Spec: all[name]})
		var s slot
		var fired detectors.Firing
		rng := rand.New(rand.NewPCG(4, uint64(i)))
		for n := range int64(12) {
			someone(rng, start+n*20_000).show(d, &s, &fired)
		}
		f.Add(uint8(i), s.payload, int64(start))
		f.Add(uint8(i), s.payload, int64(start+24*60*60*1000)) // all events have left the window
	}
	f.Fuzz(func(t *testing.T, form uint8, payload []byte, now int64) {
		w := all[names[int(form)%len(names)]]
		d := newDetector(t, &rules.Rule{ID: "r", Spec: w})
		kept, ok := d.Fit(slices.Clone(payload))
		if !ok {
			return
		}
		s := slot{kept}
		var fired detectors.Firing
		d.Explain(kept, now)
		now &= 1<<47 - 1
		for i := range int64(3) {
			request{time: now + i*1000, watermark: now, account: "a", route: "b", auth: "failure", bytes: i}.show(d, &s, &fired)
		}
		request{time: now, watermark: now, account: "a", route: "b", auth: "success"}.show(d, &s, &fired)
		if again, ok := d.Fit(s.payload); !ok {
			t.Fatalf("what became of it cannot be read: %x", again)
		}
	})
}

func BenchmarkForms(b *testing.B) {
	for _, name := range []string{"count", "count by route", "count, cancelled", "many", "many distinct", "sum", "sum by route", "percentile", "share", "session", "session, distinct"} {
		for density, step := range map[string]int64{"calm": 20_000, "busy": 100} {
			b.Run(name+"/"+density, func(b *testing.B) {
				w := forms()[name]
				w.Tiers = w.Tiers[len(w.Tiers)-1:]
				w.Tiers[0].At *= 1000
				if w.Share {
					w.Tiers[0].At = 100
				}
				if name == "count" || name == "count by route" || name == "count, cancelled" {
					w.Tiers[0].At = 20
				}
				d := newDetector(b, &rules.Rule{ID: "r", Spec: w})
				rng := rand.New(rand.NewPCG(5, 5))
				var requests []request
				for range 4096 {
					requests = append(requests, someone(rng, 0))
				}
				var c detectors.Context
				var e event.Event
				var f detectors.Firing
				now := int64(start)
				slots := growing{room: make([]byte, 0, 1<<16)}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					now += step
					q := &requests[i%len(requests)]
					q.time, q.watermark = now, now
					q.fill(&c, &slots, &e)
					d.Apply(&c, &f)
				}
				b.ReportMetric(float64(len(slots.payload)), "bytes/entity")
			})
		}
	}
}

// growing is a slot with initial capacity.
type growing struct{ room, payload []byte }

func (s *growing) Payload() []byte { return s.payload }

func (s *growing) Resize(n int) []byte {
	had := len(s.payload)
	s.payload = s.room[:n]
	if n > had {
		clear(s.payload[had:])
	}
	return s.payload
}
