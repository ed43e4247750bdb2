// Package detectors holds the algorithms that rules parameterise: pure
// functions of one entity's state and one event, without clock, randomness or
// look-ups.
//
// A detector is one file: its keys in rules, its parameters, and what it does.
// Nobody else knows it. The package knows neither scores nor where state is kept.
package detectors

import (
	"fmt"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// All lists the detectors, as rules see them.
func All() []rules.Kind {
	return []rules.Kind{
		AttestationKind(),
		CadenceKind(),
		FirstSeenKind(),
		IDEnumerationKind(),
		ImpossibleTravelKind(),
		RefreshFamilyKind(),
		ReplayKind(),
		SequenceKind(),
		SequenceAnomalyKind(),
		SignatureMismatchKind(),
		SlidingWindowKind(),
		TokenTheftKind(),
		VolumeAnomalyKind(),
	}
}

// Detector applies one rule. It is used by one goroutine, for the entities of
// many records one after the other; calls never overlap.
type Detector interface {
	// Apply shows an event that matches the rule's condition. It returns true where
	// the rule fires, and has filled in f; else f may hold anything.
	Apply(c *Context, f *Firing) bool

	// Fit returns a payload as the detector goes on with it: in place, cut down to
	// what the rule keeps where former settings kept more. It returns false for one
	// that is not of the detector's form.
	Fit(payload []byte) (kept []byte, ok bool)

	// Explain says what a payload, which an event at a time (Unix ms) has been shown
	// to already, holds for that event, and what each tier asks for. A nil payload
	// holds nothing. It is for people: it may allocate, and changes nothing.
	Explain(payload []byte, at int64) Explanation
}

// Timed is a detector that acts when time has passed, too.
type Timed interface {
	Detector

	// Due is called when the time of an entity's timer has come: no event at that time
	// or before it will be on time any more. c.Time is the time of the timer, which is
	// spent, c.Source and c.Offset name the event that set it, and c.Event is empty.
	// It may set the timer again. It returns true where the rule fires, as Apply does.
	Due(c *Context, f *Firing) bool
}

// Comparing is a detector that keeps something of cohorts.
type Comparing interface {
	Detector

	// FitCohort is what Fit is, of what is kept of a cohort.
	FitCohort(by event.Field, payload []byte) (kept []byte, ok bool)
}

// Cohort is what a rule keeps of those that share a value with the entity, in its
// facet partition. They are a fair sample of all: entities are spread by a keyed
// hash. Late events change nothing about how long it is remembered.
type Cohort interface {
	Slot

	// Say tells all facet partitions what this one thinks of the cohort, from 1 on; 0
	// takes it back. It is to be called with every event: only a change is told, and
	// that not more often than every [rules.KeepsOfCohort] Verdicts.
	Say(level uint8)

	// Said is how many facet partitions think so, or more, at most
	// [rules.MostVerdicts].
	Said(level uint8) int

	// Key is what [Context.Recall] finds the cohort by.
	Key() uint64
}

// Slot is where a detector keeps what it remembers of one entity under one
// rule.
type Slot interface {
	// Payload is what was kept, in place; nil at first.
	Payload() []byte
	// Resize changes the payload's size; what is new is zero. It returns nil
	// where there is no room, which rules that were loaded leave.
	Resize(n int) []byte
}

// Context is an event as a detector sees it.
type Context struct {
	Event  *event.Event
	Entity facet.Entity
	Source int32 // raw partition of the event
	Offset int64 // raw offset of the event

	Time      int64 // event time, Unix ms
	Watermark int64 // of the partition, Unix ms; no event on time is older than this less the lateness
	Late      bool  // older than that: must not re-open what has closed

	Own Slot // of the entity

	// Cohort is what the rule keeps of those whose events have the same value of a
	// field: of build, app_version, route, asn, country, os or device_model. It is nil
	// where the event has no value, or there is no room. It serves until Apply returns,
	// and may be called for several fields, which are among those of the Spec.
	Cohort func(by event.Field) Cohort

	// Recall comes back to a cohort by the [Cohort.Key] that was kept of an event before, in
	// Apply and in Due. It makes none, and keeps none for longer: it is nil where the cohort
	// is forgotten. It serves until the next call. Nothing can be said of the cohort, whose
	// name is not known.
	Recall func(key uint64) Cohort

	// Counts is for the detector to set, whether the rule fires or not: the event
	// contributes to what the rule looks for. Groups remember whom such events name.
	Counts bool

	// Timer is when Due is to be called for the entity, Unix ms; 0 where no timer is
	// set. The detector may change it: there is one timer of each entity and rule. It is
	// moved to be after Time, and by [rules.Keeps] Ahead at most. A late event may clear
	// a timer, and cannot set one.
	Timer int64
}

// Firing says that a rule's condition was met. It is used again and again, so that
// Evidence has room.
type Firing struct {
	Tier     int   // from 0, the mildest
	Weight   uint8 // 0..100; 0 changes no score
	Evidence []facet.Evidence

	// Clears takes back what the rule said of the entity, up to the event's time:
	// its contribution to the score goes. Weight and what the rule asks for are not
	// looked at then. The engine sets it to false before each event.
	Clears bool
}

// Explanation is what a rule holds of an entity when an event has come, and what it
// asks for. `weir rules explain` knows nothing else of a detector.
type Explanation struct {
	// First and Last are the event times (Unix ms) of the stretch whose events
	// contribute: of a window, or of the two ends of a path. Of the entity's events in
	// it, those that set [Context.Counts] are shown as contributing. Last is less than
	// First where nothing is held.
	First, Last int64

	// Held describes it, as the evidence of a firing does.
	Held []facet.Evidence

	// Demands are all numbers that tiers ask for, whether they are met or not: first
	// what the tier waits for, then what else must be so. What a rule asks for whatever
	// the tier stands with each tier.
	Demands []Demand

	// HeldBack says what keeps a tier whose demands are met from firing. Where the
	// event made the rule fire, it is not looked at.
	HeldBack []HeldBack
}

// Demand is a number that a tier asks for: it is met where Have is at least Need.
type Demand struct {
	Tier       int
	Weight     uint8
	What       string // as in the evidence
	Have, Need int64
}

// Met reports whether the number is as great as it must be.
func (d Demand) Met() bool { return d.Have >= d.Need }

// HeldBack is a reason why a tier does not fire that no number of its demands tells.
type HeldBack struct {
	Tier  int
	By    string // what holds it back: "cooldown"
	Until int64  // event time, Unix ms; 0: no time ends it
}

// Adjustable is a [rules.Spec] whose demands can be raised, to find out which would
// not have been met. A detector without it has its firings explained by events alone.
type Adjustable interface {
	rules.Spec
	// Raised is the spec of the same rule with no tier asking for less than need of
	// what ([Demand].What), nil where that cannot be had. The spec is not changed.
	Raised(what string, need int64) rules.Spec
}

// Environment is what detectors of one partition share.
type Environment struct {
	Lateness int64 // ms after the watermark in which an event still counts
	Hasher   Hasher
}

// Hasher turns a text into a number under a secret key, so that nobody can
// choose values that count as one.
type Hasher interface{ Text(s string) uint64 }

// spec is the parameters of a detector of this package.
type spec interface {
	rules.Spec
	detector(Environment) Detector
}

// Maker is a [rules.Spec] of another package that makes its detector itself.
type Maker interface{ Detector(Environment) Detector }

// New makes the detector of a rule.
func New(r *rules.Rule, e Environment) (Detector, error) {
	switch s := r.Spec.(type) {
	case spec:
		return s.detector(e), nil
	case Maker:
		return s.Detector(e), nil
	}
	return nil, fmt.Errorf("rule %s: there is no detector for %T", r.ID, r.Spec)
}
