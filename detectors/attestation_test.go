package detectors_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// attest fills in a call's attestation.
func (r *call) attest(e *event.Event) {
	for f, text := range map[event.Field]string{event.Attestation: r.attestation, event.AttestationLevel: r.level, event.AttestationID: r.id} {
		if text != "" {
			e.SetText(f, text)
		}
	}
	for f, n := range map[event.Field]int64{event.AttestationCounter: r.counter, event.AttestationAge: r.age, event.Status: r.status} {
		if n != 0 {
			e.SetNum(f, n)
		}
	}
}

func loadAttestation(parameters string) (*rules.Set, error) {
	return rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(`
rules:
  - id: r
    title: A rule
    entity: device
    when: attestation != ""
    attestation:
      ` + strings.ReplaceAll(parameters, "\n", "\n      ") + `
    signal: {category: tampering, reason: r, half_life: 1h}
    phase: soft
`)}}, detectors.All())
}

func attestations(t testing.TB, parameters string) *rules.Rule {
	t.Helper()
	set, err := loadAttestation(parameters)
	if err != nil {
		t.Fatal(err)
	}
	return set.Rules[0]
}

const allFindings = `window: 10m
required: [{when: status != 100, level: basic}, {when: status == 201, level: device}]
failed: {at: 2, weight: 60}
counter_back: {at: 2, weight: 70}
dropped: {at: 2, weight: 50}
below: {at: 2, weight: 30}
missing: {at: 2, weight: 40}
stale: {at: 2, weight: 20}
unjudged_percent: 100
`

