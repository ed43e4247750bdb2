package sim

import "testing"

// TestASeedReplays: a failure can be seen again, because all that happens
// follows from the seed.
func TestASeedReplays(t *testing.T) {
	sets := loadRules(t)
	for seed := uint64(1); seed <= uint64(share(25)); seed++ {
		a, b := run(t, NewPlan(seed), sets), run(t, NewPlan(seed), sets)
		if a.Trace != b.Trace || a.Effects != b.Effects {
			t.Fatalf("seed %d: %d and %d effects\n%s\n%s", seed, a.Effects, b.Effects, a.Trace, b.Trace)
		}
	}
}
