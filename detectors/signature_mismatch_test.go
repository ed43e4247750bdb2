package detectors_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
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

// crowd is a cohort of a town.
type crowd struct {
	slot
	key  uint64
	said uint8
	told func(level uint8) int // nil: no verdicts
}

func (c *crowd) Say(level uint8) { c.said = level }
func (c *crowd) Key() uint64     { return c.key }
func (c *crowd) Said(level uint8) int {
	if c.told == nil {
		return 0
	}
	return c.told(level)
}

// town is a facet partition with one rule about devices.
type town struct {
	t       testing.TB
	d       detectors.Detector
	devices map[string]*slot
	cohorts map[string]*crowd
	timers  map[string]int64
	f       detectors.Firing
	fired   []string // "d1 40"
	last    map[string]detectors.Firing
	times   map[string]int64 // of the firings
}

func newTown(t testing.TB, r *rules.Rule) *town {
	return &town{t: t, d: newDetector(t, r), devices: map[string]*slot{}, cohorts: map[string]*crowd{}, timers: map[string]int64{}, last: map[string]detectors.Firing{}, times: map[string]int64{}}
}

// call is an event of a device; empty fields are absent.
type call struct {
	device, signature, reason, version, model, net string

	attestation, level, id string
	counter, age, status   int64
}

func (w *town) cohort(by event.Field, value string) *crowd {
	name := fmt.Sprint(by, " ", value)
	if w.cohorts[name] == nil {
		w.cohorts[name] = &crowd{key: 1000 + uint64(len(w.cohorts))}
	}
	return w.cohorts[name]
}

// see processes a call after all timers that are due before it.
func (w *town) see(at int64, r call) {
	w.t.Helper()
	w.pass(at)
	var e event.Event
	for f, text := range map[event.Field]string{
		event.Device: r.device, event.Signature: r.signature, event.SignatureReason: r.reason, event.AppVersion: r.version, event.DeviceModel: r.model, event.Net: r.net,
	} {
		if text != "" {
			e.SetText(f, text)
		}
	}
	r.attest(&e)
	if r.version != "" && r.model != "" {
		e.SetText(event.Build, r.version+"|"+r.model)
	}
	if w.devices[r.device] == nil {
		w.devices[r.device] = &slot{}
	}
	c := detectors.Context{
		Event: &e, Entity: facet.Entity{Kind: facet.Device, Key: r.device}, Time: at, Watermark: math.MinInt64, Own: w.devices[r.device], Timer: w.timers[r.device],
		Cohort: func(by event.Field) detectors.Cohort {
			if value := e.Text(by); value != "" {
				return w.cohort(by, value)
			}
			return nil
		},
	}
	w.apply(r.device, &c, w.d.Apply(&c, &w.f))
}

// pass calls the timers that are due up to a moment.
func (w *town) pass(until int64) {
	for {
		due := slices.Sorted(maps.Keys(w.timers))
		due = slices.DeleteFunc(due, func(d string) bool { return w.timers[d] > until })
		if len(due) == 0 {
			return
		}
		device := slices.MinFunc(due, func(a, b string) int { return int(w.timers[a] - w.timers[b]) })
		var none event.Event
		c := detectors.Context{
			Event: &none, Entity: facet.Entity{Kind: facet.Device, Key: device}, Time: w.timers[device], Own: w.devices[device],
			Recall: func(key uint64) detectors.Cohort {
				for _, c := range w.cohorts {
					if c.key == key {
						return c
					}
				}
				return nil
			},
		}
		delete(w.timers, device)
		w.apply(device, &c, w.d.(detectors.Timed).Due(&c, &w.f))
	}
}

func (w *town) apply(device string, c *detectors.Context, fired bool) {
	if delete(w.timers, device); c.Timer != 0 {
		w.timers[device] = c.Timer
	}
	if p := w.devices[device].payload; p != nil {
		if _, ok := w.d.Fit(bytes.Clone(p)); !ok {
			w.t.Fatalf("not of its own form: % x", p)
		}
	}
	if fired {
		w.fired = append(w.fired, fmt.Sprintf("%s %d", device, w.f.Weight))
		w.times[w.fired[len(w.fired)-1]] = c.Time
		f := w.f
		f.Evidence = slices.Clone(f.Evidence)
		w.last[device] = f
	}
}

// many sends a call from each of n devices, each in its own network, every second
// until a moment.
func (w *town) many(from, to int64, n int, name, signature, version string) {
	for i, t := 0, from; t < to; i, t = i+1, t+1000 {
		w.see(t, call{device: fmt.Sprint(name, i%n), signature: signature, version: version, model: "m", net: fmt.Sprint(name, i%n)})
	}
}