// Each kind of shortfall, with nothing known about others: after the wait.
func TestWaysOfFallingShort(t *testing.T) {
	passed := call{attestation: "passed", level: "device"}
	with := func(change func(c *call)) call { c := passed; change(&c); return c }
	for _, c := range []struct {
		name  string
		first call // occurs once
		then  call // occurs twice
		want  string
	}{
		{"failed", passed, call{attestation: "failed"}, "failed 60"},
		{"failed where nothing is required", passed, call{attestation: "failed", status: 100}, "failed 60"},
		{"passed", passed, passed, ""},
		{"missing of one that had a basic one", call{attestation: "passed", level: "basic"}, call{attestation: "missing"}, "missing 40"},
		{"an error likewise", call{attestation: "passed"}, call{attestation: "error"}, "missing 40"},
		{"missing of one that had a device's", passed, call{attestation: "missing"}, "dropped 50"},
		{"none of one that had a strong one", with(func(c *call) { c.level = "strong" }), with(func(c *call) { c.level = "none" }), "dropped 50"},
		{"missing where none is required", passed, call{attestation: "missing", status: 100}, ""},
		{"below what is required", call{attestation: "passed", level: "basic"}, call{attestation: "passed", level: "basic", status: 201}, "below 30"},
		{"no level is basic", passed, call{attestation: "passed"}, ""},
		{"no level is not a device's", passed, call{attestation: "passed", status: 201}, "below 30"},
		{"as old as may be", passed, with(func(c *call) { c.age = 86_400 }), ""},
		{"too old", passed, with(func(c *call) { c.age = 86_401 }), "stale 20"},
		{"too old where none is required", passed, with(func(c *call) { c.age, c.status = 86_401, 100 }), ""},
		{"a counter that goes back", with(func(c *call) { c.counter = 9 }), with(func(c *call) { c.counter = 8 }), "counter_back 70"},
		{"a counter that stays", with(func(c *call) { c.counter = 9 }), with(func(c *call) { c.counter = 9 }), ""},
		{"the counter of another", with(func(c *call) { c.counter, c.id = 9, "a" }), with(func(c *call) { c.counter, c.id = 8, "b" }), ""},
		{"a counter that goes back in one that failed", with(func(c *call) { c.counter = 9 }), call{attestation: "failed", counter: 8}, "failed 60"},
	} {
		w := newTown(t, attestations(t, allFindings))
		for i, c := range []call{c.first, c.then, c.then} {
			c.device = "d"
			w.see(start+int64(i)*1000, c)
		}
		w.pass(start + hour)
		got := ""
		if f, ok := w.last["d"]; ok {
			got = fmt.Sprint(f.Evidence[0].Text, " ", f.Weight)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestACounterOutOfOrderGoesNotBack(t *testing.T) {
	w := newTown(t, attestations(t, allFindings))
	for _, of := range [][2]int64{{2000, 9}, {1000, 8}, {1500, 8}, {1800, 8}, {3000, 10}, {2500, 9}} {
		w.see(start+of[0], call{device: "d", attestation: "passed", level: "device", counter: of[1]})
	}
	w.pass(start + hour)
	w.want("each in its place")
}

func TestTheBestLevelIsForgotten(t *testing.T) {
	for _, c := range []struct {
		after int64
		want  string
	}{{10*minute - 2, "dropped"}, {10 * minute, "missing"}} {
		w := newTown(t, attestations(t, allFindings+"memory: 10m"))
		w.see(start, call{device: "d", attestation: "passed", level: "strong"})
		w.see(start+c.after, call{device: "d", attestation: "missing"})
		w.see(start+c.after+1, call{device: "d", attestation: "missing"})
		w.pass(start + hour)
		if f := w.last["d"]; len(f.Evidence) == 0 || f.Evidence[0].Text != c.want {
			t.Errorf("%d ms later: %+v, want %s", c.after, f, c.want)
		}
	}
}

// The most serious finding that is reached fires; a share below the minimum does
// not.
func TestTheGravestFires(t *testing.T) {
	w := newTown(t, attestations(t, allFindings))
	for i, a := range []string{"missing", "missing", "failed", "failed", "missing"} {
		w.see(start+int64(i), call{device: "d", attestation: a})
	}
	for i := range int64(11) {
		w.see(start+10+i, call{device: "e", attestation: "passed", level: "device"})
	}
	w.see(start+30, call{device: "e", attestation: "failed"})
	w.see(start+31, call{device: "e", attestation: "failed"})
	w.pass(start + hour)
	w.want("one of 15 %", "d 60")
}

func TestAnOutageFiresForNobody(t *testing.T) {
	w := newTown(t, attestations(t, allFindings))
	for i := range int64(60) {
		d := fmt.Sprint("d", i%6)
		w.see(start+i*1000, call{device: d, attestation: "passed", level: "strong", version: fmt.Sprint(i % 3), model: "m", net: d})
	}
	w.pass(start + hour)
	for i := range int64(60) {
		d := fmt.Sprint("d", i%6)
		w.see(start+hour+i*1000, call{device: d, attestation: "error", version: "4", model: "m", net: d})
	}
	w.pass(start + 3*hour)
	w.want("an outage")
	if x := w.d.Explain(w.devices["d5"].payload, start+hour+minute); len(x.HeldBack) != 1 || x.HeldBack[0].By != "an outage: others fall short too" {
		t.Errorf("held back by %+v", x.HeldBack)
	}
}

func TestAttestationsOfAnyFormAreReadOrRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 11))
	r := attestations(t, allFindings)
	d := newDetector(t, r)
	taken := 0
	for range 3000 {
		b := make([]byte, r.Spec.Keeps().Bytes+rng.IntN(2)*rng.IntN(3))
		for i := range b {
			b[i] = byte(rng.Uint32() >> (8 * rng.IntN(5)))
		}
		b[49], b[50] = b[49]%4, b[50]%5
		for i := 136; i+32 <= len(b); i += 32 {
			b[i+24], b[i+25] = b[i+24]%4, b[i+25]%4
		}
		kept, ok := d.Fit(b)
		if !ok {
			continue
		}
		taken++
		w := newTown(t, r)
		w.devices["d"] = &slot{kept}
		for i := range int64(30) {
			w.see(start+i*1000, call{device: "d", attestation: []string{"passed", "failed"}[rng.IntN(2)], counter: rng.Int64N(5), version: "4.2", model: "m", net: "n"})
			d.Explain(w.devices["d"].payload, start)
		}
		w.pass(start + hour)
	}
	if taken < 100 {
		t.Errorf("%d are taken", taken)
	}
	var e event.Event
	e.SetText(event.Attestation, "failed")
	c := detectors.Context{Event: &e, Time: start, Own: fullSlot{}}
	if d.Apply(&c, &detectors.Firing{}) {
		t.Error("fires without room")
	}
	var s slot
	c.Own, c.Late = &s, true
	if d.Apply(&c, &detectors.Firing{}) || s.payload != nil {
		t.Error("takes in what is late")
	}
}

