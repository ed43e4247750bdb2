package oracle

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/greatcircle"
	"github.com/weirdev/weir/rules"
)

// TestDistancesOfModelAndDetector compares two independent methods that both round
// the exact distance.
func TestDistancesOfModelAndDetector(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	s := newSphere()
	for n := range 20_000 {
		lat1, lon1 := rng.Int64N(180_000_001)-90_000_000, rng.Int64N(360_000_001)-180_000_000
		lat2, lon2 := rng.Int64N(180_000_001)-90_000_000, rng.Int64N(360_000_001)-180_000_000
		switch n % 3 {
		case 1:
			lat2, lon2 = max(lat1-rng.Int64N(1_000_000), -90_000_000), lon1
		case 2:
			lat2, lon2 = -lat1, min(lon1+180_000_000-rng.Int64N(1_000_000), 180_000_000)
		}
		want := greatcircle.Distance(greatcircle.Point{Latitude: int32(lat1), Longitude: int32(lon1)}, greatcircle.Point{Latitude: int32(lat2), Longitude: int32(lon2)})
		if got := metresBetween(lat1, lon1, lat2, lon2); got != want {
			t.Fatalf("(%d, %d) to (%d, %d): the model has %d m, the detector %d", lat1, lon1, lat2, lon2, got, want)
		}
		if n%40 < 3 {
			if got := s.metresBetween(lat1, lon1, lat2, lon2); got != want {
				t.Fatalf("(%d, %d) to (%d, %d): with 200 bits %d m, the detector has %d", lat1, lon1, lat2, lon2, got, want)
			}
		}
	}
}

// traveller creates events of one account that travels between a few places, in
// minutes and hours, so that edges are hit.
type traveller struct {
	*rand.Rand
	places   [][3]int64 // micro-degrees, and km
	now      int64
	past     []int64
	lateness int64
}

func (m *traveller) pick(of ...string) string { return of[m.IntN(len(of))] }
func (m *traveller) oneOf(of ...int64) int64  { return of[m.IntN(len(of))] }
func (m *traveller) odds(n int, text string) string {
	if m.IntN(n) > 0 {
		return ""
	}
	return text
}

func newTraveller(seed uint64, lateness int64) *traveller {
	m := &traveller{Rand: rand.New(rand.NewPCG(seed, 7)), now: start, lateness: lateness}
	for range 2 + m.IntN(11) {
		m.places = append(m.places, [3]int64{m.Int64N(140_000_001) - 70_000_000, m.Int64N(360_000_001) - 180_000_000, m.oneOf(0, 5, 50, 500)})
	}
	for range m.IntN(3) { // near others
		p := m.places[m.IntN(len(m.places))]
		m.places = append(m.places, [3]int64{p[0] + m.Int64N(2_000_000), p[1], p[2]})
	}
	return m
}

func (m *traveller) rule(id string) string {
	s := "    impossible_travel:\n      tiers:\n"
	speed, weight := m.oneOf(1, 100, 360, 900), m.oneOf(1, 10, 40)
	for range 1 + m.IntN(3) {
		s += fmt.Sprintf("        - {speed: %d, weight: %d}\n", speed, weight)
		speed, weight = speed*m.oneOf(2, 3, 10)+1, weight+m.oneOf(1, 15)
	}
	for _, c := range []string{"ignore", "weak", "trusted_from", "trusted_to"} {
		s += m.odds(3, fmt.Sprintf("      %s: %s\n", c, m.pick(`anonymiser == "vpn"`, `anonymiser == "hosting"`, `anonymiser in ["vpn", "tor"]`, "asn == 1", "asn == 2")))
	}
	for _, of := range []struct {
		key    string
		values []int64
	}{
		{"least_distance", []int64{1, 10, 200, 1000}}, {"unknown_radius", []int64{0, 10, 500}},
		{"device_percent", []int64{0, 1, 99}}, {"known_percent", []int64{1, 50, 100}},
		{"known_visits", []int64{1, 2, 3}}, {"stops", []int64{2, 3, 5}},
	} {
		s += m.odds(3, fmt.Sprintf("      %s: %d\n", of.key, m.oneOf(of.values...)))
	}
	known := m.oneOf(1, 2, 5)
	s += fmt.Sprintf("      known_after: %dh\n      memory: %dh\n", known, known*m.oneOf(1, 2, 10))
	s += m.odds(2, fmt.Sprintf("      cooldown: %dm\n", m.oneOf(1, 10, 60)))
	return "  - id: " + id + "\n    title: A rule\n    entity: account\n    when: asn >= 0\n" + s + "    signal: {category: fraud, reason: r, half_life: 1h}\n    phase: observe\n"
}

