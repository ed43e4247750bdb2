package redis

import (
	"fmt"
	"maps"
	"testing"
	"time"
)

// TestOnlyWhatIsStillStoredIsDropped: somebody may have set a switch anew meanwhile.
func TestOnlyWhatIsStillStoredIsDropped(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		r := newTestReader(t, testConfig(s))
		stored := map[string]string{"rule:a": "old", "rule:b": "set anew", "rule:c": "kept"}
		if err := r.PutSwitches(t.Context(), stored); err != nil {
			t.Fatal(err)
		}
		if err := r.DropSwitches(t.Context(), map[string]string{"rule:a": "old", "rule:b": "old", "rule:z": "old"}); err != nil {
			t.Fatal(err)
		}
		delete(stored, "rule:a")
		if got, err := r.Switches(t.Context()); err != nil || !maps.Equal(got, stored) {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// TestWhatIsSetWhileOthersDropStays runs both at once.
func TestWhatIsSetWhileOthersDropStays(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		one, other := newTestReader(t, testConfig(s)), newTestReader(t, testConfig(s))
		for i := range 200 {
			old, id := fmt.Sprint("old ", i), fmt.Sprint("rule:", i)
			if err := one.PutSwitches(t.Context(), map[string]string{id: old}); err != nil {
				t.Fatal(err)
			}
			dropped := make(chan error, 1)
			go func() { dropped <- other.DropSwitches(t.Context(), map[string]string{id: old}) }()
			if err := one.PutSwitches(t.Context(), map[string]string{id: "anew"}); err != nil {
				t.Fatal(err)
			}
			if err := <-dropped; err != nil {
				t.Fatal(err)
			}
			if got, err := one.Switches(t.Context()); err != nil || got[id] != "anew" {
				t.Fatalf("try %d: %q, %v", i, got[id], err)
			}
		}
	})
}

func TestTheClockIsThatOfTheServer(t *testing.T) {
	s := startFake(t)
	want := time.Unix(1_700_000_000, 0)
	s.SetTime(want)
	if got, err := newTestReader(t, testConfig(s)).Clock(t.Context()); err != nil || !got.Equal(want) {
		t.Errorf("%v, %v", got, err)
	}
}

// TestTooManySwitchesAreNotRead: whoever may write to Redis can make them up.
func TestTooManySwitchesAreNotRead(t *testing.T) {
	s := startFake(t)
	for i := range mostSwitches + 1 {
		s.HSet("weir:risk:switches", fmt.Sprint(i), "x")
	}
	if got, err := newTestReader(t, testConfig(s)).Switches(t.Context()); err == nil || got != nil {
		t.Errorf("%d are read", len(got))
	}
}
