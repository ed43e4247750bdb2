package rules_test

import (
	"slices"
	"testing"
	"testing/fstest"

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

// TestASetProjectsWhatItsRulesRead: the fields of conditions and of detectors, by
// kind of entity.
func TestASetProjectsWhatItsRulesRead(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"two.yaml": {Data: []byte(`
rules:
  - id: stuffing
    title: Counts accounts of an address
    entity: ip
    when: auth != ""
    sliding_window: {window: 10m, count: status == 401, distinct: account, tiers: [{at: 10, weight: 10}]}
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
  - id: guesses
    title: Counts failures of an address
    entity: ip
    when: auth == "failure"
    sliding_window: {window: 1m, tiers: [{at: 10, weight: 10}]}
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
  - id: objects
    title: Counts objects of a token
    entity: token
    when: method == "GET"
    sliding_window: {window: 1m, distinct: object, tiers: [{at: 10, weight: 10}]}
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
`)}}, detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	p := set.Projection()
	want := map[facet.Kind][]event.Field{
		facet.IP:    {event.Account, event.Status, event.Auth},
		facet.Token: {event.Method, event.Object},
	}
	for _, k := range facet.Kinds() {
		if !slices.Equal(p[k], want[k]) {
			t.Errorf("%s: %v, want %v", k, p[k], want[k])
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
