package engine

import (
	"testing"

	"github.com/weirdev/weir/internal/facet"
)

// TestASwitchIsToldOnce: when it counts, with what its record says, and not when its
// number is known.
func TestASwitchIsToldOnce(t *testing.T) {
	set := defaultRules(t)
	bundle, err := set.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	p := testPartition(t, set)
	var out Output
	for i, c := range []struct {
		s     facet.Switch
		count int // of rules; -1: it is not told
	}{
		{facet.Switch{Number: 3, Version: set.Version, Time: 81, Who: "ann", Source: "push 3", Bundle: bundle}, len(set.Rules)},
		{facet.Switch{Number: 3, Version: set.Version, Bundle: bundle}, -1},
		{facet.Switch{Number: 2, Version: set.Version, Bundle: bundle}, -1},
		{facet.Switch{Number: 4, Lane: facet.Shadow, Version: set.Version, Bundle: bundle}, len(set.Rules)},
		{facet.Switch{Number: 5, Lane: facet.Shadow, Time: 82}, 0},
		{facet.Switch{Number: 5, Lane: facet.Shadow}, -1},
	} {
		c.s.Incarnation = p.incarnation
		out.Reset()
		frame := facet.AppendSwitch(nil, &c.s)
		if err := p.Apply(int64(i), frame, &out); err != nil {
			t.Fatal(err)
		}
		clear(frame) // what is told must not alias it
		if c.count < 0 {
			if !out.empty() {
				t.Errorf("%d: told again: %+v", i, out.Rules)
			}
			continue
		}
		got := RuleChange{}
		if len(out.Rules) == 1 && !out.empty() {
			got = out.Rules[0]
		}
		count := 0
		if got.Rules != nil {
			count = len(got.Rules.Rules)
		}
		if got.Number != c.s.Number || got.Lane != c.s.Lane || got.Time != c.s.Time || got.Who != c.s.Who || got.Source != c.s.Source || count != c.count {
			t.Errorf("%d: told %+v", i, got)
		}
	}
}
