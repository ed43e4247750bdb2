package detectors_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// firing is a tier that fired, with the count at that time.
type firing struct {
	count, at int
	weight    uint8
}

// fires sends failures, a second apart, to a rule with these tiers, until the total
// is reached.
func fires(t *testing.T, s *slot, r *rules.Rule, from, to int) (all []firing) {
	t.Helper()
	d := newDetector(t, r)
	var e event.Event
	for n := from; n < to; n++ {
		var f detectors.Firing
		a := arrival{time: 1_763_892_000_000 + int64(n)*1000, watermark: math.MinInt64, account: fmt.Sprint(n), failed: true}
		if d.Apply(a.input(s, &e), &f) {
			tier := windowOf(r).Tiers[f.Tier]
			all = append(all, firing{n + 1, tier.At, tier.Weight})
		}
	}
	return all
}

func edited(cooldown time.Duration, distinct bool, tiers ...detectors.Tier) *rules.Rule {
	r := rule(distinct, 0, cooldown)
	windowOf(r).Tiers = tiers
	return r
}

// TestTiersMayBeEdited checks that a firing before an edit holds back no tier that
// asks for more, or weighs more.
func TestTiersMayBeEdited(t *testing.T) {
	tier := func(at, weight int) detectors.Tier { return detectors.Tier{At: at, Weight: uint8(weight)} }
	for _, c := range []struct {
		name          string
		before, after []detectors.Tier
		came          int      // before the edit
		first, then   []firing // before and after it, up to 40
	}{
		{"the lower of two is taken away",
			[]detectors.Tier{tier(10, 30), tier(20, 60)}, []detectors.Tier{tier(20, 60)}, 12, []firing{{10, 10, 30}}, []firing{{20, 20, 60}}},
		{"the only one is raised",
			[]detectors.Tier{tier(10, 30)}, []detectors.Tier{tier(15, 30)}, 12, []firing{{10, 10, 30}}, []firing{{15, 15, 30}}},
		{"the only one is raised to less than there is",
			[]detectors.Tier{tier(10, 30)}, []detectors.Tier{tier(15, 30)}, 20, []firing{{10, 10, 30}}, []firing{{21, 15, 30}}},
		{"one is lowered to less than what fired",
			[]detectors.Tier{tier(20, 30)}, []detectors.Tier{tier(10, 30)}, 25, []firing{{20, 20, 30}}, nil},
		{"one is lowered before it fired",
			[]detectors.Tier{tier(20, 30)}, []detectors.Tier{tier(10, 30)}, 15, nil, []firing{{16, 10, 30}}},
		{"one is inserted below what fired",
			[]detectors.Tier{tier(20, 60)}, []detectors.Tier{tier(10, 30), tier(20, 60)}, 25, []firing{{20, 20, 60}}, nil},
		{"one is inserted above what fired",
			[]detectors.Tier{tier(20, 60)}, []detectors.Tier{tier(20, 60), tier(30, 90)}, 25, []firing{{20, 20, 60}}, []firing{{30, 30, 90}}},
		{"one is inserted between",
			[]detectors.Tier{tier(10, 30), tier(30, 90)}, []detectors.Tier{tier(10, 30), tier(20, 60), tier(30, 90)}, 12,
			[]firing{{10, 10, 30}}, []firing{{20, 20, 60}, {30, 30, 90}}},
		{"the higher of two is taken away after it fired",
			[]detectors.Tier{tier(10, 30), tier(20, 60)}, []detectors.Tier{tier(10, 30)}, 25, []firing{{10, 10, 30}, {20, 20, 60}}, nil},
		{"what fired weighs more now",
			[]detectors.Tier{tier(10, 30)}, []detectors.Tier{tier(10, 80)}, 12, []firing{{10, 10, 30}}, []firing{{13, 10, 80}}},
		{"what fired weighs less now",
			[]detectors.Tier{tier(10, 80)}, []detectors.Tier{tier(10, 30)}, 12, []firing{{10, 10, 80}}, nil},
		{"all stay as they are",
			[]detectors.Tier{tier(10, 30), tier(20, 60)}, []detectors.Tier{tier(10, 30), tier(20, 60)}, 12, []firing{{10, 10, 30}}, []firing{{20, 20, 60}}},
		{"one that fired gets another place",
			[]detectors.Tier{tier(5, 10), tier(10, 30)}, []detectors.Tier{tier(10, 30)}, 12, []firing{{5, 5, 10}, {10, 10, 30}}, nil},
	} {
		for _, distinct := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, distinct %v", c.name, distinct), func(t *testing.T) {
				var s slot
				first := fires(t, &s, edited(time.Hour, distinct, c.before...), 0, c.came)
				then := fires(t, &s, edited(time.Hour, distinct, c.after...), c.came, 40)
				if !slices.Equal(first, c.first) || !slices.Equal(then, c.then) {
					t.Errorf("fired (count, threshold, weight) %v and then %v, want %v and %v", first, then, c.first, c.then)
				}
			})
		}
	}
}

// After any change of a rule, its state stays within the new bound, and counts are
// those of the remembered events.
func TestAStateOutgrownByItsRuleIsCutDown(t *testing.T) {
	for _, distinct := range []bool{false, true} {
		var s slot
		fires(t, &s, edited(time.Hour, distinct, detectors.Tier{At: 1000, Weight: 50}), 0, 512)
		all := fires(t, &s, edited(time.Hour, distinct, detectors.Tier{At: 3, Weight: 50}), 512, 520)
		if want := []firing{{513, 3, 50}}; !slices.Equal(all, want) {
			t.Errorf("distinct %v: fired %v, want %v", distinct, all, want)
		}
		if n := int(s.payload[20]) | int(s.payload[21])<<8; n != 16 {
			t.Errorf("distinct %v: %d events are remembered, want 16", distinct, n)
		}
	}
}

// TestAnyEditLeavesAStateToGoOnWith randomly changes every parameter that may change
// while counts continue: nothing panics, hangs or exceeds its bound.
func TestAnyEditLeavesAStateToGoOnWith(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 9))
		distinct := seed%2 == 0
		var s slot
		now := int64(1_763_892_000_000)
		for range 8 {
			r := edited(time.Duration(1+rng.IntN(900))*time.Second, distinct, detectors.Tier{At: 1 + rng.IntN(1+rng.IntN(300)), Weight: 50})
			windowOf(r).Window = time.Duration(1+rng.IntN(1+rng.IntN(4_000_000))) * time.Second
			windowOf(r).MinShare = rng.IntN(2) * rng.IntN(101)
			d := newDetector(t, r)
			if s.payload != nil {
				kept, ok := d.Fit(s.payload)
				if !ok || len(kept) > windowOf(r).Keeps().Bytes {
					t.Fatalf("seed %d: of %d bytes %d are kept, %v; the rule has %d", seed, len(s.payload), len(kept), ok, windowOf(r).Keeps().Bytes)
				}
				s.payload = kept
			}
			var e event.Event
			for range rng.IntN(400) {
				now += rng.Int64N(5_000)
				if rng.IntN(500) == 0 {
					now += rng.Int64N(1 << 33)
				}
				a := arrival{time: now - rng.Int64N(lateness), watermark: now - lateness, account: fmt.Sprint(rng.IntN(500)), failed: rng.IntN(4) > 0}
				d.Apply(a.input(&s, &e), &detectors.Firing{})
			}
		}
	}
}