func (w *town) want(why string, all ...string) {
	w.t.Helper()
	if !slices.Equal(w.fired, all) {
		w.t.Errorf("%s: fired %v, want %v", why, w.fired, all)
	}
}

const minute = 60_000

// mismatch returns the rule with these parameters.
func mismatch(t testing.TB, parameters string) *rules.Rule {
	t.Helper()
	set, err := loadMismatch(parameters)
	if err != nil {
		t.Fatal(err)
	}
	return set.Rules[0]
}

func loadMismatch(parameters string) (*rules.Set, error) {
	return rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(`
rules:
  - id: r
    title: A rule
    entity: device
    when: signature != ""
    signature_mismatch:
      ` + strings.ReplaceAll(parameters, "\n", "\n      ") + `
    signal: {category: tampering, reason: r, half_life: 1h}
    phase: soft
`)}}, detectors.All())
}

const plainMismatch = "window: 10m\ntiers: [{at: 5, weight: 40}, {at: 20, weight: 80}]\n"

func TestADeviceThatFailsAlone(t *testing.T) {
	w := newTown(t, mismatch(t, plainMismatch))
	w.many(start, start+5*minute, 12, "good", "valid", "4.2")
	for i := range int64(19) {
		w.see(start+5*minute+i*5000, call{device: "bad", signature: "invalid", version: "4.2", model: "m", net: "x"})
	}
	w.want("nobody else was seen since it failed first")
	w.many(start+7*minute, start+8*minute, 12, "good", "valid", "4.2")
	w.see(start+8*minute, call{device: "bad", signature: "invalid", version: "4.2", model: "m", net: "x"})
	w.want("others pass", "bad 80")
}

func TestADeviceIsJudgedWhenTheWaitIsOver(t *testing.T) {
	for _, c := range []struct {
		name  string
		while func(w *town)
		want  []string
	}{
		{"nothing else is known", func(*town) {}, []string{"bad 20"}},
		{"others of the version pass", func(w *town) {
			for i := range int64(9) {
				w.see(start+minute, call{device: fmt.Sprint("other", i), signature: "valid", version: "4.2", model: "another", net: fmt.Sprint(i)})
			}
		}, []string{"bad 40"}},
		{"two others fail on their networks", func(w *town) { w.many(start+minute, start+2*minute, 2, "too", "invalid", "4.2") }, nil},
		{"one other fails", func(w *town) { w.many(start+minute, start+2*minute, 1, "too", "invalid", "4.2") }, []string{"bad 20", "too0 40"}},
	} {
		w := newTown(t, mismatch(t, plainMismatch))
		for i := range int64(5) {
			w.see(start+i*1000, call{device: "bad", signature: "invalid", version: "4.2", model: "m", net: "x"})
		}
		c.while(w)
		w.pass(start + hour)
		w.want(c.name, c.want...)
	}
}

func TestManyThatFailOnFewNetworksAreNoBrokenRelease(t *testing.T) {
	w := newTown(t, mismatch(t, plainMismatch))
	for i := range int64(40) {
		w.see(start+i*1000, call{device: fmt.Sprint("farm", i%8), signature: "invalid", version: "9", model: "m", net: fmt.Sprint("x", i%2)})
	}
	w.pass(start + hour)
	w.want("a farm", "farm0 40", "farm1 40", "farm2 40", "farm3 40", "farm4 40", "farm5 40", "farm6 40", "farm7 40")
	if e := w.last["farm0"].Evidence; !slices.Contains(e, facet.Text("judged", "many fail, on few networks")) || !slices.Contains(e, facet.Number("cohort_networks", 2)) {
		t.Errorf("evidence %v", e)
	}
}

// A phone that signed correctly before its update, and fails since, is not judged
// before its new build can be judged.
func TestAnUpdatedDeviceWaitsForItsBuild(t *testing.T) {
	for _, c := range []struct {
		memory string
		want   []string
	}{{"7d", nil}, {"10m", []string{"d 40"}}} {
		w := newTown(t, mismatch(t, plainMismatch+"memory: "+c.memory+"\nusual: 10m"))
		w.see(start, call{device: "d", signature: "valid", version: "4.1", model: "m"})
		for i := range int64(9) {
			w.see(start+15*minute+i*minute/2, call{device: fmt.Sprint("other", i), signature: "valid", version: "4.2", model: "another", net: fmt.Sprint(i)})
		}
		for i := range int64(6) {
			w.see(start+20*minute+i*1000, call{device: "d", signature: "invalid", version: "4.2", model: "m"})
		}
		w.pass(start + 24*hour)
		w.want("passed within "+c.memory, c.want...)
	}
}

