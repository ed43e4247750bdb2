package oracle

import (
	"slices"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// clockwork is the state of one rule for one entity, as described in
// docs/detectors/cadence.md.
type clockwork struct {
	rule *detectors.Cadence

	tries     []try // in order of time
	active    map[int64]bool
	lastHour  int64
	cleared   bool
	clearedTo int64
	fired     int // number of firings
	weight    uint8
	lastAt    int64
	steady    *int64 // start of the evenly spaced run
}

type try struct {
	time int64
	of   string
}

func (k *clockwork) change(s rules.Spec) {
	k.rule = s.(*detectors.Cadence)
	k.cut()
}

// cut keeps as many tries as the largest tier needs.
func (k *clockwork) cut() {
	greatest := 0
	for _, t := range k.rule.Tiers {
		greatest = max(greatest, t.At)
	}
	k.tries = k.tries[max(0, len(k.tries)-greatest):]
}

func (k *clockwork) arrive(a arrival) (*firing, bool) {
	if k.rule.Cancel != nil && k.rule.Cancel.Holds(a.event) {
		k.clearedTo = max(k.clearedTo, a.time)
		k.cleared = true
		had := len(k.tries)
		k.tries = slices.DeleteFunc(k.tries, func(t try) bool { return t.time <= k.clearedTo })
		if len(k.tries) < had {
			k.steady = nil
		}
		return nil, false
	}
	if k.rule.Counted != nil && !k.rule.Counted.Holds(a.event) {
		return nil, false
	}
	k.mark(a.time / 3_600_000)
	if k.cleared && a.time <= k.clearedTo || !k.take(a) {
		return nil, true
	}
	k.watch()
	return k.fire(a.time), true
}

// watch checks whether the latest tries are even. It takes as many as the least
// demanding tier with lasts asks for.
func (k *clockwork) watch() {
	fewest := 0
	for _, t := range k.rule.Tiers {
		if t.Lasts > 0 && (fewest == 0 || t.At < fewest) {
			fewest = t.At
		}
	}
	if fewest == 0 || len(k.tries) < fewest {
		return
	}
	latest := k.tries[len(k.tries)-fewest:]
	median, spread := rhythm(latest)
	paused := false
	for i, t := range latest[1:] {
		paused = paused || t.time-latest[i].time > 10*median
	}
	if !k.even(median, spread) || paused {
		k.steady = nil
	} else if k.steady == nil {
		k.steady = &[]int64{latest[0].time}[0]
	}
}

func (k *clockwork) even(median, spread int64) bool {
	return median >= k.rule.Shortest.Milliseconds() && spread <= int64(k.rule.Spread) &&
		(k.rule.Longest == 0 || median <= k.rule.Longest.Milliseconds())
}

// held returns how long the tries have been even.
func (k *clockwork) held() int64 {
	if k.steady == nil || len(k.tries) == 0 {
		return 0
	}
	return k.tries[len(k.tries)-1].time - *k.steady
}

func (k *clockwork) mark(hour int64) {
	if k.active == nil {
		k.active, k.lastHour = map[int64]bool{}, hour
	}
	k.lastHour = max(k.lastHour, hour)
	k.active[hour] = true
	for h := range k.active {
		if h <= k.lastHour-24 {
			delete(k.active, h)
		}
	}
}

// take reports whether the try is among those kept.
func (k *clockwork) take(a arrival) bool {
	const mark = "\x00now" // no value equals this text
	k.tries = append(k.tries, try{a.time, mark})
	slices.SortStableFunc(k.tries, func(a, b try) int { return int(a.time - b.time) })
	last := k.tries[len(k.tries)-1].time
	k.tries = slices.DeleteFunc(k.tries, func(t try) bool { return last-t.time >= k.rule.Memory.Milliseconds() })
	k.cut()
	i := slices.IndexFunc(k.tries, func(t try) bool { return t.of == mark })
	if i < 0 {
		return false
	}
	k.tries[i].of = ""
	if k.rule.Distinct != event.None {
		k.tries[i].of = a.event.Text(k.rule.Distinct)
	}
	return true
}

func (k *clockwork) fire(now int64) *firing {
	for i := len(k.rule.Tiers) - 1; i >= 0; i-- {
		tier := k.rule.Tiers[i]
		if len(k.tries) < tier.At {
			continue
		}
		latest := k.tries[len(k.tries)-tier.At:]
		median, spread := rhythm(latest)
		different := map[string]bool{}
		for _, t := range latest {
			if t.of != "" {
				different[t.of] = true
			}
		}
		if !k.even(median, spread) || len(different) < tier.Values || len(k.active) < tier.Hours || k.held() < tier.Lasts.Milliseconds() {
			continue
		}
		if tier.Weight <= k.weight && now < k.lastAt+k.rule.Cooldown.Milliseconds() {
			return nil
		}
		k.weight, k.lastAt = tier.Weight, now
		k.fired++
		says := []facet.Evidence{
			facet.Number("attempts", int64(tier.At)), facet.Number("median_ms", median), facet.Number("spread_percent", spread),
			facet.Number("hours", int64(len(k.active))),
		}
		if k.rule.Distinct != event.None {
			says = append(says, facet.Number("values", int64(len(different))))
		}
		if slices.ContainsFunc(k.rule.Tiers, func(t detectors.CadenceTier) bool { return t.Lasts > 0 }) {
			says = append(says, facet.Number("lasting_ms", k.held()))
		}
		says = append(says, facet.Number("first_ms", latest[0].time), facet.Number("last_ms", latest[tier.At-1].time))
		return &firing{tier: i, weight: tier.Weight, evidence: says}
	}
	return nil
}

// rhythm returns the median of the intervals (ms), and the distance from it that
// four of five stay within, in percent.
func rhythm(tries []try) (median, spread int64) {
	var intervals, differences []int64
	for i := 1; i < len(tries); i++ {
		intervals = append(intervals, tries[i].time-tries[i-1].time)
	}
	// at returns the value at rank ⌈part·n⌉.
	at := func(of []int64, part, whole int) int64 {
		of = slices.Sorted(slices.Values(of))
		place := part * len(of) / whole
		if part*len(of)%whole > 0 {
			place++
		}
		return of[place-1]
	}
	if median = at(intervals, 1, 2); median == 0 {
		return 0, 100
	}
	for _, v := range intervals {
		differences = append(differences, max(v, median)-min(v, median))
	}
	for far := at(differences, 4, 5); spread < 100 && spread*median < 100*far; {
		spread++
	}
	return median, spread
}
