package detectors_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// volumeRule reads a rule with these parameters in addition to by.
func volumeRule(t testing.TB, parameters string) *rules.Rule {
	t.Helper()
	spec, err := specOf("volume_anomaly:\n  by: [app_version, country]\n" + parameters)
	if err != nil {
		t.Fatal(err)
	}
	return &rules.Rule{ID: "r", Spec: spec}
}

const fiveTimes = "  tiers: [{percent: 500, least: 10, weight: 40}]\n"

// session makes a user call an operation this many times, a second apart, and then
// no more.
func (a *app) session(who, operation string, calls int) (fired int) {
	for i := range calls {
		a.now += 1000
		if a.calls(who, operation, a.now) && fired == 0 {
			fired = i + 1
		}
	}
	a.settle(who)
	return fired
}

// TestTheLimitOfThePage checks the worked example of
// docs/detectors/volume_anomaly.md.
func TestTheLimitOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/volume_anomaly.md")
	if err != nil {
		t.Fatal(err)
	}
	learned := func(quantile int) *app {
		a := newApp(t, volumeRule(t, fmt.Sprintf("  quantile: %d\n%s", quantile, fiveTimes)))
		for n := range 400 {
			calls := 1 + n%3
			switch {
			case n%50 == 7:
				calls = 5
			case n%100 == 9:
				calls = 10
			}
			if a.session(fmt.Sprint("u", n), "orders", calls) != 0 {
				t.Fatal("fired of somebody who does what all do")
			}
		}
		return a
	}
	for quantile, fires := range map[int]int{99: 55, 90: 15} {
		a := learned(quantile)
		if got := a.session("mallory", "orders", 60); got != fires {
			t.Errorf("quantile %d: fired at the %dth call, want the %dth", quantile, got, fires)
		}
		want := []facet.Evidence{
			facet.Text("operation", "GET /orders"), facet.Number("calls", int64(fires)), facet.Number("limit", int64(fires/5)), facet.Number("sessions", 400),
			facet.Number("first_ms", start+a.now-59_000), facet.Number("last_ms", start+a.now-60_000+int64(fires)*1000),
		}
		if !slices.Equal(a.f.Evidence, want) {
			t.Errorf("quantile %d: %+v, want %+v", quantile, a.f.Evidence, want)
		}
		if !strings.Contains(string(page), fmt.Sprintf("| %d | ⌈(%s", quantile, map[int]string{99: "39,600 + 328) / 100⌉ = 400 | 11 |", 90: "36,000 + 987) / 100⌉ = 370 | 3 |"}[quantile])) {
			t.Errorf("the page says something else of %d", quantile)
		}
	}
	for sessions, fires := range map[int]bool{266: false, 267: false, 268: true} {
		a := newApp(t, volumeRule(t, "  learn: 1\n"+fiveTimes))
		for n := range sessions {
			a.session(fmt.Sprint("u", n), "orders", 1)
		}
		if got := a.session("mallory", "orders", 20) > 0; got != fires {
			t.Errorf("%d sessions: fired %v", sessions, got)
		}
	}
}

// TestTheLimitIsAnUpperBound checks that, for sessions drawn from a population, the
// limit is below its quantile in no more than one case in twenty, apart from chance.
func TestTheLimitIsAnUpperBound(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	below := 0
	const cases = 150
	for range cases {
		a := newApp(t, volumeRule(t, "  quantile: 90\n  learn: 1\n  tiers: [{percent: 101, least: 1000000, weight: 40}]\n"))
		for n := range 100 {
			a.session(fmt.Sprint("u", n), "o", 1+r.IntN(7)) // the 90th percentile is 7
		}
		a.calls("ann", "o", a.now+1000)
		for _, e := range a.d.Explain(a.people["ann"].payload, start+a.now).Held {
			if e.Name == "limit" && e.Values[0] < 7 {
				below++
			}
		}
	}
	if below > cases/10 {
		t.Errorf("in %d of %d cases the limit is below the quantile", below, cases)
	}
}

