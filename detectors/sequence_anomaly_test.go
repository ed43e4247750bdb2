package detectors_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

func orderRule(change func(*detectors.SequenceAnomaly)) *rules.Rule {
	s := &detectors.SequenceAnomaly{
		By: []event.Field{event.AppVersion, event.Country}, Gap: 30 * time.Minute, Learn: 2000, Least: 50, Odds: 200, HalfLife: time.Hour, MinShare: 30, Cooldown: time.Hour,
		Tiers: []detectors.UnlikelyTier{{At: 4, Weight: 40}},
	}
	if change != nil {
		change(s)
	}
	return &rules.Rule{ID: "r", Spec: s}
}

// app runs a rule on the users of an app. Each of them has a payload.
type app struct {
	t       *testing.T
	d       detectors.Detector
	people  map[string]*slot
	timers  map[string]int64
	cohorts cohortSlots
	now     int64 // ms since the start
	version string
	f       detectors.Firing
}

func newApp(t *testing.T, r *rules.Rule) *app {
	return &app{t: t, d: newDetector(t, r), people: map[string]*slot{}, timers: map[string]int64{}, cohorts: cohortSlots{}, version: "1"}
}

func (a *app) context(who string, e *event.Event, at, watermark int64) *detectors.Context {
	if a.people[who] == nil {
		a.people[who] = &slot{}
	}
	return &detectors.Context{
		Event: e, Source: 3, Offset: at, Time: start + at, Watermark: watermark, Late: watermark != math.MinInt64 && start+at < watermark-lateness, Own: a.people[who], Timer: a.timers[who],
		Cohort: a.cohorts.of(e), Recall: a.cohorts.recall,
	}
}

// calls makes a user call operations at some times, without settling any of them.
func (a *app) calls(who, operation string, at int64) (fired bool) {
	var e event.Event
	e.SetText(event.Method, "GET")
	e.SetText(event.Route, "/"+operation)
	e.SetText(event.AppVersion, a.version)
	c := a.context(who, &e, at, math.MinInt64)
	fired = a.d.Apply(c, &a.f)
	a.timers[who] = c.Timer
	if _, ok := a.d.Fit(bytes.Clone(a.people[who].payload)); !ok {
		a.t.Fatalf("not of its own form: % x", a.people[who].payload)
	}
	return fired
}

// settle calls the timers of a user.
func (a *app) settle(who string) (fired bool) {
	for a.timers[who] != 0 {
		var e event.Event
		c := a.context(who, &e, a.timers[who]-start, a.timers[who]+lateness)
		c.Timer = 0
		fired = a.d.(detectors.Timed).Due(c, &a.f) || fired
		a.timers[who] = c.Timer
	}
	return fired
}

// visit makes a user call one operation after the other, a second apart.
func (a *app) visit(who string, operations ...string) (fired bool) {
	for _, o := range operations {
		a.now += 1000
		fired = a.calls(who, o, a.now) || fired
	}
	return a.settle(who) || fired
}

// usual makes 600 users behave normally.
func (a *app) usual() *app {
	for n := range 600 {
		if a.visit(fmt.Sprint("person", n), "a", "b", "c", "a") {
			a.t.Fatal("fired of somebody who does what all do")
		}
	}
	return a
}

