package detectors_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// withToken is an event of one entity: its time, and values by field.
type withToken struct {
	at        int64 // Unix ms
	watermark int64 // 0: none yet
	values    map[event.Field]string
}

// fields parses "device=d1 net=n1".
func fields(t testing.TB, text string) map[event.Field]string {
	t.Helper()
	all := map[event.Field]string{}
	for _, pair := range strings.Fields(text) {
		name, v, _ := strings.Cut(pair, "=")
		spec, ok := event.Lookup(name)
		if !ok {
			t.Fatalf("there is no field %q", name)
		}
		all[spec.Field] = v
	}
	return all
}

// line runs a rule on one entity, event by event.
type line struct {
	t testing.TB
	d detectors.Detector
	s slot
	n int64 // events so far
	f detectors.Firing
}

// newLine reads the detector part of a rule.
func newLine(t testing.TB, detector string) *line {
	t.Helper()
	spec, err := specOf(detector)
	if err != nil {
		t.Fatal(err)
	}
	return &line{t: t, d: newDetector(t, &rules.Rule{ID: "r", Spec: spec})}
}

func specOf(detector string) (rules.Spec, error) {
	file := "rules:\n  - id: r\n    title: x\n    entity: token\n    when: status < 400\n    " + strings.ReplaceAll(detector, "\n", "\n    ") +
		"\n    signal: {category: fraud, reason: x, half_life: 1h}\n    phase: observe\n"
	set, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte(file)}}, detectors.All())
	if err != nil {
		return nil, err
	}
	return set.Rules[0].Spec, nil
}

// see returns the weight of the firing; 0 if nothing fires.
func (l *line) see(a withToken) uint8 {
	l.t.Helper()
	var e event.Event
	e.SetNum(event.Time, a.at)
	for f, v := range a.values {
		if !f.Kind().Numeric() {
			e.SetText(f, v)
		} else if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			e.SetNum(f, n)
		} else {
			l.t.Fatal(err)
		}
	}
	c := detectors.Context{Event: &e, Source: 3, Offset: 100 + l.n, Time: a.at, Watermark: math.MinInt64, Own: &l.s}
	if a.watermark != 0 {
		c.Watermark, c.Late = a.watermark, a.at < a.watermark-lateness
	}
	l.n++
	fired := l.d.Apply(&c, &l.f)
	if _, ok := l.d.Fit(bytes.Clone(l.s.payload)); l.s.payload != nil && !ok {
		l.t.Fatalf("not of its own form: % x", l.s.payload)
	}
	if !fired {
		return 0
	}
	return l.f.Weight
}

// text returns an item from the evidence of the last firing.
func (l *line) text(name string) string {
	for _, e := range l.f.Evidence {
		if e.Name == name {
			if e.Kind == facet.TextEvidence {
				return e.Text
			}
			return fmt.Sprint(e.Values[0])
		}
	}
	return ""
}

// says runs a history of "minutes: values" and compares weights.
func (l *line) says(name string, want []uint8, history ...string) {
	l.t.Helper()
	for i, h := range history {
		minutes, values, _ := strings.Cut(h, ":")
		at, err := strconv.ParseFloat(minutes, 64)
		if err != nil {
			l.t.Fatal(err)
		}
		if got := l.see(withToken{at: start + int64(at*60_000), values: fields(l.t, values)}); got != want[i] {
			l.t.Errorf("%s, event %d (%s): weight %d, want %d", name, i, h, got, want[i])
		}
	}
}

const allSigns = "token_theft:\n  tiers:\n    - {sign: other_device, weight: 30}\n    - {sign: other_software, weight: 45}\n    - {sign: stranger, weight: 60}\n    - {sign: two_devices, weight: 75}\n    - {sign: other_key, weight: 85}\n"

