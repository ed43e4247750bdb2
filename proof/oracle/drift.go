package oracle

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// gauge is the state of one rule for one entity, as described in
// docs/detectors/drift.md.
type gauge struct {
	rule *detectors.Drift

	followed bool
	before   int64 // bucket that is counted before the entity is tracked
	few      int   // number of events in it
	began    bool

	open   map[int64]*stretchOfTime
	next   int64 // next bucket to be closed
	latest int64 // latest bucket with an event
	seen   int64 // time of the latest event

	lately  []int64                       // recently learned values, the last at the end
	hours   map[int64]int64               // means of finished hours (since 1970)
	hour    *int64                        // the hour being learned
	ofHour  []int64                       // its values
	usually map[event.Field][]*accustomed // by position
	slow    int64                         // usual value and limit of the last judged bucket

	off, back int // consecutive buckets
	first     int64
	drifted   bool
	lastAt    int64
}

// stretchOfTime is an open bucket.
type stretchOfTime struct {
	events, counted int64
	latencies       []int64
	heavy           map[event.Field][]*accustomed
}

// accustomed is a value with its number of events: in a bucket, or the usual number
// in 16ths.
type accustomed struct {
	text  string
	count int64
}

func (g *gauge) change(s rules.Spec) { g.rule = s.(*detectors.Drift) }

func (g *gauge) arrive(a arrival) (*firing, bool) {
	r := g.rule
	holds := r.Counted == nil || r.Counted.Holds(a.event)
	if !holds && r.Measure != detectors.DriftShare || r.Measure == detectors.DriftLatency && !a.event.Has(event.LatencyMicros) {
		return nil, false
	}
	n := a.time / r.Bucket.Milliseconds()
	if g.followed && a.watermark != facet.NoWatermark && g.seen <= a.watermark-a.lateness-8*24*3_600_000 {
		*g, *a.timer = gauge{rule: r}, 0
	}
	if !g.followed {
		g.follow(a, n)
		return nil, false
	}
	g.seen = max(g.seen, a.time)
	f := g.close(n-3, a.time)
	counted := false
	if n >= g.next {
		counted = g.count(n, a.event, holds)
	}
	*a.timer = g.comeBack()
	return f, counted
}

func (g *gauge) due(a arrival) *firing {
	if !g.followed {
		return nil
	}
	f := g.close(a.time/g.rule.Bucket.Milliseconds()-1, a.time)
	*a.timer = g.comeBack()
	return f
}

func (g *gauge) follow(a arrival, n int64) {
	if g.began && n < g.before {
		return
	}
	if !g.began || n > g.before {
		g.began, g.before, g.few = true, n, 0
	}
	g.few++
	if g.few < g.rule.MinEvents {
		return
	}
	g.followed, g.next, g.latest, g.seen, g.open = true, n+1, n, a.time, map[int64]*stretchOfTime{}
	*a.timer = g.comeBack()
}

// comeBack returns the end of the next bucket that matters; 0: none does.
func (g *gauge) comeBack() int64 {
	if len(g.open) == 0 && !(g.rule.Measure == detectors.DriftVolume && g.next <= g.latest+72) {
		return 0
	}
	return (g.next + 1) * g.rule.Bucket.Milliseconds()
}

func (g *gauge) count(n int64, e *event.Event, holds bool) bool {
	b := g.open[n]
	if b == nil {
		b = &stretchOfTime{heavy: map[event.Field][]*accustomed{}}
		g.open[n] = b
	}
	b.events++
	g.latest = max(g.latest, n)
	if g.rule.Measure == detectors.DriftLatency {
		latency := max(e.Num(event.LatencyMicros), 1)
		b.latencies = append(b.latencies, latency)
		holds = latency > g.slow
	}
	if !holds {
		return false
	}
	b.counted++
	for _, of := range g.rule.Explain {
		text := textOf(e, of)
		if text == "" {
			continue
		}
		all := b.heavy[of]
		if i := slices.IndexFunc(all, func(v *accustomed) bool { return v.text == text }); i >= 0 {
			all[i].count++
		} else if len(all) < 6 {
			b.heavy[of] = append(all, &accustomed{text, 1})
		} else {
			rarest := slices.MinFunc(all, func(a, b *accustomed) int { return cmp.Compare(a.count, b.count) })
			rarest.text, rarest.count = strings.Clone(text), rarest.count+1
		}
	}
	return true
}

