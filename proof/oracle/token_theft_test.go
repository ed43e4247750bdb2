package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// hand creates events of one token or device, so close together and with so few
// values that edges are hit.
type hand struct {
	*rand.Rand
	now      int64
	past     []int64
	lateness int64
}

func (m *hand) oneOf(of ...int64) int64  { return of[m.IntN(len(of))] }
func (m *hand) pick(of ...string) string { return of[m.IntN(len(of))] }

func (m *hand) odds(n int, text string) string {
	if m.IntN(n) > 0 {
		return ""
	}
	return text
}

// values returns values of some fields, drawn from the given ones.
func (m *hand) values(of map[event.Field][]string) (all []value) {
	for f := event.Field(1); f < event.MaxField; f++ {
		texts := of[f]
		if len(texts) == 0 {
			continue
		}
		text := m.pick(texts...)
		if !f.Kind().Numeric() {
			if text != "" {
				all = append(all, value{f, text, 0})
			}
		} else if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			all = append(all, value{f, "", n})
		}
	}
	return all
}

// time draws an event's time: now, a little earlier, or at the edge of a span (ms).
func (m *hand) time(spans ...int64) int64 {
	switch m.IntN(8) {
	case 0, 1, 2:
		m.now += m.oneOf(0, 1, 1_000, 10_000, 60_000)
		return m.now
	case 3, 4:
		return m.now - m.Int64N(m.lateness+1)
	case 5:
		m.now += m.Int64N(60_000)
		return m.now
	}
	if len(m.past) == 0 {
		return m.now
	}
	t := m.past[len(m.past)-1-m.IntN(min(len(m.past), 20))] + m.oneOf(-1, 0, 0, 1) + m.oneOf(append(spans, 0)...)
	m.now = max(m.now, t)
	return t
}

// comparison sends random events to a detector and to its model, with a rule that
// changes now and then.
type comparison struct {
	rule      func(m *hand) string // the detector part of a rule
	values    func(m *hand) []value
	model     func(rules.Spec) model
	spans     []int64           // ms; events occur at their edges
	fired     map[string]uint64 // by sign or verdict
	histories uint64            // number compared
	looked    func(model)       // called after each event
}

// agreeOn runs it, and counts firings by their tier's evidence "sign" or "verdict".
func (x *comparison) agreeOn(t *testing.T, entity string) {
	t.Helper()
	x.histories, x.fired = number(t, "WEIR_HISTORIES", shorter(300, 100)), map[string]uint64{}
	for seed := range x.histories {
		m := &hand{Rand: rand.New(rand.NewPCG(seed, 11)), now: start, lateness: []int64{0, 10_000, 60_000}[seed%3]}
		load := func() (rules.Spec, detectors.Detector) {
			set, err := loadRules([]string{x.text(m, "r", entity)})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			spec := set.Rules[0].Spec
			d, err := detectors.New(&rules.Rule{ID: "r", Spec: spec}, detectors.Environment{Lateness: m.lateness, Hasher: hasher})
			if err != nil {
				t.Fatal(err)
			}
			return spec, d
		}
		spec, d := load()
		own, model := &keeps{}, x.model(spec)
		var e event.Event
		f := detectors.Firing{}
		watermark := int64(facet.NoWatermark)
		for n := range 100 {
			edited := m.IntN(60) == 0
			if edited {
				spec, d = load()
				model.change(spec)
			}
			if own.b != nil && (edited || m.IntN(20) == 0) {
				kept, ok := d.Fit(slices.Clone(own.b))
				if !ok {
					t.Fatalf("seed %d, event %d: not of its own form: % x", seed, n, own.b)
				}
				own.b = kept
			}
			r := raw{time: m.time(x.spans...), values: x.values(m)}
			r.fill(&e)
			a := arrival{event: &e, source: int32(m.IntN(3)), offset: int64(n), time: r.time, watermark: watermark, lateness: m.lateness}
			if watermark != facet.NoWatermark && a.time < watermark-m.lateness {
				c := detectors.Context{Event: &e, Source: a.source, Offset: a.offset, Time: a.time, Watermark: watermark, Own: own, Late: true}
				before := slices.Clone(own.b)
				if d.Apply(&c, &f) || c.Counts || !slices.Equal(before, own.b) {
					t.Fatalf("seed %d, event %d: a late event changes something", seed, n)
				}
				continue
			}
			m.past = append(m.past, a.time)
			want, counts := model.arrive(a)
			c := detectors.Context{Event: &e, Source: a.source, Offset: a.offset, Time: a.time, Watermark: watermark, Own: own}
			got := d.Apply(&c, &f)
			if got != (want != nil) || c.Counts != counts {
				t.Fatalf("seed %d, event %d: fired %v (counts %v, %+v), want %+v (%v)", seed, n, got, c.Counts, f, want, counts)
			}
			if got {
				if f.Tier != want.tier || f.Weight != want.weight || !slices.Equal(f.Evidence, want.evidence) {
					t.Fatalf("seed %d, event %d: fired %+v, want %+v", seed, n, f, want)
				}
				for _, item := range f.Evidence {
					if item.Name == "sign" || item.Name == "verdict" {
						x.fired[item.Text]++
					}
				}
			}
			if x.looked != nil {
				x.looked(model)
			}
			if most := spec.Keeps().Bytes; len(own.b) > most {
				t.Fatalf("seed %d, event %d: %d bytes, want %d at most", seed, n, len(own.b), most)
			}
			before := slices.Clone(own.b)
			d.Explain(own.b, a.time)
			if !slices.Equal(before, own.b) {
				t.Fatalf("seed %d, event %d: explaining changes the payload", seed, n)
			}
			if m.IntN(3) == 0 {
				watermark = max(watermark, m.now-m.oneOf(0, 1, 10_000))
			}
		}
	}
	t.Logf("fired: %v", x.fired)
}