// TestTheOrderOfThePage checks the worked example of
// docs/detectors/sequence_anomaly.md.
func TestTheOrderOfThePage(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/sequence_anomaly.md")
	if err != nil {
		t.Fatal(err)
	}
	a := newApp(t, orderRule(nil)).usual()
	if !a.visit("mallory", "c", "b", "a", "c") {
		t.Fatal("did not fire")
	}
	want := []facet.Evidence{
		facet.Number("unlikely", 4), facet.Number("transitions", 4), facet.Text("least_likely", "the beginning, then GET /c: 0 in 600"),
		facet.Text("second", "GET /c, then GET /b: 0 in 600"), facet.Text("third", "GET /b, then GET /a: 0 in 600"),
	}
	if a.f.Weight != 40 || !slices.Equal(a.f.Evidence, want) {
		t.Errorf("fired %+v, want %+v", a.f, want)
	}
	for _, row := range []string{"| the beginning, then C | 0 of 600 |", "| C, then B | 0 of 600 |", "| B, then A | 0 of 600 |", "| A, then C | 0 of 600 |", "4 · 200 = 800"} {
		if !strings.Contains(string(page), row) {
			t.Errorf("the page does not have %s", row)
		}
	}
	a.now += hour
	a.visit("mallory", "a")
	if x := a.d.Explain(a.people["mallory"].payload, start+a.now); x.Demands[0].Have != 2 {
		t.Errorf("an hour later: %+v", x)
	}

	a = newApp(t, orderRule(nil)).usual()
	for n := range 3 {
		a.visit(fmt.Sprint("other", n), "a", "c")
	}
	if a.visit("mallory", "c", "b", "a", "c") {
		t.Error("fired of a transition that three have made")
	}
}

func TestNobodyIsJudgedTooEarly(t *testing.T) {
	if a := newApp(t, orderRule(func(s *detectors.SequenceAnomaly) { s.Learn = 2401 })).usual(); a.visit("mallory", "c", "b", "a", "c") {
		t.Error("the cohort knows too little")
	}
	if a := newApp(t, orderRule(func(s *detectors.SequenceAnomaly) { s.Least = 601 })).usual(); a.visit("mallory", "c", "b", "a", "c") {
		t.Error("of an operation too little is known")
	}
	if a := newApp(t, orderRule(func(s *detectors.SequenceAnomaly) { s.Odds = 601 })).usual(); a.visit("mallory", "c", "b", "a", "c") {
		t.Error("what nobody does is unlikely from odds on")
	}
	a := newApp(t, orderRule(nil)).usual()
	a.version = "2"
	if a.visit("mallory", "c", "b", "a", "c") {
		t.Error("a new version has not learned")
	}
}

func TestAnOrderMayArriveInAnyOrder(t *testing.T) {
	a := newApp(t, orderRule(nil)).usual()
	for i, o := range []string{"c", "a", "b", "c"} { // they arrive in reverse order
		a.calls("ann", o, a.now+int64(10-i)*1000)
	}
	if !a.settle("ann") {
		t.Error("what happened in an unlikely order was taken in the order in which it arrived")
	}
	a = newApp(t, orderRule(nil)).usual()
	for i, o := range []string{"a", "c", "b", "a"} {
		a.calls("ann", o, a.now+int64(10-i)*1000)
	}
	if a.settle("ann") {
		t.Error("fired of what happened as it does everywhere")
	}
}

func TestWhoIsAccusedTeachesNothing(t *testing.T) {
	a := newApp(t, orderRule(func(s *detectors.SequenceAnomaly) { s.Cooldown = time.Second })).usual()
	for range 50 {
		a.visit("mallory", "c", "b", "a", "c", "b", "a", "c", "b", "a")
	}
	if !a.visit("eve", "c", "b", "a", "c", "b", "a") {
		t.Error("repeating it has made it likely")
	}
}

func TestAnOrderMustBeUnusualForTheMostPart(t *testing.T) {
	a := newApp(t, orderRule(nil)).usual()
	var long []string
	for range 4 {
		long = append(long, "a", "b", "c", "a", "b", "c", "a", "b", "c", "b")
	}
	a.visit("ann", long...)
	x := a.d.Explain(a.people["ann"].payload, start+a.now)
	if !x.Demands[0].Met() || x.Demands[1].Met() || len(x.Demands) != 2 {
		t.Errorf("%+v", x)
	}
}

