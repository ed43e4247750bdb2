package chaos

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// rulesOfARun are made as in a run.
func rulesOfARun(t *testing.T) *rulesets {
	t.Helper()
	dir := t.TempDir()
	if err := writeRules(dir); err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(os.DirFS(dir), detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	s, err := newRulesets(set)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTheRulesOfARunAreMade: what a run changes in the built-in rules is still there, and
// the other rules need a field that the first ones do not, and no other kind of entity.
func TestTheRulesOfARunAreMade(t *testing.T) {
	s := rulesOfARun(t)
	for k, fields := range s.all[0].Projection() {
		if other := s.all[1].Projection()[k]; (fields == nil) != (other == nil) {
			t.Errorf("only some of the rules are about kind %d", k)
		}
	}
	for i, want := range []bool{false, true} {
		if got := slices.Contains(s.all[i].Projection()[facet.Account], event.ID); got != want {
			t.Errorf("rules %d read the id of an event: %v", i, got)
		}
	}
}

// TestAFacetWithoutAFieldOfItsRulesIsFound: after a push of rules that read the id of an
// event, a facet without one is an error, until other rules are pushed. A push that is
// written again later changes nothing.
func TestAFacetWithoutAFieldOfItsRulesIsFound(t *testing.T) {
	s, r := rulesOfARun(t), newReplayed(&truth{})
	f := &facet.Facet{Entity: facet.Entity{Kind: facet.Account, Key: "ann"}}
	for i, c := range []struct {
		number uint64
		set    *rules.Set
		want   error
	}{{1, s.all[0], nil}, {2, s.all[1], errField}, {1, s.all[0], errField}, {3, s.all[0], nil}, {2, s.all[1], nil}} {
		bundle, err := c.set.Bundle()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.takeSwitch(facet.AppendSwitch(nil, &facet.Switch{Incarnation: 1, Number: c.number, Version: c.set.Version, Bundle: bundle})); err != nil {
			t.Fatal(err)
		}
		if err := r.checkFields(f); !errors.Is(err, c.want) {
			t.Errorf("after switch %d: %v, want %v", i, err, c.want)
		}
	}
	if r.switches != 5 || len(r.switched) != 3 {
		t.Errorf("%d switch records, of %d pushes; want 5 of 3", r.switches, len(r.switched))
	}
}
