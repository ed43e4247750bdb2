// Package detectors holds the algorithms that rules parameterise: pure
// functions of one entity's state and one event, without clock, randomness or
// look-ups.
//
// They know neither scores nor where state is kept.
package detectors

import (
	"fmt"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
)

// Slot is where a detector keeps what it remembers of one entity under one
// rule.
type Slot interface {
	// Payload is what was kept, in place; nil at first.
	Payload() []byte
	// Resize changes the payload's size; what is new is zero. It returns nil
	// where there is no room.
	Resize(n int) []byte
}

// Input is an event as a detector sees it.
type Input struct {
	Event     *event.Event
	Time      int64 // event time, Unix ms
	Watermark int64 // of the partition, Unix ms; no event on time is older than this less the lateness
	Late      bool  // older than that: must not re-open what has closed
}

// Firing says that a rule's condition was met.
type Firing struct {
	Tier     int // index into the rule's tiers
	Evidence [8]Number
	Numbers  int // of Evidence
}

// Number is one figure of the evidence.
type Number struct {
	Name  string
	Value int64
}

// Detector applies one rule. It is used by one goroutine, for the entities of
// many records one after the other; calls never overlap.
type Detector interface {
	// Apply feeds an event that matches the rule's When. fired says that f has
	// been filled in.
	Apply(s Slot, in Input, f *Firing) (fired bool)
	// Reads reports whether a payload is of the detector's form, so that Apply
	// can go on with it. Whoever got it from outside asks first.
	Reads(payload []byte) bool
}

// Hasher turns a text into a number under a secret key, so that nobody can
// choose values that count as one.
type Hasher interface{ Text(s string) uint64 }

// New makes the detector of a rule. lateness, in ms, is how long after the
// watermark an event still counts.
func New(r *rules.Rule, lateness int64, h Hasher) (Detector, error) {
	switch {
	case r.Window != nil:
		return newSlidingWindow(r.Window, lateness, h), nil
	}
	return nil, fmt.Errorf("rule %s names no detector", r.ID)
}
