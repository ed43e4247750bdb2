package oracle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// meter creates drift rules, and crowds of events whose numbers change now and then.
type meter struct {
	*hand
	bucket  int64 // ms
	changed bool  // the crowd is not as usual
}

func (m *meter) rule(id, entity string) string {
	measure := []string{"share", "volume", "latency"}[m.IntN(3)]
	s := fmt.Sprintf("    drift:\n      measure: %s\n      bucket: %dms\n", measure, m.bucket)
	if measure == "share" {
		s += "      count: status >= 500\n"
	} else {
		s += m.odds(3, "      count: status < 500\n")
	}
	if measure == "latency" {
		s += m.odds(2, fmt.Sprintf("      percentile: %d\n", m.oneOf(1, 50, 99)))
	}
	s += m.odds(1, "      explain: ["+m.pick("country", "asn", "country, asn, build")+"]\n")
	return m.text(id, entity, s+m.numbers())
}

// numbers returns the parameters that may change without losing what was learned.
func (m *meter) numbers() string {
	return fmt.Sprintf("      direction: %s\n      min_events: %d\n      learn: %d\n      deviations: %d\n      percent: %d\n      least: %d\n      for: %d\n      until: %d\n      settle: %dh\n      cooldown: %dm\n      weight: %d\n",
		m.pick("above", "above", "below", "either"), m.oneOf(1, 2, 5), m.oneOf(1, 3, 12), m.oneOf(1, 2, 3), m.oneOf(0, 10, 50), m.oneOf(1, 2, 10),
		m.oneOf(1, 1, 2, 3), m.oneOf(1, 2, 3), m.oneOf(1, 3, 24), m.oneOf(1, 60, 600), 1+m.IntN(100))
}

func (m *meter) text(id, entity, detector string) string {
	return "  - id: " + id + "\n    title: A rule\n    entity: " + entity + "\n    when: status >= 0\n" + detector +
		"    signal: {category: fraud, reason: r, half_life: 1h}\n    phase: observe\n"
}

// values returns the values of one event.
func (m *meter) values() []value {
	status := "200"
	if m.IntN(10) == 0 || m.changed && m.IntN(2) == 0 {
		status = "503"
	}
	all := m.hand.values(map[event.Field][]string{
		event.Status: {status}, event.Country: {"", "DE", "DE", "FR", fmt.Sprint("X", m.IntN(12))}, event.ASN: {"0", "1", "2"},
		event.Build: {"a build with a long näme of this app", "4.2|Pixel", ""},
	})
	if m.IntN(10) > 0 {
		latency := m.oneOf(0, 1, 2, 3, 100, 1_000, 1_500, 2_000) * 1_000
		if m.changed {
			latency *= 1 + m.Int64N(50)
		}
		if m.IntN(100) == 0 {
			latency = 1 << (30 + m.IntN(8))
		}
		all = append(all, value{event.LatencyMicros, "", latency})
	}
	return all
}

// gauging sends the events of one entity to a detector and to its model.
type gauging struct {
	t         *testing.T
	m         *meter
	spec      *detectors.Drift
	d         detectors.Detector
	model     *gauge
	own       keeps
	watermark int64
	timer     int64
	n         int

	fired, timers, seasonal, explained, over int
}

func (g *gauging) use(rule string) {
	set, err := loadRules([]string{rule})
	if err != nil {
		g.t.Fatal(err)
	}
	g.spec = set.Rules[0].Spec.(*detectors.Drift)
	if g.model == nil {
		g.model = &gauge{rule: g.spec}
	}
	g.model.change(g.spec)
	if g.d, err = detectors.New(&rules.Rule{ID: "r", Spec: g.spec}, detectors.Environment{Lateness: g.m.lateness, Hasher: hasher}); err != nil {
		g.t.Fatal(err)
	}
	g.fit()
}

func (g *gauging) fit() {
	if g.own.b == nil {
		return
	}
	kept, ok := g.d.Fit(slices.Clone(g.own.b))
	if !ok {
		g.t.Fatalf("not of its own form: % x", g.own.b[:min(80, len(g.own.b))])
	}
	g.own.b = kept
}

func (g *gauging) same(got bool, f *detectors.Firing, want *firing, timer, wanted int64, by string) {
	g.t.Helper()
	if got != (want != nil) || timer != wanted || got && (f.Weight != want.weight || !slices.Equal(f.Evidence, want.evidence)) {
		g.t.Fatalf("event %d (%s): fired %v %+v, want %+v; timer %d, want %d\n%+v", g.n, by, got, *f, want, timer, wanted, g.spec)
	}
	if most := g.spec.Keeps().Bytes; len(g.own.b) > most {
		g.t.Fatalf("event %d: %d bytes, want %d at most", g.n, len(g.own.b), most)
	}
	if !got {
		return
	}
	g.fired++
	for _, e := range f.Evidence {
		switch {
		case e.Name == "baseline" && e.Text == "time of day":
			g.seasonal++
		case e.Name == "by_country":
			g.explained++
		}
	}
}

// set sets a timer in the same way as the engine.
func (g *gauging) set(timer, at int64) {
	if timer != g.timer {
		if g.timer = timer; timer != 0 {
			g.timer = min(max(timer, at+1), at+g.spec.Keeps().Ahead.Milliseconds())
		}
	}
}

