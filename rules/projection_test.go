package rules_test

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

// TestASetProjectsWhatItsRulesRead: the fields of conditions and of detectors, by
// kind of entity.
func TestASetProjectsWhatItsRulesRead(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"two.yaml": {Data: []byte(`
rules:
  - id: stuffing
    title: Counts accounts of an address
    entity: ip
    when: auth != ""
    counting: {window: 10m, count: status == 401, distinct: account, tiers: [{at: 10, weight: 10}]}
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
  - id: guesses
    title: Counts failures of an address
    entity: ip
    when: auth == "failure"
    counting: {window: 1m, tiers: [{at: 10, weight: 10}]}
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
  - id: objects
    title: Counts objects of a token
    entity: token
    when: method == "GET"
    counting: {window: 1m, distinct: object, tiers: [{at: 10, weight: 10}]}
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
`)}}, testrules.Kinds())
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

// Such a rule counts every event of its entity: the entity's facets carry no
// fields, but there are some.
func TestAKindWhoseRulesReadNothingHasFacets(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"all.yaml": {Data: []byte(`
rules:
  - id: everything
    title: Counts every event
    entity: device
    when: "true"
    counting:
      window: 1m
      tiers: [{at: 10, weight: 10}]
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
`)}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	p := set.Projection()
	if p[facet.Device] == nil || len(p[facet.Device]) != 0 || p[facet.Account] != nil {
		t.Errorf("projection %#v", p)
	}
}