// Verdicts of other partitions decide if this one knows too little.
func TestVerdictsOfOtherPartitions(t *testing.T) {
	for _, c := range []struct {
		name   string
		levels []uint8
		want   []string
	}{
		{"nobody says anything", nil, []string{"bad 20"}},
		{"three partitions see one device each that fails", []uint8{1, 1, 1}, nil},
		{"two", []uint8{1, 1}, []string{"bad 20"}},
		{"three partitions see one that fails and seven that pass", []uint8{57, 57, 57}, []string{"bad 40"}},
		{"one partition sees three that fail and one that passes", []uint8{11}, nil},
		{"one sees eight that fail", []uint8{8}, nil},
	} {
		w := newTown(t, mismatch(t, plainMismatch+"cohorts: [build]"))
		w.cohort(event.Build, "4.2|m").told = func(level uint8) (n int) {
			for _, l := range c.levels {
				if l >= level {
					n++
				}
			}
			return n
		}
		for i := range int64(5) {
			w.see(start+i*1000, call{device: "bad", signature: "invalid", version: "4.2", model: "m", net: "x"})
		}
		if w.cohort(event.Build, "4.2|m").said != 1 {
			t.Errorf("%s: said %d, want 1", c.name, w.cohort(event.Build, "4.2|m").said)
		}
		w.pass(start + hour)
		w.want(c.name, c.want...)
	}
}

func TestMismatchEdges(t *testing.T) {
	fail := func(w *town, at int64, signature, reason string) {
		w.see(at, call{device: "d", signature: signature, reason: reason})
	}
	for _, c := range []struct {
		name string
		of   func(w *town)
		want []string
	}{
		{"four failures", func(w *town) {
			for i := range int64(4) {
				fail(w, start+i, "invalid", "")
			}
		}, nil},
		{"five, the last in the last pane of the window", func(w *town) {
			for i := range int64(4) {
				fail(w, start, "invalid", fmt.Sprint(i))
			}
			fail(w, start-start%minute+10*minute-1, "unknown", "")
		}, []string{"d 20"}},
		{"five, the last in the first pane behind it", func(w *town) {
			for i := range int64(4) {
				fail(w, start, "invalid", fmt.Sprint(i))
			}
			fail(w, start-start%minute+10*minute, "unknown", "")
		}, nil},
		{"a wrong clock", func(w *town) {
			for i := range int64(50) {
				fail(w, start+i, "invalid", "sig_expired")
			}
		}, nil},
		{"a fifth of all", func(w *town) {
			for i := range int64(20) {
				fail(w, start+i, "valid", "")
			}
			for i := range int64(5) {
				fail(w, start+i, "invalid", "")
			}
		}, []string{"d 20"}},
		{"less than a fifth", func(w *town) {
			for i := range int64(21) {
				fail(w, start+i, "valid", "")
			}
			for i := range int64(5) {
				fail(w, start+i, "invalid", "")
			}
		}, nil},
		{"the same weight within the cooldown", func(w *town) {
			for i := range int64(10) {
				fail(w, start+i*6*minute/5, "invalid", "")
			}
			w.pass(start + 20*minute)
			for i := range int64(10) {
				fail(w, start+21*minute+i, "invalid", "")
			}
		}, []string{"d 20"}},
		{"a greater one", func(w *town) {
			for i := range int64(5) {
				fail(w, start+i, "invalid", "")
			}
			w.pass(start + 20*minute)
			for i := range int64(20) {
				fail(w, start+21*minute+i, "invalid", "")
			}
		}, []string{"d 20", "d 40"}},
	} {
		w := newTown(t, mismatch(t, plainMismatch))
		c.of(w)
		w.pass(start + 24*hour)
		w.want(c.name, c.want...)
	}
}

func TestALateEventChangesNothing(t *testing.T) {
	w, e := newTown(t, mismatch(t, plainMismatch)), event.Event{}
	e.SetText(event.Signature, "invalid")
	var s slot
	c := detectors.Context{Event: &e, Time: start, Late: true, Own: &s}
	if w.d.Apply(&c, &w.f) || s.payload != nil || c.Counts || c.Timer != 0 {
		t.Errorf("%+v, payload % x", c, s.payload)
	}
}