// values returns an event's values about its place.
func (m *traveller) values() (all []value) {
	number := func(f event.Field, n int64) { all = append(all, value{f, "", n}) }
	text := func(f event.Field, s string) {
		if s != "" {
			all = append(all, value{f, s, 0})
		}
	}
	if m.IntN(20) > 0 {
		p := m.places[m.IntN(len(m.places))]
		number(event.Latitude, p[0])
		number(event.Longitude, p[1])
		if radius := p[2] * m.oneOf(0, 1, 1, 1, 2); radius > 0 {
			number(event.GeoRadius, radius)
		}
	}
	text(event.Anonymiser, m.odds(4, m.pick("vpn", "tor", "hosting")))
	text(event.ClientIP, m.pick("", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"))
	text(event.Signature, m.odds(3, m.pick("valid", "invalid")))
	text(event.Attestation, m.odds(3, m.pick("passed", "missing")))
	text(event.Country, m.pick("", "DE", "NG", "X"))
	number(event.ASN, m.Int64N(4))
	return all
}

func (m *traveller) time() int64 {
	const minute = 60_000
	switch m.IntN(8) {
	case 0, 1, 2:
		m.now += m.oneOf(0, 1, minute, 10*minute, 60*minute, 60*minute+1)
		return m.now
	case 3, 4:
		return m.now - m.Int64N(m.lateness+1)
	case 5:
		m.now += m.Int64N(30 * minute)
		return m.now
	}
	if len(m.past) == 0 {
		return m.now
	}
	from := m.past[len(m.past)-1-m.IntN(min(len(m.past), 20))]
	t := from + m.oneOf(-1, 0, 0, 1) + m.oneOf(0, 1, 10, 60, 120, 300, 600)*minute
	if t > m.now+600*minute {
		return m.now
	}
	m.now = max(m.now, t)
	return t
}

// slower is the factor between the times of a travel history and those of a window
// history.
const slower = 1000

// travelHistory creates the history of a seed, with one or two travel rules besides
// those that count.
func travelHistory(seed uint64, events int) history {
	h, _ := travels(seed, events)
	return h
}

// editedTravelHistory creates a history in which these rules change.
func editedTravelHistory(seed uint64, events int) history {
	h, tr := travels(seed, events)
	for n := range 1 + tr.IntN(4) {
		edited := slices.Clone(h.rules)
		for i, r := range edited {
			if id := ruleID.FindStringSubmatch(r)[1]; id[0] == 't' {
				edited[i] = tr.rule(id)
			}
		}
		r := record{edit: edited, by: lane(max(0, tr.IntN(4)-1)), number: uint64(n + 1)}
		h.records = slices.Insert(h.records, n+(len(h.records)-n)*(n+1)/5, r)
	}
	return h
}

var ruleID = regexp.MustCompile(`- id: (.*)`)

func travels(seed uint64, events int) (history, *traveller) {
	m, h := slowly(seed, events)
	tr := newTraveller(seed, h.lateness)
	for _, id := range []string{"t0", "t1"}[:1+tr.IntN(2)] {
		h.rules = append(h.rules, tr.rule(id))
	}
	for _, p := range m.sources {
		for _, r := range p.log {
			r.values = append(r.values, tr.values()...)
		}
	}
	return h, tr
}

// slowly creates the history of a seed with all times multiplied by slower, and with
// room for two more rules.
func slowly(seed uint64, events int) (*maker, history) {
	m := newMaker(seed)
	h := m.history(events)
	h.lateness *= slower
	stretch := func(t *int64) {
		if *t != facet.NoWatermark && *t != facet.EndWatermark {
			*t = start + (*t-start)*slower
		}
	}
	for i := range m.rules {
		m.rules[i].window, m.rules[i].cooldown = m.rules[i].window*slower, m.rules[i].cooldown*slower
	}
	h.rules = texts(m.rules[:min(len(m.rules), 9)])
	for _, p := range m.sources {
		for _, r := range p.log {
			stretch(&r.time)
		}
	}
	for i := range h.records {
		r := &h.records[i]
		for j := range r.sections {
			stretch(&r.sections[j].Watermark)
		}
	}
	for l := range loopsOf(h.records) {
		for i := range l.findings {
			stretch(&l.findings[i].Time)
		}
	}
	return m, h
}

// loopsOf yields each loop-back frame once, however often it was written.
func loopsOf(records []record) iter.Seq[*loop] {
	return func(yield func(*loop) bool) {
		seen := map[*loop]bool{}
		for _, r := range records {
			if r.loop != nil && !seen[r.loop] {
				seen[r.loop] = true
				if !yield(r.loop) {
					return
				}
			}
		}
	}
}

func TestTheEngineAgreesWithTheOracleOnTravels(t *testing.T) {
	n, histories := agree(t, travelHistory)
	if histories >= 100 && (n.signals < 10*int(histories) || min(n.scores, n.late, n.forgotten) < int(histories)/2) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

func TestTheEngineAgreesWithTheOracleOnEditedTravels(t *testing.T) {
	n, histories := agree(t, editedTravelHistory)
	if histories >= 100 && (n.signals < 10*int(histories) || min(n.forgotten, n.edits, n.switches, n.shadow) < int(histories)/2) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

// keeps is a slot.
type keeps struct{ b []byte }

func (k *keeps) Payload() []byte { return k.b }
func (k *keeps) Resize(n int) []byte {
	k.b = append(k.b[:min(n, len(k.b)):min(n, len(k.b))], make([]byte, max(0, n-len(k.b)))...)
	return k.b
}

// TestImpossibleTravelAgreesWithItsModel sends random journeys to both, with a rule
// that changes now and then.
func TestImpossibleTravelAgreesWithItsModel(t *testing.T) {
	journeys := int(number(t, "WEIR_HISTORIES", shorter(500, 150)))
	var fired, lowered, known, implausible, full int
	for seed := range uint64(journeys) {
		m := newTraveller(seed, []int64{0, 60_000, 3_600_000}[seed%3])
		load := func() rules.Spec {
			set, err := loadRules([]string{m.rule("r")})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			return set.Rules[0].Spec
		}
		spec := load()
		own, model := &keeps{}, &journey{rule: spec.(*detectors.ImpossibleTravel), hasher: hasher}
		d, err := detectors.New(&rules.Rule{ID: "r", Spec: spec}, detectors.Environment{Lateness: m.lateness, Hasher: hasher})
		if err != nil {
			t.Fatal(err)
		}
		var e event.Event
		f := detectors.Firing{}
		watermark := int64(facet.NoWatermark)
		for n := range 120 {
			edited := m.IntN(60) == 0
			if edited {
				spec = load()
				model.change(spec)
				if d, err = detectors.New(&rules.Rule{ID: "r", Spec: spec}, detectors.Environment{Lateness: m.lateness, Hasher: hasher}); err != nil {
					t.Fatal(err)
				}
			}
			if own.b != nil && (edited || m.IntN(20) == 0) {
				kept, ok := d.Fit(slices.Clone(own.b))
				if !ok {
					t.Fatalf("seed %d, event %d: not of its own form: % x", seed, n, own.b)
				}
				own.b = kept
			}
			r := raw{time: m.time(), values: append(m.values(), value{event.Device, m.pick("d0", "d1", "d2", "d3"), 0})}
			r.fill(&e)
			a := arrival{event: &e, source: int32(m.IntN(3)), offset: int64(n), time: r.time, watermark: watermark, lateness: m.lateness}
			if watermark != facet.NoWatermark && a.time < watermark-m.lateness {
				continue
			}
			m.past = append(m.past, a.time)
			want, counts := model.arrive(a)
			c := detectors.Context{Event: &e, Source: a.source, Offset: a.offset, Time: a.time, Watermark: watermark, Own: own}
			got := d.Apply(&c, &f)
			if got != (want != nil) || c.Counts != counts {
				t.Fatalf("seed %d, event %d: fired %v (counts %v), want %+v (%v)", seed, n, got, c.Counts, want, counts)
			}
			if got {
				fired++
				if f.Tier != want.tier || f.Weight != want.weight || !slices.Equal(f.Evidence, want.evidence) {
					t.Fatalf("seed %d, event %d: fired %+v, want %+v", seed, n, f, want)
				}
				if f.Evidence[len(f.Evidence)-1].Name == "lowered_by" {
					lowered++
				}
			}
			if most := spec.Keeps().Bytes; len(own.b) > most {
				t.Fatalf("seed %d, event %d: %d bytes, want %d at most", seed, n, len(own.b), most)
			}
			if m.IntN(3) == 0 {
				watermark = max(watermark, m.now-m.oneOf(0, 1, 60_000))
			}
			for _, v := range model.visited {
				if model.often(v) {
					known++
				}
			}
			if len(model.visited) == 10 {
				full++
			}
			if len(model.stops) > 0 && !model.stops[len(model.stops)-1].plausible {
				implausible++
			}
		}
	}
	t.Logf("%d firings, %d lowered; %d known places, %d implausible stops, %d full lists", fired, lowered, known, implausible, full)
	if journeys >= 150 && (fired < journeys || lowered < journeys/10 || known < journeys || implausible < journeys || full < journeys/10) {
		t.Error("too little of what matters happened")
	}
}