// pass lets time pass.
func (g *gauging) pass(to int64) {
	var e event.Event
	for g.watermark = to; g.timer != 0 && g.timer <= to-g.m.lateness; {
		at, f, again := g.timer, detectors.Firing{}, int64(0)
		g.timer = 0
		was := g.model.drifted
		c := detectors.Context{Event: &e, Time: at, Watermark: to, Own: &g.own}
		got := g.d.(detectors.Timed).Due(&c, &f)
		want := g.model.due(arrival{time: at, watermark: to, lateness: g.m.lateness, timer: &again})
		g.same(got, &f, want, c.Timer, again, "timer")
		if got {
			g.timers++
		}
		if was && !g.model.drifted {
			g.over++
		}
		g.set(c.Timer, at)
	}
}

func (g *gauging) show() {
	m := g.m
	g.n++
	r := raw{time: m.now - m.Int64N(m.oneOf(1, m.lateness+1, 3*m.bucket)), values: m.values()}
	if g.watermark != facet.NoWatermark && r.time < g.watermark-m.lateness {
		return
	}
	var e event.Event
	r.fill(&e)
	f, wanted := detectors.Firing{}, g.timer
	a := arrival{event: &e, time: r.time, watermark: g.watermark, lateness: m.lateness, timer: &wanted}
	want, counts := g.model.arrive(a)
	c := detectors.Context{Event: &e, Time: a.time, Watermark: g.watermark, Own: &g.own, Timer: g.timer}
	got := g.d.Apply(&c, &f)
	if c.Counts != counts {
		g.t.Fatalf("event %d: counts %v, want %v", g.n, c.Counts, counts)
	}
	g.same(got, &f, want, c.Timer, wanted, "arrival")
	g.set(c.Timer, a.time)
}

// TestDriftAgreesWithItsModel sends random crowds to both, over hours and days.
func TestDriftAgreesWithItsModel(t *testing.T) {
	histories := number(t, "WEIR_HISTORIES", shorter(150, 80))
	var fired, timers, seasonal, explained, over uint64
	for seed := range histories {
		m := &meter{hand: &hand{Rand: rand.New(rand.NewPCG(seed, 21)), now: start, lateness: []int64{0, 30_000, 120_000}[seed%3]}}
		m.bucket = m.oneOf(60_000, 300_000, 1_800_000, 3_600_000)
		g := &gauging{t: t, m: m, watermark: facet.NoWatermark}
		g.use(m.rule("r", "route"))
		rule := g.spec
		for range 150 {
			m.changed = m.IntN(6) == 0 || m.changed && m.IntN(3) > 0
			crowd := m.IntN(12)
			if m.changed {
				crowd *= m.IntN(6)
			}
			m.now += m.bucket * m.oneOf(0, 1, 1, 1, 1, 1, 1, 2, 7)
			if m.IntN(60) == 0 {
				m.now += m.oneOf(24*3_600_000, 80*m.bucket, 8*24*3_600_000)
			}
			for range crowd {
				m.now += m.Int64N(m.bucket / 12)
				g.show()
			}
			switch m.IntN(40) {
			case 0:
				g.use(renumbered(m, rule))
			case 1:
				g.fit()
			}
			if m.IntN(3) > 0 {
				g.pass(max(g.watermark, m.now-m.oneOf(0, 1, 60_000)))
			}
		}
		fired, timers, seasonal, explained, over = fired+uint64(g.fired), timers+uint64(g.timers), seasonal+uint64(g.seasonal), explained+uint64(g.explained), over+uint64(g.over)
	}
	t.Logf("%d firings, %d of timers, %d by the time of day, %d explained, %d over", fired, timers, seasonal, explained, over)
	if histories >= 80 && (fired < 2*histories || timers < histories || seasonal < histories/8 || explained < histories/4 || over < histories/2) {
		t.Error("too little of what matters happened")
	}
}

// renumbered returns a rule with other numbers that reads the same state.
func renumbered(m *meter, s *detectors.Drift) string {
	text := fmt.Sprintf("    drift:\n      measure: %s\n      bucket: %dms\n", []string{"share", "volume", "latency"}[s.Measure], s.Bucket.Milliseconds())
	if s.Counted != nil {
		text += map[bool]string{true: "      count: status >= 500\n", false: "      count: status < 500\n"}[s.Measure == detectors.DriftShare]
	}
	if s.Measure == detectors.DriftLatency {
		text += fmt.Sprintf("      percentile: %d\n", s.Percentile)
	}
	text += "      explain: ["
	for i, f := range s.Explain {
		if i > 0 {
			text += ", "
		}
		text += f.String()
	}
	return m.text("r", "route", text+"]\n"+m.numbers())
}

// driftHistory creates a history in which an account or a route has an event every
// few minutes.
func driftHistory(seed uint64, events int) history {
	m, h := slowly(seed, events)
	of := &meter{hand: &hand{Rand: rand.New(rand.NewPCG(seed, 22)), lateness: h.lateness}, bucket: 3_600_000}
	for _, id := range []string{"g0", "g1"} {
		h.rules = append(h.rules, of.rule(id, of.pick("account", "route")))
	}
	for _, p := range m.sources {
		for _, r := range p.log {
			of.changed = of.IntN(12) == 0 || of.changed && of.IntN(12) > 0
			r.values = append(r.values, of.values()...)
		}
	}
	return h
}

func TestTheEngineAgreesWithTheOracleOnDrifts(t *testing.T) {
	n, histories := agree(t, driftHistory)
	if histories >= 100 && n.drifts < 2*int(histories) {
		t.Errorf("the histories are too tame to show anything: %+v", n)
	}
}
