package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/event"
)

// TestStart is the event time at which tests start: 2026-01-01T00:00:00Z, in
// Unix milliseconds.
const TestStart int64 = 1_767_225_600_000

// Test is a test that stands in a rule's file, as data. Running it needs an
// engine.
type Test struct {
	Name   string
	Line   int // in the rule's file
	Events []Step
	Expect []Expect // empty: the rule must not fire
}

// Step describes one event, or a series of them.
type Step struct {
	At     time.Duration // of the first event, since the test's start
	Every  time.Duration // between the events of the series
	Repeat int           // how many events; at least 1
	Values []Value
}

// Value is what a step gives a field.
type Value struct {
	Field event.Field
	Text  string // as it is written in the test; see numbered
	Num   int64  // numeric fields
}

// Expect is one expected outcome: the signals of one entity.
type Expect struct {
	Entity  string // key of the entity
	Weight  uint8  // of the heaviest signal
	Signals int    // how many; 0: any number
}

// TestEvent is one event of a test.
type TestEvent struct {
	At    time.Duration // since the test's start
	Event *event.Event  // its time is TestStart + At
}

// Expand makes the test's events, in order of time; those of one moment keep
// the order of the file.
func (t *Test) Expand() []TestEvent {
	var all []TestEvent
	for i := range t.Events {
		s := &t.Events[i]
		for n := range s.Repeat {
			at := s.At + time.Duration(n)*s.Every
			e := new(event.Event)
			s.fill(e, n+1)
			e.SetNum(event.Time, TestStart+at.Milliseconds())
			all = append(all, TestEvent{at, e})
		}
	}
	slices.SortStableFunc(all, func(a, b TestEvent) int { return cmp.Compare(a.At, b.At) })
	return all
}

// fill makes e the n-th event of the series.
func (s *Step) fill(e *event.Event, n int) {
	e.Reset()
	for _, v := range s.Values {
		if v.Field.Kind().Numeric() {
			e.SetNum(v.Field, v.Num)
			continue
		}
		text, _ := numbered(v.Text, n) // checked when it was read
		e.SetText(v.Field, text)
	}
}

// varies reports whether the events of the series differ.
func (s *Step) varies() bool {
	return slices.ContainsFunc(s.Values, func(v Value) bool { return strings.Contains(v.Text, "{n") })
}

// Fired is one signal that a rule gave while a test ran.
type Fired struct {
	Entity string
	Weight uint8
}

// Verdict compares what fired, in any order, with what the test expects: one
// sentence for each difference, none where the test passed.
func (t *Test) Verdict(fired []Fired) []string {
	heaviest, signals := map[string]uint8{}, map[string]int{}
	for _, f := range fired {
		heaviest[f.Entity] = max(heaviest[f.Entity], f.Weight)
		signals[f.Entity]++
	}
	var wrong []string
	for _, x := range t.Expect {
		switch n := signals[x.Entity]; {
		case n == 0:
			wrong = append(wrong, fmt.Sprintf("%s: no signal, want one of weight %d", x.Entity, x.Weight))
		case heaviest[x.Entity] != x.Weight:
			wrong = append(wrong, fmt.Sprintf("%s: heaviest signal has weight %d, want %d", x.Entity, heaviest[x.Entity], x.Weight))
		case x.Signals != 0 && n != x.Signals:
			wrong = append(wrong, fmt.Sprintf("%s: %s, want %d", x.Entity, plural(n, "signal"), x.Signals))
		}
		delete(signals, x.Entity)
	}
	for entity, n := range signals {
		wrong = append(wrong, fmt.Sprintf("%s: %s of weight up to %d, want none", entity, plural(n, "signal"), heaviest[entity]))
	}
	slices.Sort(wrong)
	return wrong
}