func TestSessionsOfVolumes(t *testing.T) {
	learned := func() *app {
		a := newApp(t, volumeRule(t, fiveTimes))
		for n := range 400 {
			a.session(fmt.Sprint("u", n), "orders", 2)
		}
		return a
	}
	calls := func(a *app) int64 { return a.d.Explain(a.people["ann"].payload, start+a.now).Held[0].Values[0] }
	a := learned()
	for i := range int64(9) {
		a.calls("ann", "orders", a.now+i*1_800_000)
	}
	if calls(a) != 9 {
		t.Errorf("%d calls half an hour apart, want 9", calls(a))
	}
	a.calls("ann", "orders", a.now+8*1_800_000+1_800_001)
	if calls(a) != 1 {
		t.Errorf("%d calls of a new session, want 1", calls(a))
	}
	a = learned()
	for _, at := range []int64{1_800_000, 0, 3_600_000, -1_800_000} {
		a.calls("ann", "orders", a.now+at)
	}
	if calls(a) != 4 {
		t.Errorf("%d calls out of order, want 4", calls(a))
	}
	a.calls("ann", "orders", a.now-3_600_001)
	if calls(a) != 4 {
		t.Errorf("%d calls, one of which is too early; want 4", calls(a))
	}
	a.version = "2"
	a.calls("ann", "orders", a.now+3_600_000)
	if calls(a) != 1 {
		t.Errorf("%d calls with another version, want 1", calls(a))
	}
}

func TestNothingIsLearnedFromWhomItAccuses(t *testing.T) {
	a := newApp(t, volumeRule(t, fiveTimes))
	for n := range 400 {
		a.session(fmt.Sprint("u", n), "orders", 2)
	}
	for n := range 40 {
		if got := a.session(fmt.Sprint("eve", n), "orders", 30); got != 10 {
			t.Fatalf("the %dth: fired at the %dth call, want the 10th", n, got)
		}
	}
	for n := range 8 { // above the limit, but below the tier
		a.session(fmt.Sprint("fan", n), "orders", 9)
	}
	if got := a.session("mallory", "orders", 60); got != 45 {
		t.Errorf("fired at the %dth call, want the 45th: others call it nine times by now", got)
	}
}

func TestVolumesFade(t *testing.T) {
	a := newApp(t, volumeRule(t, "  quantile: 50\n"+fiveTimes))
	for n := range 20_000 {
		a.session(fmt.Sprint("u", n%50), "o", 3)
	}
	if got := a.session("ann", "o", 40); got != 15 {
		t.Errorf("fired at the %dth call, want the 15th", got)
	}
	c := a.cohorts["app_version1"].payload
	if n := int(c[8+4]) | int(c[8+5])<<8; n < 9_900 || n > 10_100 {
		t.Errorf("%d sessions are left of 20,000, want half", n)
	}
}