func TestSignsOfTheft(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []string
		want   []uint8
	}{
		{"a phone changes networks", []string{"0: device=d1 ja4=a net=n1", "1: device=d1 ja4=a net=n2", "2: device=d1 ja4=a net=n1", "3: device=d1 ja4=a net=n3"}, []uint8{0, 0, 0, 0}},
		{"the same without a device", []string{"0: ja4=a net=n1", "1: ja4=a net=n2", "2: ja4=a net=n1", "3: ja4=a net=n3"}, []uint8{0, 0, 0, 0}},
		{"networks alone", []string{"0: net=n1", "1: net=n2", "2: net=n1", "3: net=n3"}, []uint8{0, 0, 0, 0}},
		{"another device, once", []string{"0: device=d1 ja4=a net=n1", "1: device=d2 ja4=a net=n1", "2: device=d2 ja4=a net=n1"}, []uint8{0, 30, 0}},
		{"devices by turns", []string{"0: device=d1", "1: device=d2", "2: device=d1"}, []uint8{0, 30, 75}},
		{"devices by turns, out of order", []string{"1: device=d2", "2: device=d1", "0: device=d1"}, []uint8{0, 30, 75}},
		{"two devices at one moment", []string{"0: device=d1", "0: device=d2"}, []uint8{0, 75}},
		{"a stranger", []string{"0: device=d1 ja4=a net=n1", "1: device=d2 ja4=b net=n2"}, []uint8{0, 60}},
		{"a stranger by its user agent", []string{"0: device=d1 user_agent=Shop/4.2 net=n1", "1: device=d2 user_agent=curl/8 net=n2"}, []uint8{0, 60}},
		{"the same app, another version", []string{"0: device=d1 user_agent=Shop/4.2 net=n1", "1: device=d2 user_agent=Shop/4.3_1 net=n2"}, []uint8{0, 30}},
		{"no stranger in a network of the first", []string{"0: device=d1 ja4=a net=n1", "1: device=d2 ja4=b net=n1"}, []uint8{0, 30}},
		{"no stranger with the same operator", []string{"0: device=d1 ja4=a net=n1 asn=7", "1: device=d2 ja4=b net=n2 asn=7"}, []uint8{0, 30}},
		{"another operator", []string{"0: device=d1 ja4=a net=n1 asn=7", "1: device=d2 ja4=b net=n2 asn=8"}, []uint8{0, 60}},
		{"who lacks a client is no stranger", []string{"0: device=d1 ja4=a net=n1", "1: device=d2 net=n2"}, []uint8{0, 30}},
		{"another key with the same token", []string{"0: device=d1 key_id=k1 token=t1", "1: device=d1 key_id=k2 token=t1"}, []uint8{0, 85}},
		{"a new key with a new token", []string{"0: device=d1 key_id=k1 token=t1", "1: device=d1 key_id=k2 token=t2"}, []uint8{0, 0}},
		{"the key of another release in the same app", []string{"0: device=d1 ja4=a net=n1 key_id=k1 token=t1", "1: device=d1 ja4=a net=n1 key_id=k2 token=t1", "2: device=d1 ja4=a net=n2 key_id=k2 token=t1"}, []uint8{0, 0, 0}},
		{"the same among an operator's networks", []string{"0: device=d1 user_agent=Shop/4.2 net=n1 asn=7 key_id=k1 token=t1", "1: device=d1 user_agent=Shop/4.3 net=n2 asn=7 key_id=k2 token=t1"}, []uint8{0, 0}},
		{"the same, and the old key again", []string{"0: device=d1 ja4=a net=n1 key_id=k1 token=t1", "1: device=d1 ja4=a net=n1 key_id=k2 token=t1", "2: device=d1 ja4=a net=n1 key_id=k1 token=t1"}, []uint8{0, 0, 85}},
		{"another key elsewhere", []string{"0: device=d1 ja4=a net=n1 key_id=k1 token=t1", "1: device=d1 ja4=a net=n2 key_id=k2 token=t1"}, []uint8{0, 85}},
		{"another key in another client", []string{"0: device=d1 ja4=a net=n1 key_id=k1 token=t1", "1: device=d1 ja4=b net=n1 key_id=k2 token=t1"}, []uint8{0, 85}},
		{"another key of who names no device", []string{"0: ja4=a net=n1 key_id=k1 token=t1", "1: ja4=a net=n1 key_id=k2 token=t1"}, []uint8{0, 85}},
		{"keys by turns", []string{"0: key_id=k1 token=t1", "1: key_id=k2 token=t2", "2: key_id=k1 token=t3"}, []uint8{0, 0, 85}},
		{"a request without a key", []string{"0: key_id=k1 token=t1", "1: device=d1 token=t1", "2: key_id=k1 token=t1"}, []uint8{0, 0, 0}},
		{"another client elsewhere, by turns", []string{"0: ja4=a net=n1", "1: ja4=b net=n2", "2: ja4=a net=n1", "3: ja4=b net=n2", "4: ja4=a net=n1", "5: ja4=b net=n2"}, []uint8{0, 0, 0, 0, 0, 45}},
		{"the same with the device id of the first", []string{"0: device=d1 ja4=a net=n1", "1: device=d1 ja4=b net=n2", "2: device=d1 ja4=a net=n1", "3: device=d1 ja4=b net=n2", "4: device=d1 ja4=a net=n1", "5: device=d1 ja4=b net=n2"}, []uint8{0, 0, 0, 0, 0, 45}},
		{"another client by turns, with the same operator", []string{"0: device=d1 ja4=a net=n1 asn=7", "1: device=d1 ja4=b net=n2 asn=7", "2: device=d1 ja4=a net=n1 asn=7", "3: device=d1 ja4=b net=n2 asn=7", "4: device=d1 ja4=a net=n1 asn=7", "5: device=d1 ja4=b net=n2 asn=7"}, []uint8{0, 0, 0, 0, 0, 0}},
		{"the same, and only one has a key", []string{"0: device=d1 ja4=a net=n1 asn=7 key_id=k1", "1: device=d1 ja4=b net=n2 asn=7", "2: device=d1 ja4=a net=n1 asn=7 key_id=k1", "3: device=d1 ja4=b net=n2 asn=7", "4: device=d1 ja4=a net=n1 asn=7 key_id=k1", "5: device=d1 ja4=b net=n2 asn=7"}, []uint8{0, 0, 0, 0, 0, 45}},
		{"a phone that signs now and then, among an operator's networks", []string{"0: ja4=a net=n1 asn=7 key_id=k1", "1: ja4=a net=n2 asn=7", "2: ja4=a net=n1 asn=7 key_id=k1", "3: ja4=a net=n2 asn=7", "4: ja4=a net=n1 asn=7 key_id=k1", "5: ja4=a net=n2 asn=7"}, []uint8{0, 0, 0, 0, 0, 0}},
		{"an app of two clients on its way", []string{"0: ja4=a net=n1", "1: ja4=b net=n1", "2: ja4=b net=n2", "3: ja4=b net=n2", "4: ja4=b net=n2", "5: ja4=a net=n1", "6: ja4=a net=n1"}, []uint8{0, 0, 0, 0, 0, 0, 0}},
		{"another client elsewhere, for good", []string{"0: ja4=a net=n1", "1: ja4=a net=n1", "2: ja4=a net=n1", "3: ja4=b net=n2", "4: ja4=b net=n2", "5: ja4=b net=n2"}, []uint8{0, 0, 0, 0, 0, 0}},
		{"nothing is known", []string{"0: token=t1", "1: token=t2 asn=7"}, []uint8{0, 0}},
	} {
		newLine(t, allSigns).says(c.name, c.want, c.events...)
	}
}

