package detectors_test

import (
	"slices"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/rules"
)

// A rule that fires on innocent people costs more than one that misses an attack, so
// the tests of built-in rules must cover both cases.
func TestTheBuiltInRulesAreTestedBothWays(t *testing.T) {
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Rules) < 5 {
		t.Errorf("%d rules are built in, want 5", len(set.Rules))
	}
	for _, r := range set.Rules {
		positive, tiers := 0, map[uint8]bool{}
		for _, test := range r.Tests {
			if len(test.Expect) > 0 {
				positive++
			}
			for _, x := range test.Expect {
				tiers[x.Signals[0].Weight] = true
			}
		}
		if negative := len(r.Tests) - positive; positive < 2 || negative < 3 {
			t.Errorf("%s: %d positive and %d negative tests, want 2 and 3", r.ID, positive, negative)
		}
		if w, ok := r.Spec.(*detectors.SlidingWindow); ok {
			for _, tier := range w.Tiers {
				if !tiers[tier.Weight] {
					t.Errorf("%s: no test expects the tier of weight %d", r.ID, tier.Weight)
				}
			}
		}
		if r.Description == "" {
			t.Errorf("%s: no description", r.ID)
		}
	}
}

// People add rules to the built-in ones.
func TestTheBuiltInRulesLeaveRoomForOthers(t *testing.T) {
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	kept := map[facet.Kind]int{}
	for _, r := range set.Rules {
		kept[r.Entity] += r.Spec.Keeps().Bytes
	}
	const others = 6 << 10 // a dozen windows whose top tier is at 10, or one at 150
	for k, n := range kept {
		if left := state.MostPayload - rules.EngineBytes - n; left < others {
			t.Errorf("the built-in rules leave %d bytes of a record of entity %s, want %d", left, k, others)
		}
	}
}

func TestTheBuiltInRulesProjectWhatTheyRead(t *testing.T) {
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	p := set.Projection()
	for _, r := range set.Rules {
		for _, f := range r.Spec.Fields() {
			if !slices.Contains(p[r.Entity], f) {
				t.Errorf("%s: facets of entity %s lack %s", r.ID, r.Entity, f)
			}
		}
	}
}

func BenchmarkLoadDefault(b *testing.B) {
	for b.Loop() {
		if _, err := rules.Default(detectors.All()); err != nil {
			b.Fatal(err)
		}
	}
}