// TestPayloadsOfAnyFormAreReadOrRefused covers payloads of entities and of cohorts.
func TestPayloadsOfAnyFormAreReadOrRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 11))
	r := mismatch(t, plainMismatch)
	d := newDetector(t, r)
	for range 3000 {
		b, crowded := make([]byte, rng.IntN(2)*(r.Spec.Keeps().Bytes)), make([]byte, 224)
		if len(b) == 0 {
			b = make([]byte, rng.IntN(300))
		}
		for i := range b {
			b[i] = byte(rng.Uint32() >> (8 * rng.IntN(5)))
		}
		for i := range crowded {
			crowded[i] = byte(rng.Uint32() >> (8 * rng.IntN(5)))
		}
		kept, ok := d.Fit(b)
		if !ok {
			continue
		}
		if len(kept) != r.Spec.Keeps().Bytes {
			t.Fatalf("%d bytes are kept", len(kept))
		}
		if _, ok := d.(detectors.Comparing).FitCohort(event.Build, crowded); !ok {
			t.Fatal("a crowd is refused")
		}
		w := newTown(t, r)
		w.devices["d"] = &slot{kept}
		w.cohort(event.Build, "4.2|m").payload = crowded
		for i := range int64(30) {
			w.see(start+i*1000, call{device: "d", signature: []string{"valid", "invalid"}[rng.IntN(2)], version: "4.2", model: "m", net: "n"})
			d.Explain(w.devices["d"].payload, start)
		}
		w.pass(start + hour)
	}
	for _, of := range []struct {
		by event.Field
		n  int
	}{{event.Build, 223}, {event.Build, 225}, {event.OS, 224}} {
		if _, ok := d.(detectors.Comparing).FitCohort(of.by, make([]byte, of.n)); ok {
			t.Errorf("a cohort by %v of %d bytes is taken", of.by, of.n)
		}
	}
}

func TestMismatchWithoutRoomBreaksNothing(t *testing.T) {
	d := newDetector(t, mismatch(t, plainMismatch))
	var e event.Event
	e.SetText(event.Signature, "invalid")
	c := detectors.Context{Event: &e, Time: start, Own: fullSlot{}, Cohort: func(event.Field) detectors.Cohort { return nil }}
	if d.Apply(&c, &detectors.Firing{}) {
		t.Error("fires without room")
	}
	c.Own = &slot{}
	for range 50 {
		if d.Apply(&c, &detectors.Firing{}) {
			t.Error("fires at once without cohorts")
		}
	}
}