// TestTheExampleOfTokenTheft checks the table on the page.
func TestTheExampleOfTokenTheft(t *testing.T) {
	page, err := os.ReadFile("../docs/detectors/token_theft.md")
	if err != nil {
		t.Fatal(err)
	}
	l := newLine(t, allSigns)
	rows := 0
	for row := range strings.Lines(string(page)) {
		if !strings.HasPrefix(row, "| 10:") {
			continue
		}
		cells := strings.Split(row, "|")
		for _, clock := range strings.Split(cells[1], ",") {
			minutes, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(clock), "10:"))
			if err != nil {
				t.Fatal(err)
			}
			got := l.see(withToken{at: start + int64(minutes)*60_000, values: fields(t, fmt.Sprintf("device=%s ja4=%s net=%s asn=%s",
				strings.TrimSpace(cells[2]), strings.TrimSpace(cells[3]), strings.TrimSpace(cells[4]), strings.TrimSpace(cells[5])))})
			want := uint64(0)
			if says := strings.TrimSpace(cells[6]); !strings.HasPrefix(says, "nothing") {
				sign, rest, _ := strings.Cut(says, ", ")
				weight, _, _ := strings.Cut(rest, ":")
				if want, err = strconv.ParseUint(weight, 10, 8); err != nil {
					t.Fatal(err)
				}
				if strings.Trim(sign, "`") != l.text("sign") {
					t.Errorf("%s: %s, want %s", clock, l.text("sign"), sign)
				}
			} else if got == 30 {
				got = 0 // other_device is not in the example
			}
			if uint64(got) != want {
				t.Errorf("%s: weight %d, want %d", clock, got, want)
			}
			rows++
		}
	}
	if rows != 8 {
		t.Errorf("%d events, want 8", rows)
	}
}

