package detectors_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
)

// An explanation lists every condition of every tier with its current value, and
// says what holds back a tier whose conditions are met.
func TestExplanations(t *testing.T) {
	r := rule(false, 60, 5*time.Minute, 2, 4)
	d, s, e := newDetector(t, r), &slot{}, new(event.Event)
	var f detectors.Firing
	if x := d.Explain(nil, 0); x.Last >= x.First || len(x.Demands) != 4 || len(x.HeldBack) != 0 || len(x.Held) != 0 {
		t.Errorf("nothing: %+v", x)
	}
	show := func(at int64, failed, fires bool) detectors.Explanation {
		t.Helper()
		if got := d.Apply(arrival{time: at, watermark: math.MinInt64, account: "a", failed: failed}.input(s, e), &f); got != fires {
			t.Errorf("at %d: fires %v, want %v", at, got, fires)
		}
		before := slices.Clone(s.payload)
		x := d.Explain(s.payload, at)
		if !slices.Equal(before, s.payload) {
			t.Error("explaining changes the payload")
		}
		return x
	}
	met := func(x detectors.Explanation) (all []bool) {
		for _, d := range x.Demands {
			all = append(all, d.Met())
		}
		return all
	}
	x := show(1000, false, false)
	if !slices.Equal(met(x), []bool{false, false, false, false}) || x.First != 1000 || x.Last != 1000 {
		t.Errorf("one that is not counted: %+v", x)
	}
	show(2000, true, false)
	x = show(3000, true, true)
	if want := []detectors.Demand{
		{Tier: 0, Weight: 10, What: "count", Have: 2, Need: 2}, {Tier: 0, Weight: 10, What: "share_percent", Have: 66, Need: 60},
		{Tier: 1, Weight: 20, What: "count", Have: 2, Need: 4}, {Tier: 1, Weight: 20, What: "share_percent", Have: 66, Need: 60},
	}; !slices.Equal(x.Demands, want) || x.First != 1000 || x.Last != 3000 || len(x.Held) == 0 {
		t.Errorf("as it fires: %+v", x)
	}
	x = show(4000, true, false)
	if want := []detectors.HeldBack{{Tier: 0, By: "cooldown", Until: 3000 + 300_000}}; !slices.Equal(x.HeldBack, want) {
		t.Errorf("as it is held back: %+v", x)
	}
	if x = show(303_000, true, true); !slices.Equal(met(x), []bool{true, true, true, true}) {
		t.Errorf("the tier above: %+v", x)
	}
}

// A spec with a raised condition requires at least that much, and is otherwise the
// same.
func TestRaisedDemands(t *testing.T) {
	w := windowOf(rule(false, 60, 5*time.Minute, 2, 4, 9))
	was := w.Canonical()
	raised := w.Raised("count", 5).(*detectors.SlidingWindow)
	var at []int
	for _, tier := range raised.Tiers {
		at = append(at, tier.At)
	}
	if !slices.Equal(at, []int{5, 5, 9}) || raised.MinShare != 60 || raised.Tiers[1].Weight != 20 || raised.Window != w.Window {
		t.Errorf("%+v", raised)
	}
	if s := w.Raised("share_percent", 70).(*detectors.SlidingWindow); s.MinShare != 70 || s.Tiers[0].At != 2 {
		t.Errorf("%+v", s)
	}
	for what, need := range map[string]int64{"share_percent": 101, "count": 1 << 20, "speed": 1} {
		if s := w.Raised(what, need); s != nil {
			t.Errorf("%s %d: %+v", what, need, s)
		}
	}
	if w.Canonical() != was {
		t.Error("the spec was changed")
	}
}
