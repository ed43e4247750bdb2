package state

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// TestTheSketchCountsAFloodForWhatItIs adds keys that come once, and looks how
// many seem to have come more often.
func TestTheSketchCountsAFloodForWhatItIs(t *testing.T) {
	s := sketch{views: new(atomic.Int32)}
	rng := rand.New(rand.NewPCG(1, 2))
	const keys = 4 * sketchPeriod
	var seen [mostCount + 1]int
	for range keys {
		seen[s.add(rng.Uint64())]++
	}
	more, regulars := keys-seen[1], 0
	for _, n := range seen[regularCount:] {
		regulars += n
	}
	t.Logf("of %d keys that came once, %d are counted more often, %d as regulars", keys, more, regulars)
	if more > keys/10 || regulars > keys/100_000 {
		t.Errorf("of %d keys that came once, %d are counted more often, %d as regulars", keys, more, regulars)
	}
}

// TestTheSketchNeverCountsTooLow compares it with exact counts, between two
// halvings and amid a flood.
func TestTheSketchNeverCountsTooLow(t *testing.T) {
	s := sketch{views: new(atomic.Int32)}
	rng := rand.New(rand.NewPCG(3, 4))
	exact := map[uint64]uint8{}
	for i := range sketchPeriod - 1 {
		key := rng.Uint64()
		if i%4 == 0 {
			key = rng.Uint64N(5000) * 0x9E3779B97F4A7C15
			exact[key] = min(exact[key]+1, mostCount)
		}
		if got := s.add(key); got < exact[key] {
			t.Fatalf("a key that came %d times is counted %d times", exact[key], got)
		}
	}
}

func TestTheSketchForgets(t *testing.T) {
	s := sketch{views: new(atomic.Int32)}
	for range mostCount {
		s.add(42)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for range 5 * sketchPeriod {
		s.add(rng.Uint64())
	}
	if got := s.add(42); got > 3 {
		t.Errorf("counted %d times, long after", got)
	}
}
