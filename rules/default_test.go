package rules_test

import (
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// A rule that fires on innocent people costs more than one that misses, so
// built-in rules have to show both.
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
				tiers[x.Weight] = true
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

func TestTheBuiltInRulesProjectWhatTheyRead(t *testing.T) {
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	p := set.Projection()
	want := map[facet.Kind][]event.Field{
		facet.IP:      {event.Account, event.Status, event.Auth},
		facet.Account: {event.Status, event.Object, event.Auth},
		facet.Token:   {event.Method, event.Status, event.Object},
		facet.Device:  {event.Signature, event.SignatureReason},
	}
	for _, k := range facet.Kinds() {
		if !slices.Equal(p[k], want[k]) {
			t.Errorf("%s: %v, want %v", k, p[k], want[k])
		}
	}
	if h := set.Horizon(facet.Account); h != 10*time.Minute {
		t.Errorf("horizon of accounts is %s", h)
	}
	if h := set.Horizon(facet.Net); h != 0 {
		t.Errorf("horizon of networks is %s, though no rule looks at them", h)
	}
}

// Such a rule counts every event of its entity: the entity's facets carry no
// fields, but there are some.
func TestAKindWhoseRulesReadNothingHasFacets(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"all.yaml": {Data: []byte(`
rules:
  - id: everything
    title: Counts every event
    entity: device
    when: "true"
    sliding_window:
      window: 1m
      tiers: [{at: 10, weight: 10}]
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
`)}}, detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	p := set.Projection()
	if p[facet.Device] == nil || len(p[facet.Device]) != 0 || p[facet.Account] != nil {
		t.Errorf("projection %#v", p)
	}
}

func BenchmarkLoadDefault(b *testing.B) {
	for b.Loop() {
		if _, err := rules.Default(detectors.All()); err != nil {
			b.Fatal(err)
		}
	}
}