func TestTheftIsSaidOnceInACooldown(t *testing.T) {
	l := newLine(t, allSigns+"  cooldown: 10m")
	l.says("cooldown", []uint8{0, 30, 75, 0, 0, 75, 85, 0, 85},
		"0: device=d1 key_id=k1 token=t1", "1: device=d2 key_id=k1 token=t1", "2: device=d1 key_id=k1 token=t1", "3: device=d2 key_id=k1 token=t1",
		"11.99: device=d1 key_id=k1 token=t1", "12: device=d2 key_id=k1 token=t1",
		"13: device=d2 key_id=k2 token=t1", "22.99: device=d2 key_id=k2 token=t1", "23: device=d2 key_id=k2 token=t1")
}

func TestUsesAreForgotten(t *testing.T) {
	const day = 24 * hour
	for _, c := range []struct {
		watermark int64
		want      uint8
	}{{start + day + lateness - 1, 30}, {start + day + lateness, 0}} {
		l := newLine(t, allSigns)
		l.says("the first", []uint8{0}, "0: device=d1")
		if got := l.see(withToken{at: start + day, watermark: c.watermark, values: fields(t, "device=d2")}); got != c.want {
			t.Errorf("watermark %d: weight %d, want %d", c.watermark-start, got, c.want)
		}
	}
	l := newLine(t, allSigns)
	l.says("the first", []uint8{0}, "0: device=d1")
	if got := l.see(withToken{at: start + 1000, watermark: start + lateness + 1001, values: fields(t, "device=d2")}); got != 0 || len(l.s.payload) != 12+64 {
		t.Errorf("late: weight %d, %d bytes", got, len(l.s.payload))
	}
	for i := range 1000 {
		l.see(withToken{at: start + int64(i), values: fields(t, fmt.Sprintf("device=d%d net=n%d", i%40, i))})
	}
	if want := 12 + 16*64; len(l.s.payload) != want {
		t.Errorf("%d bytes, want %d", len(l.s.payload), want)
	}
}