func TestParametersOfAMismatch(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no tiers", "window: 10m", `the key "tiers" is missing`},
		{"a tier that asks for no more", "window: 10m\ntiers: [{at: 5, weight: 40}, {at: 5, weight: 60}]", "does not wait for more"},
		{"a milder tier later", "window: 10m\ntiers: [{at: 5, weight: 40}, {at: 6, weight: 40}]", "can never be seen"},
		{"a cohort twice", plainMismatch + "cohorts: [build, build]", "there twice"},
		{"a cohort that there is not", plainMismatch + "cohorts: [asn]", "asn"},
		{"a past shorter than the wait", plainMismatch + "wait: 1h\nusual: 10m", "shorter than wait"},
		{"a memory shorter than the window", plainMismatch + "memory: 9m", "forgotten while they still count"},
	} {
		if _, err := loadMismatch(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	plain := mismatch(t, plainMismatch).Spec
	seen := map[string]string{plain.Canonical(): "the defaults"}
	for _, p := range []string{
		`fails: signature == "missing"`, `passes: status == 200`, "min_share: 21", "cohorts: [build]", "peers: 4", "broken_share: 31",
		"wait: 9m", "usual: 7h", "unjudged_percent: 0", "memory: 8d", "cooldown: 2h",
	} {
		s := mismatch(t, plainMismatch+p).Spec
		if was, ok := seen[s.Canonical()]; ok {
			t.Errorf("%s is the same as %s", p, was)
		}
		seen[s.Canonical()] = p
		same := !strings.HasPrefix(p, "cohorts") && !strings.HasPrefix(p, "wait") && !strings.HasPrefix(p, "usual")
		if (s.State() == plain.State()) != same {
			t.Errorf("%s: the state is %s, was %s", p, s.State(), plain.State())
		}
		if !slices.IsSorted(s.Fields()) {
			t.Errorf("%s: fields %v are out of order", p, s.Fields())
		}
	}
}

func TestExplanationsOfAMismatch(t *testing.T) {
	w := newTown(t, mismatch(t, plainMismatch))
	if x := w.d.Explain(nil, start); len(x.Demands) != 4 || x.Last >= x.First {
		t.Errorf("of nothing: %+v", x)
	}
	for i := range int64(6) {
		w.see(start+i*1000, call{device: "d", signature: "invalid", version: "5", model: "m", net: "n"})
	}
	x := w.d.Explain(w.devices["d"].payload, start+6000)
	if want := (detectors.Demand{Tier: 0, Weight: 40, What: "failures", Have: 6, Need: 5}); x.Demands[0] != want || len(x.HeldBack) != 1 || x.HeldBack[0].By != "the wait for others of the cohort" {
		t.Errorf("waiting: %+v", x)
	}
	w.many(start+minute, start+2*minute, 3, "too", "invalid", "5")
	w.see(start+2*minute, call{device: "d", signature: "invalid", version: "5", model: "m", net: "n"})
	if x = w.d.Explain(w.devices["d"].payload, start+2*minute); len(x.HeldBack) != 1 || x.HeldBack[0].By != "a broken cohort: others fail too" {
		t.Errorf("broken: %+v", x)
	}
	spec := mismatch(t, plainMismatch).Spec.(detectors.Adjustable)
	if r := spec.Raised("failures", 6).(*detectors.SignatureMismatch); r.Tiers[0].At != 6 || r.Tiers[1].At != 20 {
		t.Errorf("raised to %+v", r.Tiers)
	}
	if r := spec.Raised("share_percent", 50).(*detectors.SignatureMismatch); r.MinShare != 50 {
		t.Errorf("raised to %d", r.MinShare)
	}
	if spec.Raised("failures", 1<<40) != nil || spec.Raised("count", 3) != nil {
		t.Error("what cannot be raised is")
	}
}

func TestSignatureMismatchAllocatesNothing(t *testing.T) {
	w := newTown(t, mismatch(t, plainMismatch))
	w.many(start, start+minute, 5, "good", "valid", "4.2")
	var e event.Event
	e.SetText(event.Signature, "invalid")
	e.SetText(event.Build, "4.2|m")
	e.SetText(event.Net, "n")
	build, own := w.cohort(event.Build, "4.2|m"), &slot{}
	find := func(by event.Field) detectors.Cohort {
		if by == event.Build {
			return build
		}
		return nil
	}
	c := detectors.Context{Event: &e, Entity: facet.Entity{Kind: facet.Device, Key: "d"}, Own: own, Cohort: find}
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

// TestTheWorkedExampleOfSignatureMismatch checks the numbers on the page.
func TestTheWorkedExampleOfSignatureMismatch(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/signature_mismatch.md")
	if err != nil {
		t.Fatal(err)
	}
	w := newTown(t, mismatch(t, plainMismatch))
	first := int64(start - start%minute)
	// Twelve phones with 4.2 sign correctly, one call every five seconds together. A
	// script with an invented device fails from minute 3 on.
	for s := int64(0); s < 1800; s += 5 {
		w.see(first+s*1000, call{device: fmt.Sprint("good", s/5%12), signature: "valid", version: "4.2", model: "Pixel 9", net: fmt.Sprint("n", s/5%12)})
		if s >= 180 && s < 330 {
			w.see(first+s*1000+1, call{device: "script", signature: "invalid", version: "4.2", model: "Pixel 9", net: "x"})
		}
		// From minute 10 on six phones with 5.0 fail.
		if s >= 600 {
			w.see(first+s*1000+2, call{device: fmt.Sprint("new", s/5%6), signature: "invalid", version: "5.0", model: "Pixel 9", net: fmt.Sprint("m", s/5%6)})
		}
	}
	w.pass(first + hour)
	w.want("the example", "script 40", "script 80")
	if at := w.times["script 40"] - first; at != 250_001 || !strings.Contains(string(page), "by 4:10") {
		t.Errorf("fired %d ms after the beginning; the page says 4:10", at)
	}
	said := map[string]string{}
	for _, e := range w.last["script"].Evidence {
		if said[e.Name] = e.Text; e.Text == "" {
			said[e.Name] = fmt.Sprint(e.Values[0])
		}
	}
	for _, name := range []string{"failures", "threshold", "share_percent", "judged", "cohort", "cohort_failing", "cohort_passing", "cohort_networks"} {
		if line := fmt.Sprintf("| `%s` | %s |", name, said[name]); !strings.Contains(string(page), line) {
			t.Errorf("the page lacks %q", line)
		}
	}
	held := w.d.Explain(w.devices["new0"].payload, first+1800_000)
	if line := fmt.Sprintf("%d failures", held.Demands[0].Have); !strings.Contains(string(page), line) || held.HeldBack[0].By != "a broken cohort: others fail too" {
		t.Errorf("the page lacks %q; held back %+v", line, held.HeldBack)
	}
}
