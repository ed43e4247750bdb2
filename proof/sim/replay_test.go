package sim

import "testing"

// TestASeedReplays checks that a failure can be reproduced, because everything
// follows from the seed.
func TestASeedReplays(t *testing.T) {
	all := loadAllRules(t)
	for seed := uint64(1); seed <= uint64(share(25)); seed++ {
		plan := NewPlan(seed)
		a, b := run(t, plan, all.of(plan)), run(t, plan, all.of(plan))
		if a.Trace != b.Trace || a.Effects != b.Effects {
			t.Fatalf("seed %d: %d and %d effects\n%s\n%s", seed, a.Effects, b.Effects, a.Trace, b.Trace)
		}
	}
}