func TestParametersOfTokenTheft(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no tiers", "token_theft: {cooldown: 1h}", `the key "tiers" is missing`},
		{"a sign twice", "token_theft: {tiers: [{sign: stranger, weight: 1}, {sign: stranger, weight: 2}]}", "has a tier already"},
		{"a sign that is not there", "token_theft: {tiers: [{sign: thief, weight: 1}]}", "thief"},
		{"a milder sign later", "token_theft: {tiers: [{sign: stranger, weight: 2}, {sign: two_devices, weight: 2}]}", "can never be seen"},
		{"more uses than there is room for", "token_theft: {uses: 65, tiers: [{sign: stranger, weight: 1}]}", "65"},
		{"a weight of nothing", "token_theft: {tiers: [{sign: stranger, weight: 0}]}", "0"},
	} {
		if _, err := specOf(c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	eachChanges(t, allSigns, "  least_events: 4", "  uses: 9", "  memory: 25h", "  cooldown: 2h")
}

// eachChanges checks that each of these lines changes Canonical, and none changes
// the name of the state.
func eachChanges(t *testing.T, detector string, lines ...string) {
	t.Helper()
	plain, err := specOf(detector)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{plain.Canonical(): "the defaults"}
	for _, p := range lines {
		s, err := specOf(detector + p)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		if was, ok := seen[s.Canonical()]; ok {
			t.Errorf("%s is the same as %s", p, was)
		}
		seen[s.Canonical()] = p
		if s.State() != plain.State() {
			t.Errorf("%s: the state is another", p)
		}
		if !slices.IsSorted(s.Fields()) {
			t.Errorf("%s: fields %v are out of order", p, s.Fields())
		}
	}
}

func TestTheftExplanation(t *testing.T) {
	l := newLine(t, allSigns)
	if x := l.d.Explain(nil, start); len(x.Demands) != 5 || x.Demands[0].Met() || x.Last >= x.First {
		t.Errorf("of nothing: %+v", x)
	}
	l.says("two", []uint8{0, 30, 75}, "0: device=d1", "1: device=d2", "2: device=d1")
	x := l.d.Explain(l.s.payload, start+120_000)
	met := ""
	for _, d := range x.Demands {
		met += fmt.Sprint(d.What, " ", d.Have, " ")
	}
	if met != "other_device 1 other_software 0 stranger 0 two_devices 1 other_key 0 " || x.First != start || x.Last != start+120_000 || len(x.Held) != 4 {
		t.Errorf("%s%+v", met, x)
	}
	if want := []detectors.HeldBack{{Tier: 0, By: "cooldown", Until: start + 120_000 + hour}, {Tier: 3, By: "cooldown", Until: start + 120_000 + hour}}; !slices.Equal(x.HeldBack, want) {
		t.Errorf("held back: %+v", x.HeldBack)
	}
}

// manyUses returns a payload after many events.
func manyUses(t testing.TB) []byte {
	l := newLine(t, allSigns)
	for i := range 12 {
		l.see(withToken{at: start + int64(i)*1000, values: fields(t, fmt.Sprintf("device=d%d net=n%d ja4=j%d key_id=k%d token=t", i%3, i%4, i%2, i%2))})
	}
	return l.s.payload
}

// goOn passes a payload of any form to Fit, and continues if it is accepted.
func goOn(t *testing.T, l *line, b []byte, events ...string) bool {
	t.Helper()
	kept, ok := l.d.Fit(b)
	if !ok {
		return false
	}
	l.s.payload = kept
	l.d.Explain(kept, start+hour)
	for i, e := range events {
		l.see(withToken{at: start + int64(i)*hour, watermark: start, values: fields(t, e)})
		if kept, ok = l.d.Fit(l.s.payload); !ok {
			t.Fatalf("not of its own form: % x", l.s.payload)
		}
		l.s.payload = kept
	}
	return true
}

// damaged continues with damaged copies of a payload, and returns how many were
// accepted.
func damaged(t *testing.T, detector string, good []byte, events ...string) (taken int) {
	t.Helper()
	rng, l := rand.New(rand.NewPCG(5, 5)), newLine(t, detector)
	for range 2_000 {
		b := bytes.Clone(good)
		if rng.IntN(2) == 0 {
			b = b[:rng.IntN(len(good)+1)]
		}
		for range rng.IntN(4) {
			if len(b) > 0 {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
		}
		if goOn(t, l, b, events...) {
			taken++
		}
	}
	return taken
}

func TestUsesOfAnyFormAreReadOrRefused(t *testing.T) {
	if n := damaged(t, allSigns, manyUses(t), "device=d1 net=n1 ja4=x key_id=k", "device=d9 net=n9 ja4=y", "net=n1 ja4=j1"); n < 100 {
		t.Errorf("only %d were of the form", n)
	}
	for _, b := range [][]byte{nil, make([]byte, 11), make([]byte, 12+63), make([]byte, 12+66*64), make([]byte, 12+64)} {
		if goOn(t, newLine(t, allSigns), b) {
			t.Errorf("%d bytes are taken", len(b))
		}
	}
}

func FuzzTokenTheft(f *testing.F) {
	f.Add(manyUses(f))
	f.Add(make([]byte, 12))
	f.Fuzz(func(t *testing.T, b []byte) {
		goOn(t, newLine(t, allSigns), b, "device=d1 net=n1 ja4=x key_id=k", "device=d9 net=n9 ja4=y", "net=n1 ja4=j1")
	})
}

func TestTokenTheftWithoutRoomBreaksNothing(t *testing.T) {
	spec, err := specOf(allSigns)
	if err != nil {
		t.Fatal(err)
	}
	for most := range 300 {
		d, s := newDetector(t, &rules.Rule{ID: "r", Spec: spec}), &room{most: most}
		for i := range int64(20) {
			var e event.Event
			e.SetText(event.Device, fmt.Sprint(i%7))
			d.Apply(&detectors.Context{Event: &e, Time: start + i, Watermark: math.MinInt64, Own: s}, new(detectors.Firing))
			if _, ok := d.Fit(bytes.Clone(s.b)); s.b != nil && !ok {
				t.Fatalf("room for %d: % x", most, s.b)
			}
		}
	}
}

// allocatesNothing sends alternating events, a second apart, to a detector that
// fires for nearly all of them.
func allocatesNothing(t *testing.T, detector string, least int, events ...string) {
	t.Helper()
	spec, err := specOf(detector)
	if err != nil {
		t.Fatal(err)
	}
	d := newDetector(t, &rules.Rule{ID: "r", Spec: spec})
	s := &room{b: make([]byte, 0, 64<<10)}
	all := make([]event.Event, len(events))
	for i, text := range events {
		for f, v := range fields(t, text) {
			all[i].SetText(f, v)
		}
	}
	c, f := detectors.Context{Watermark: math.MinInt64, Own: inPlace{s}}, detectors.Firing{Evidence: make([]facet.Evidence, 0, facet.MostEvidence)}
	n, fired := 0, 0
	if allocs := testing.AllocsPerRun(1000, func() {
		c.Event, c.Time = &all[n%len(all)], start+int64(n)*1000
		if d.Apply(&c, &f) {
			fired++
		}
		n++
	}); allocs != 0 || fired < least {
		t.Errorf("%v allocations, fired %d times", allocs, fired)
	}
}

func TestTokenTheftAllocatesNothing(t *testing.T) {
	allocatesNothing(t, allSigns+"  cooldown: 1s", 900,
		"device=d1 ja4=a net=n1 user_agent=Shop/4.2", "device=d2 ja4=b net=n2 user_agent=curl/8.1", "device=d1 ja4=a net=n3 user_agent=Shop/4.3")
}

// benchmark sends alternating events, a second apart.
func benchmark(b *testing.B, detector string, events ...string) {
	b.Helper()
	spec, err := specOf(detector)
	if err != nil {
		b.Fatal(err)
	}
	d := newDetector(b, &rules.Rule{ID: "r", Spec: spec})
	s := &room{b: make([]byte, 0, 64<<10)}
	all := make([]event.Event, len(events))
	for i, text := range events {
		for f, v := range fields(b, text) {
			all[i].SetText(f, v)
		}
	}
	c, f := detectors.Context{Watermark: math.MinInt64, Own: inPlace{s}}, detectors.Firing{Evidence: make([]facet.Evidence, 0, facet.MostEvidence)}
	b.ReportAllocs()
	n := int64(0)
	for b.Loop() {
		c.Event, c.Time = &all[n%int64(len(all))], start+n*1000
		d.Apply(&c, &f)
		n++
	}
	b.ReportMetric(float64(len(s.b)), "bytes/entity")
}

func BenchmarkTokenTheft(b *testing.B) {
	b.Run("one phone", func(b *testing.B) {
		benchmark(b, allSigns, "device=d1 ja4=a net=n1 user_agent=Shop/4.2", "device=d1 ja4=a net=n2 user_agent=Shop/4.2")
	})
	b.Run("sixteen networks", func(b *testing.B) {
		var all []string
		for i := range 16 {
			all = append(all, fmt.Sprintf("device=d1 ja4=a net=n%d user_agent=Shop/4.2", i))
		}
		benchmark(b, allSigns, all...)
	})
}
