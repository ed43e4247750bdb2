package rules

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// TestStart is the event time at which tests start: 2026-01-01T00:00:00Z, in Unix
// milliseconds.
const TestStart int64 = 1_767_225_600_000

// Test describes events and the expected outcome, as data. Running it needs both
// stages. A test of a rule checks the signals that the rule gives to entities of
// its own kind; a scenario checks everything.
type Test struct {
	Name   string
	Line   int        // in its file
	Rule   string     // id of the rule that is tested; "": it is a scenario
	Kind   facet.Kind // of that rule's entities; 0: the rule is not known
	Only   []string   // of a scenario: ids of the rules whose signals it looks at; empty: all
	Events []Step
	Expect []Expect // whom there must be something about; nobody else may have a signal
}

// Step describes one event, or a series of them.
type Step struct {
	At     time.Duration // of the first event, since the test's start
	Every  time.Duration // between the events of the series
	Delay  time.Duration // after which each event arrives
	Repeat int           // how many events; at least 1
	Line   int           // in the test's file
	Values []Value
}

// Value is the value that a step gives to a field.
type Value struct {
	Field event.Field
	Text  string // as it is written in the test; see numbered
	Num   int64  // numeric fields
}

// TestEvent is one event of a test.
type TestEvent struct {
	At    time.Duration // since the test's start
	Line  int           // of its step in the test's file
	Event *event.Event  // its time is TestStart + At
}

// Expand returns the test's events, in order of arrival; events at the same moment
// keep the order of the file.
func (t *Test) Expand() []TestEvent {
	type arriving struct {
		TestEvent
		at time.Duration
	}
	var all []arriving
	for i := range t.Events {
		s := &t.Events[i]
		for n := range s.Repeat {
			at := s.At + time.Duration(n)*s.Every
			e := new(event.Event)
			s.fill(e, n+1)
			e.SetNum(event.Time, TestStart+at.Milliseconds())
			all = append(all, arriving{TestEvent{at, s.Line, e}, at + s.Delay})
		}
	}
	slices.SortStableFunc(all, func(a, b arriving) int { return cmp.Compare(a.at, b.at) })
	events := make([]TestEvent, len(all))
	for i := range all {
		events[i] = all[i].TestEvent
	}
	return events
}

// fill sets e to the n-th event of the series.
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