// close judges all buckets up to one. It skips those that cannot matter.
func (g *gauge) close(to, now int64) (told *firing) {
	for g.next <= to {
		n := g.next
		b, quiet := g.open[n], n > g.latest+72
		if len(g.open) == 0 && (quiet || g.rule.Measure != detectors.DriftVolume) {
			if to > g.latest+72 {
				g.lately = nil
			}
			g.next = to + 1
			return told
		}
		if b == nil {
			b = &stretchOfTime{}
		}
		if value, ok := g.value(b); ok && !(quiet && b.events == 0) {
			if f := g.judge(b, n, value, now); told == nil {
				told = f
			}
		}
		delete(g.open, n)
		g.next++
	}
	return told
}

func (g *gauge) value(b *stretchOfTime) (int64, bool) {
	switch {
	case g.rule.Measure == detectors.DriftVolume:
		return b.events, true
	case b.events < int64(g.rule.MinEvents):
		return 0, false
	case g.rule.Measure == detectors.DriftShare:
		return b.counted * 10_000 / b.events, true
	}
	sorted := slices.Sorted(slices.Values(b.latencies))
	place := 1
	for 100*place < g.rule.Percentile*len(sorted) {
		place++
	}
	return leastOfBin(sorted[place-1]), true
}

// leastOfBin returns the lowest latency in the same bin: a power of two, or one and
// a half times one.
func leastOfBin(latency int64) int64 {
	power := int64(1)
	for 2*power <= latency && power < 1<<31 {
		power *= 2
	}
	if power > 1 && latency >= power+power/2 {
		return power + power/2
	}
	return power
}

// middle returns the value at rank ⌈n/2⌉, and the same for the distances from it.
func middle(of []int64) (median, spread int64) {
	at := func(of []int64) int64 { return slices.Sorted(slices.Values(of))[(len(of)+1)/2-1] }
	median = at(of)
	var away []int64
	for _, v := range of {
		away = append(away, max(v, median)-min(v, median))
	}
	return median, at(away)
}

func (g *gauge) judge(b *stretchOfTime, n, value, now int64) *firing {
	r := g.rule
	bucket := r.Bucket.Milliseconds()
	if g.drifted && n*bucket >= g.first*bucket+r.Settle.Milliseconds() {
		*g = gauge{rule: r, followed: true, open: g.open, next: g.next, latest: g.latest, seen: g.seen, lastAt: g.lastAt}
	}
	g.pass(n * bucket / 3_600_000)
	drifted := g.drifted
	usual, spread, baseline, known := int64(0), int64(0), "lately", len(g.lately)
	enough := known >= r.Learn
	if enough {
		var apart []int64
		for i := range known - 1 {
			apart = append(apart, max(g.lately[i], g.lately[i+1])-min(g.lately[i], g.lately[i+1]))
		}
		usual, _ = middle(g.lately[max(0, known-6):])
		if len(apart) > 0 {
			spread, _ = middle(apart)
			spread = spread * 7 / 10
		}
	}
	var days []int64
	for h, mean := range g.hours {
		if h%24 == *g.hour%24 {
			days = append(days, mean)
		}
	}
	if len(days) >= 3 {
		m, s := middle(days)
		usual, spread, baseline, known, enough = m, max(s, spread), "time of day", len(days), true
	}
	if !enough {
		if !drifted {
			g.learn(b, value)
		}
		return nil
	}
	chance, unit := int64(0), int64(1)
	root := func(n int64) int64 { return new(big.Int).Sqrt(big.NewInt(n)).Int64() }
	switch r.Measure {
	case detectors.DriftShare:
		p := min(9_900, max(100, usual, 10_000/b.events))
		chance, unit = root(p*(10_000-p)/b.events), 100
	case detectors.DriftVolume:
		chance = root(usual)
	case detectors.DriftLatency:
		unit = 1000
	}
	limit := max(int64(r.Deviations)*(spread*3/2), int64(r.Deviations)*chance, usual*int64(r.Percent)/100, r.Least*unit)
	away := value - usual
	if r.Direction == detectors.DriftBelow || r.Direction == detectors.DriftEither && away < 0 {
		away = -away
	}
	g.slow = usual + limit
	var f *firing
	switch {
	case away >= limit:
		if g.off == 0 && !drifted {
			g.first = n
		}
		g.off, g.back = g.off+1, 0
		g.drifted = drifted || g.off >= r.For
		if g.drifted && (!drifted || now >= g.lastAt+r.Cooldown.Milliseconds()) {
			g.lastAt = now
			f = &firing{weight: r.Weight, evidence: g.describe(b, value, usual, limit, baseline, known)}
		}
		return f
	case 2*away <= limit:
		g.off, g.back = 0, g.back+1
		if drifted && g.back >= r.Until {
			g.drifted, g.back = false, 0
		}
	default:
		g.off, g.back = 0, 0
	}
	if !drifted {
		g.learn(b, max(usual-limit, min(usual+limit, value)))
	}
	return nil
}

