package engine

import (
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// TestTheEnginesPartOfARecordHasItsRoom: rules are loaded only where that room is
// left beside what they keep.
func TestTheEnginesPartOfARecordHasItsRoom(t *testing.T) {
	longest := 0
	for _, k := range facet.Kinds() {
		for _, f := range facet.Names(k) {
			spec, _ := event.Lookup(f.String())
			longest = max(longest, spec.MaxBytes)
		}
	}
	tenant, _ := event.Lookup("tenant")
	name := 1 + tenant.MaxBytes + longest
	if all := 2*state.SlotHeader + scoreHeader + score.MaxContributions*contributionSize + name; all > rules.EngineBytes {
		t.Errorf("the engine keeps up to %d bytes, and %d are left for it", all, rules.EngineBytes)
	}
}