func TestParametersOfVolumes(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no tiers", "volume_anomaly: {by: [app_version]}", `the key "tiers" is missing`},
		{"no cohort", "volume_anomaly: {tiers: [{percent: 200, least: 1, weight: 1}]}", `the key "by" is missing`},
		{"less than the limit", "volume_anomaly: {by: [country], tiers: [{percent: 100, least: 1, weight: 1}]}", "100"},
		{"a quantile that is all", "volume_anomaly: {by: [country], quantile: 100, tiers: [{percent: 200, least: 1, weight: 1}]}", "100"},
		{"tiers out of order", "volume_anomaly: {by: [country], tiers: [{percent: 200, least: 1, weight: 2}, {percent: 300, least: 1, weight: 2}]}", "can never be seen"},
	} {
		if _, err := specOf(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	eachChanges(t, "volume_anomaly:\n  by: [country]\n"+fiveTimes, "  session_gap: 2h", "  learn: 7", "  quantile: 90", "  cooldown: 2h")
	a, _ := specOf("volume_anomaly:\n  by: [country]\n" + fiveTimes)
	b, _ := specOf("volume_anomaly:\n  by: [app_version]\n" + fiveTimes)
	if a.State() == b.State() {
		t.Error("cohorts of other fields are the same")
	}
}

func TestExplanationOfVolumes(t *testing.T) {
	a := newApp(t, volumeRule(t, fiveTimes))
	x := a.d.Explain(nil, start)
	if len(x.Demands) != 1 || x.Demands[0].Met() || x.Last >= x.First || len(x.HeldBack) != 1 {
		t.Errorf("of nothing: %+v", x)
	}
	for n := range 400 {
		a.session(fmt.Sprint("u", n), "orders", 2)
	}
	for range 11 {
		a.now += 1000
		a.calls("ann", "orders", a.now)
	}
	x = a.d.Explain(a.people["ann"].payload, start+a.now)
	met := ""
	for _, d := range x.Demands {
		met += fmt.Sprint(d.What, " ", d.Have, "/", d.Need, " ")
	}
	if met != "sessions 400/300 calls 11/10 " || x.Last != start+a.now || x.First != start+a.now-10_000 {
		t.Errorf("%s from %d to %d", met, x.First-start-a.now, x.Last-start-a.now)
	}
	if want := []detectors.HeldBack{{Tier: 0, By: "cooldown", Until: start + a.now - 1000 + hour}}; !slices.Equal(x.HeldBack, want) {
		t.Errorf("held back: %+v", x.HeldBack)
	}
}

func TestVolumesAreBounded(t *testing.T) {
	r := volumeRule(t, fiveTimes)
	a := newApp(t, r)
	for n := range 100 {
		a.calls("ann", fmt.Sprint("o", n), int64(n))
	}
	if n := len(a.people["ann"].payload); n != r.Spec.Keeps().Bytes {
		t.Errorf("%d bytes, want %d", n, r.Spec.Keeps().Bytes)
	}
	c := a.cohorts["app_version1"]
	if c.payload[0] != 46 || len(c.payload) != r.Spec.Keeps().Cohort.Bytes {
		t.Errorf("%d operations in %d bytes", c.payload[0], len(c.payload))
	}
	d := a.d.(detectors.Comparing)
	if _, ok := d.FitCohort(event.AppVersion, c.payload); !ok {
		t.Error("what is kept of a cohort is not of its form")
	}
	if _, ok := d.FitCohort(event.Build, c.payload); ok {
		t.Error("a cohort that the rule has not")
	}
}

func TestVolumesOfAnyFormAreReadOrRefused(t *testing.T) {
	r := volumeRule(t, fiveTimes)
	flags, called, none := make([]byte, 48), make([]byte, 48), make([]byte, 56)
	flags[33], called[34] = 8, 1
	d := newDetector(t, r)
	for _, b := range [][]byte{nil, make([]byte, 47), make([]byte, 49), make([]byte, 48+25*8), flags, called, none, bytes.Repeat([]byte{0x7f}, 56)} {
		if _, ok := d.Fit(b); ok {
			t.Errorf("%d bytes are taken", len(b))
		}
	}
	for _, b := range [][]byte{nil, make([]byte, 100), bytes.Repeat([]byte{0x7f}, 6632)} {
		if _, ok := d.(detectors.Comparing).FitCohort(event.AppVersion, b); ok {
			t.Errorf("%d bytes of a cohort are taken", len(b))
		}
	}
}

// Any payload is either refused or processed without harm.
func FuzzVolumeAnomaly(f *testing.F) {
	d := newDetector(f, volumeRule(f, "  learn: 1\n  quantile: 50\n  tiers: [{percent: 101, least: 1, weight: 40}]\n"))
	f.Add([]byte{}, []byte{})
	f.Add(append(make([]byte, 48), 1, 2, 3, 4, 5, 0, 0, 0), make([]byte, 6632))
	f.Fuzz(func(t *testing.T, own, cohort []byte) {
		own, ok := d.Fit(own)
		if !ok {
			return
		}
		a := newApp(t, volumeRule(t, fiveTimes))
		a.d = d
		if cohort, ok = d.(detectors.Comparing).FitCohort(event.AppVersion, cohort); ok {
			a.cohorts["app_version1"] = &cohortSlot{slot: slot{cohort}, key: 1}
		}
		a.people["ann"] = &slot{own}
		d.Explain(own, start)
		a.visit("ann", "a", "b", "a")
	})
}

// volumeContext returns an event of an app with two operations, in slots with enough
// room.
func volumeContext(e []event.Event) *detectors.Context {
	for i := range e {
		e[i].SetText(event.Method, "GET")
		e[i].SetText(event.Route, fmt.Sprint("/", i))
		e[i].SetText(event.AppVersion, "1")
	}
	cohort := &roomyCohort{roomySlot{make([]byte, 0, 8192)}}
	return &detectors.Context{Own: &roomySlot{make([]byte, 0, 4096)}, Cohort: cohort.of, Recall: cohort.recall, Watermark: math.MinInt64}
}

func TestVolumesAllocateNothing(t *testing.T) {
	d := newDetector(t, volumeRule(t, "  learn: 1\n  quantile: 50\n"+fiveTimes))
	var e [2]event.Event
	c, f, now := volumeContext(e[:]), detectors.Firing{}, int64(start)
	show := func() {
		for i := range e {
			now += 1_000_000
			c.Event, c.Time = &e[i], now
			d.Apply(c, &f)
		}
	}
	for range 50 {
		show()
	}
	if n := testing.AllocsPerRun(100, show); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkVolumeAnomaly(b *testing.B) {
	d := newDetector(b, volumeRule(b, fiveTimes))
	var e [4]event.Event
	c, f, now := volumeContext(e[:]), detectors.Firing{}, int64(start)
	for n := 0; b.Loop(); n++ {
		if now += 1000; n%32 == 0 {
			now += hour
		}
		c.Event, c.Time = &e[n%4], now
		d.Apply(c, &f)
	}
}