// pass starts an hour, and stores the mean of the previous one.
func (g *gauge) pass(hour int64) {
	if g.hours == nil {
		g.hours = map[int64]int64{}
	}
	if g.hour != nil && hour <= *g.hour {
		return
	}
	if g.hour != nil && len(g.ofHour) > 0 {
		sum := int64(0)
		for _, v := range g.ofHour {
			sum += v
		}
		g.hours[*g.hour] = sum / int64(len(g.ofHour))
	}
	for h := range g.hours {
		if h/24 <= hour/24-7 {
			delete(g.hours, h)
		}
	}
	g.hour, g.ofHour = &hour, nil
}

func (g *gauge) learn(b *stretchOfTime, value int64) {
	value = max(value, 0)
	g.lately = append(g.lately, value)
	g.lately = g.lately[max(0, len(g.lately)-24):]
	g.ofHour = append(g.ofHour, value)
	if g.usually == nil {
		g.usually = map[event.Field][]*accustomed{}
	}
	for _, of := range g.rule.Explain {
		for _, u := range g.usually[of] {
			has := int64(0)
			for _, v := range b.heavy[of] {
				if v.text == u.text {
					has = 16 * v.count
				}
			}
			u.count += (has - u.count) / 8
		}
		for _, v := range b.heavy[of] {
			if slices.ContainsFunc(g.usually[of], func(u *accustomed) bool { return u.text == v.text }) {
				continue
			}
			teaches := 2 * v.count
			if len(g.usually[of]) < 6 {
				g.usually[of] = append(g.usually[of], &accustomed{v.text, teaches})
				continue
			}
			least := slices.MinFunc(g.usually[of], func(a, b *accustomed) int { return cmp.Compare(a.count, b.count) })
			if teaches > least.count {
				least.text, least.count = v.text, teaches
			}
		}
	}
}

func (g *gauge) describe(b *stretchOfTime, value, usual, limit int64, baseline string, known int) []facet.Evidence {
	r := g.rule
	var measure, unit string
	var total int64
	switch r.Measure {
	case detectors.DriftShare:
		measure, unit, total = "share", "1/10000", b.counted-usual*b.events/10_000
	case detectors.DriftVolume:
		measure, unit, total = "volume", "events", b.events-usual
	case detectors.DriftLatency:
		measure, unit, total = "latency", "µs", b.counted-int64(100-r.Percentile)*b.events/100
	}
	list := []facet.Evidence{
		facet.Text("measure", measure), facet.Text("unit", unit), facet.Number("value", value), facet.Number("usual", usual), facet.Number("limit", limit),
		facet.Number("events", b.events), facet.Text("baseline", baseline), facet.Number("known", int64(known)), facet.Number("since", g.first*r.Bucket.Milliseconds()),
	}
	if total <= 0 || value < usual {
		return list
	}
	for _, of := range r.Explain {
		var name string
		most := int64(0)
		for _, v := range b.heavy[of] {
			above := 16 * v.count
			for _, u := range g.usually[of] {
				if u.text == v.text {
					above -= u.count
				}
			}
			if above > most {
				name, most = v.text, above
			}
		}
		if most > 0 {
			for len(name) > 24 {
				name = strings.TrimSuffix(name, string([]rune(name)[len([]rune(name))-1:]))
			}
			list = append(list, facet.Text(fmt.Sprintf("by_%s", of), name), facet.Number(fmt.Sprintf("by_%s_percent", of), min(100*most/(16*total), 100)))
		}
	}
	return list
}