func TestOrdersHeldBackAreBounded(t *testing.T) {
	a := newApp(t, orderRule(nil))
	for n := range 100 {
		a.calls("ann", fmt.Sprint("o", n), int64(n))
	}
	if n := len(a.people["ann"].payload); n > orderRule(nil).Spec.Keeps().Bytes {
		t.Errorf("%d bytes", n)
	}
	c := a.cohorts["app_version1"]
	if c.payload[4] != 48 || len(c.payload) != orderRule(nil).Spec.Keeps().Cohort.Bytes {
		t.Errorf("%d operations in %d bytes", c.payload[4], len(c.payload))
	}
	d := a.d.(detectors.Comparing)
	if _, ok := d.FitCohort(event.AppVersion, c.payload); !ok {
		t.Error("what is kept of a cohort is not of its form")
	}
	if _, ok := d.FitCohort(event.Build, c.payload); ok {
		t.Error("a cohort that the rule has not")
	}
}

// Any payload is either refused or processed without harm.
func FuzzSequenceAnomalyPayload(f *testing.F) {
	d := newDetector(f, orderRule(func(s *detectors.SequenceAnomaly) { s.Learn, s.Least, s.Odds = 1, 1, 2 }))
	f.Add([]byte{}, []byte{})
	f.Add(make([]byte, 104+24*2), make([]byte, 6920))
	f.Fuzz(func(t *testing.T, own, cohort []byte) {
		own, ok := d.Fit(own)
		if !ok {
			return
		}
		a := newApp(t, orderRule(nil))
		a.d = d
		if cohort, ok = d.(detectors.Comparing).FitCohort(event.AppVersion, cohort); ok {
			a.cohorts["app_version1"] = &cohortSlot{slot: slot{cohort}, key: 1}
		}
		a.people["ann"] = &slot{own}
		d.Explain(own, start)
		a.visit("ann", "a", "b", "a")
	})
}

func TestOrdersAllocateNothing(t *testing.T) {
	a := newApp(t, orderRule(nil))
	var e [2]event.Event
	for i := range e {
		e[i].SetText(event.Method, "GET")
		e[i].SetText(event.Route, fmt.Sprint("/", i))
		e[i].SetText(event.AppVersion, "1")
	}
	cohort := &roomyCohort{roomySlot{make([]byte, 0, 8192)}}
	c := a.context("ann", &e[0], 0, math.MinInt64)
	c.Own = &roomySlot{make([]byte, 0, 4096)}
	c.Cohort, c.Recall = cohort.of, cohort.recall
	now := int64(start)
	show := func() {
		for i := range e {
			now += 1000
			c.Event, c.Time, c.Watermark = &e[i], now, now-1000
			a.d.Apply(c, &a.f)
		}
	}
	for range 50 {
		show()
	}
	if n := testing.AllocsPerRun(100, show); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

type roomyCohort struct{ roomySlot }

func (*roomyCohort) Say(uint8)      {}
func (*roomyCohort) Said(uint8) int { return 0 }
func (*roomyCohort) Key() uint64    { return 1 }

func (c *roomyCohort) of(event.Field) detectors.Cohort { return c }
func (c *roomyCohort) recall(uint64) detectors.Cohort  { return c }

func BenchmarkSequenceAnomaly(b *testing.B) {
	d := newDetector(b, orderRule(nil))
	var e [4]event.Event
	for i := range e {
		e[i].SetText(event.Method, "GET")
		e[i].SetText(event.Route, fmt.Sprint("/", i))
		e[i].SetText(event.AppVersion, "1")
	}
	cohort := &roomyCohort{roomySlot{make([]byte, 0, 8192)}}
	c := detectors.Context{Own: &roomySlot{make([]byte, 0, 4096)}, Cohort: cohort.of, Recall: cohort.recall}
	var f detectors.Firing
	now := int64(start)
	for n := 0; b.Loop(); n++ {
		now += 1000
		c.Event, c.Time, c.Watermark = &e[n%4], now, now-1000
		d.Apply(&c, &f)
	}
}
