package rules

import (
	"time"

	"github.com/weirdev/weir/event"
)

// Test is a test that stands in a rule's file, as data. Running it needs an
// engine.
type Test struct {
	Name   string
	Events []Step   // in the order of the file, not of time
	Expect []Expect // empty: the rule must not fire
}

// Step describes one event, or a series of them.
type Step struct {
	At     time.Duration // of the first event, since the test's start
	Every  time.Duration // between repeats
	Repeat int           // how many events; at least 1
	Values []Value
}

// Expect is one expected outcome: the signals of one entity.
type Expect struct {
	Entity string // key of the entity
	Weight uint8  // of the heaviest signal
	Count  int    // how many signals; 0: at least one
}

// TestEvent is one event of a test.
type TestEvent struct {
	At    time.Duration // since the test's start
	Event *event.Event
}
