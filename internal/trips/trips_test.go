package trips

import (
	"testing"
	"time"
)

func TestTrips(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	trips := New(2)
	if trips.Late(at(100), time.Second) {
		t.Error("without a round trip, the store is late")
	}
	a, ok1 := trips.Begin(at(0))
	_, ok2 := trips.Begin(at(5))
	if _, ok3 := trips.Begin(at(6)); !ok1 || !ok2 || ok3 || trips.Count() != 2 {
		t.Error("not two at once:", ok1, ok2, ok3)
	}
	for _, tc := range []struct {
		now  int
		want bool
	}{{9, false}, {14, false}, {15, true}, {20, true}} {
		if got := trips.Late(at(tc.now), 10*time.Second); got != tc.want {
			t.Errorf("late at %d: %v", tc.now, got)
		}
	}
	trips.Again(a, at(20))
	if trips.Late(at(20), 10*time.Second) {
		t.Error("the next round trip is as late as the one before")
	}
	trips.End(a)
	if trips.Late(at(100), time.Second) {
		t.Error("late, although another one may begin")
	}
	if place, ok := trips.Begin(at(30)); !ok || place != a {
		t.Error(place, ok)
	}
}