func TestParametersOfAnAttestation(t *testing.T) {
	const least = "window: 10m\nfailed: {at: 2, weight: 60}\n"
	for _, c := range []struct{ name, parameters, want string }{
		{"nothing to find", "window: 10m", "looks for nothing"},
		{"missing what is not required", "window: 10m\nmissing: {at: 2, weight: 60}", "none requires anything"},
		{"a level that there is not", least + "required: [{when: status == 1, level: none}]", "none"},
		{"a cohort twice", least + "cohorts: [os, os]", "there twice"},
		{"a past shorter than the wait", least + "wait: 1h\nusual: 10m", "shorter than wait"},
		{"a memory shorter than the window", least + "memory: 9m", "still counts"},
	} {
		if _, err := loadAttestation(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	plain := attestations(t, least).Spec
	seen := map[string]string{plain.Canonical(): "the defaults"}
	for _, p := range []string{
		"required: [{when: status == 1, level: basic}]", "required: [{when: status == 1, level: strong}]", "counter_back: {at: 2, weight: 60}", "max_age: 1h",
		"min_share: 21", "peers: 4", "broken_share: 31", "unjudged_percent: 0", "memory: 8d", "cooldown: 2h", "cohorts: [build]", "wait: 9m", "usual: 7h",
	} {
		s := attestations(t, least+p).Spec
		if was, ok := seen[s.Canonical()]; ok {
			t.Errorf("%s is the same as %s", p, was)
		}
		seen[s.Canonical()] = p
		if !slices.IsSorted(s.Fields()) {
			t.Errorf("%s: fields %v are out of order", p, s.Fields())
		}
	}
	spec := attestations(t, allFindings).Spec.(detectors.Adjustable)
	if r := spec.Raised("stale", 7).(*detectors.Attestation); r.Findings[detectors.Stale].At != 7 || r.Findings[detectors.Failed].At != 2 {
		t.Errorf("raised to %v", r.Findings)
	}
	if spec.Raised("stale", 201) != nil || spec.Raised("count", 2) != nil {
		t.Error("what cannot be raised is")
	}
}

func TestAttestationAllocatesNothing(t *testing.T) {
	w := newTown(t, attestations(t, allFindings))
	var e event.Event
	e.SetText(event.Attestation, "passed")
	e.SetText(event.AttestationLevel, "strong")
	e.SetText(event.AttestationID, "k")
	e.SetNum(event.AttestationCounter, 4)
	os := w.cohort(event.OS, "ios")
	c := detectors.Context{Event: &e, Entity: facet.Entity{Kind: facet.Device, Key: "d"}, Own: &slot{}, Cohort: func(by event.Field) detectors.Cohort {
		if by == event.OS {
			return os
		}
		return nil
	}}
	at := int64(start)
	apply := func() {
		at += 1000
		c.Time = at
		w.d.Apply(&c, &w.f)
	}
	apply()
	if n := testing.AllocsPerRun(200, apply); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestTheWorkedExampleOfAttestation checks the numbers on the page.
func TestTheWorkedExampleOfAttestation(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/attestation.md")
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	w := newTown(t, set.Rule("attestation-device"))
	first := int64(start - start%minute)
	for s := int64(0); s < 3000; s += 5 {
		name := []string{"ann", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11"}[s/5%12]
		verdict := "passed"
		if s >= 1200 {
			verdict = "error"
		}
		if name != "ann" || s == 0 {
			w.see(first+s*1000, call{device: name, attestation: verdict, level: "strong", version: "4.2", model: "Pixel 9", net: name})
		}
		if s >= 180 && s < 600 && s%10 == 0 {
			w.see(first+s*1000+1, call{device: "ann", attestation: "missing", version: "4.2", model: "Pixel 9", net: "x"})
		}
	}
	w.pass(first + 2*hour)
	w.want("the example", "ann 60")
	if at := w.times["ann 60"] - first; at != 260_001 || !strings.Contains(string(page), "at 4:20") {
		t.Errorf("fired %d ms after the beginning; the page says 4:20", at)
	}
	for _, e := range w.last["ann"].Evidence {
		said := e.Text
		if said == "" {
			said = fmt.Sprint(e.Values[0])
		}
		if line := fmt.Sprintf("| `%s` | %s |", e.Name, said); !strings.Contains(string(page), line) {
			t.Errorf("the page lacks %q", line)
		}
	}
}
