// Package trips bounds the round trips to a store that are under way, and tells when
// all of them take long.
package trips

import "time"

// Trips knows when the current round trips began. Its caller guards it.
type Trips struct {
	since []time.Time // by place
	free  []int       // places without a round trip
}

// New allows most round trips at once.
func New(most int) *Trips {
	t := &Trips{since: make([]time.Time, most)}
	for place := range most {
		t.free = append(t.free, place)
	}
	return t
}

// Begin begins a round trip. ok is false if there are too many.
func (t *Trips) Begin(now time.Time) (place int, ok bool) {
	if len(t.free) == 0 {
		return 0, false
	}
	place = t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	t.since[place] = now
	return place, true
}

// Again begins the next round trip in a place.
func (t *Trips) Again(place int, now time.Time) { t.since[place] = now }

// End ends the last round trip in a place.
func (t *Trips) End(place int) { t.free = append(t.free, place) }

// Count returns how many round trips are under way.
func (t *Trips) Count() int { return len(t.since) - len(t.free) }

// Late reports whether the store takes longer than a budget: there can be no more
// round trips, and all of them already do.
func (t *Trips) Late(now time.Time, budget time.Duration) bool {
	if len(t.free) > 0 {
		return false
	}
	for _, since := range t.since {
		if now.Sub(since) < budget {
			return false
		}
	}
	return true
}