// history creates a history whose events also have these values, with two rules of
// the detector besides those that count.
func (x *comparison) history(entity string) func(seed uint64, events int) history {
	return func(seed uint64, events int) history {
		m := newMaker(seed)
		h := m.history(events)
		h.rules = texts(m.rules[:min(len(m.rules), 9)])
		of := &hand{Rand: rand.New(rand.NewPCG(seed, 12)), now: start, lateness: h.lateness}
		for _, id := range []string{"h0", "h1"} {
			h.rules = append(h.rules, x.text(of, id, entity))
		}
		for _, p := range m.sources {
			for _, r := range p.log {
				r.values = append(r.values, x.values(of)...)
			}
		}
		return h
	}
}

// text returns a rule of the detector.
func (x *comparison) text(m *hand, id, entity string) string {
	return "  - id: " + id + "\n    title: A rule\n    entity: " + entity + "\n    when: status >= 0\n" + x.rule(m) +
		"    signal: {category: fraud, reason: r, half_life: 1h}\n    phase: observe\n"
}

// often fails unless each of these has fired now and then.
func (x *comparison) often(t *testing.T, signs ...string) {
	t.Helper()
	for _, s := range signs {
		if x.fired[s] < x.histories/10 {
			t.Errorf("%s fired %d times: too little of what matters happened", s, x.fired[s])
		}
	}
}

// thefts compares on tokens that few devices use.
func thefts() comparison {
	return comparison{
		rule: func(m *hand) string {
			signs := []string{"other_device", "other_software", "stranger", "two_devices", "other_key"}
			m.Shuffle(len(signs), func(i, j int) { signs[i], signs[j] = signs[j], signs[i] })
			s := "    token_theft:\n      tiers:\n"
			for i, sign := range signs[:1+m.IntN(5)] {
				s += fmt.Sprintf("        - {sign: %s, weight: %d}\n", sign, 10*(i+1))
			}
			s += m.odds(2, fmt.Sprintf("      least_events: %d\n", m.oneOf(1, 2, 5)))
			s += m.odds(2, fmt.Sprintf("      uses: %d\n", m.oneOf(2, 3, 5)))
			s += m.odds(2, fmt.Sprintf("      memory: %dm\n", m.oneOf(1, 5, 60)))
			return s + fmt.Sprintf("      cooldown: %ds\n", m.oneOf(1, 60, 3600))
		},
		values: func(m *hand) []value {
			return m.values(map[event.Field][]string{
				event.Device: {"", "", "d1", "d1", "d1", "d2", "d3"}, event.KeyID: {"", "", "k1", "k1", "k2"},
				event.JA4: {"", "j1", "j1", "j2"}, event.UserAgent: {"", "Shop/4.2 (a)", "Shop/4.3_1 (a)", "curl/8"},
				event.Net: {"", "n1", "n1", "n2", "n3"}, event.ASN: {"", "", "1", "2"}, event.Token: {"", "t1", "t2", "t3", "t4"},
			})
		},
		model: func(s rules.Spec) model { return &wallet{rule: s.(*detectors.TokenTheft), hasher: hasher} },
		spans: []int64{60_000, 300_000, 3_600_000},
	}
}

// TestTokensInTheEngine compares whole histories, with rules of one of the
// detectors.
func TestTokensInTheEngine(t *testing.T) {
	of := []func() comparison{thefts, families, recordings}
	n, histories := agree(t, func(seed uint64, events int) history {
		x := of[seed%uint64(len(of))]()
		return x.history("token")(seed, events)
	})
	if histories >= 100 && n.signals < 10*int(histories) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}

// TestTokenTheftAgreesWithItsModel sends random uses to both.
func TestTokenTheftAgreesWithItsModel(t *testing.T) {
	full := 0
	x := thefts()
	x.looked = func(m model) {
		if w := m.(*wallet); len(w.uses) == w.rule.Uses {
			full++
		}
	}
	x.agreeOn(t, "token")
	x.often(t, "other_device", "other_software", "stranger", "two_devices", "other_key")
	if full < 300 {
		t.Errorf("only %d full lists", full)
	}
}
