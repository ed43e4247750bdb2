// Package detectors holds the algorithms that rules parameterise: pure functions of
// one entity's state and one event, without clock, randomness or look-ups.
//
// A detector is one file: its rule keys, its parameters, and its algorithm. No
// other package depends on a particular detector. The package knows neither scores
// nor where state is kept.
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
		DriftKind(),
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

// Detector applies one rule. One goroutine uses it, for the entities of many
// records in turn; calls never overlap.
type Detector interface {
	// Apply shows an event that matches the rule's condition. It returns true if
	// the rule fires, and has then filled in f; otherwise the content of f is
	// undefined.
	Apply(c *Context, f *Firing) bool

	// Fit adapts a payload to the detector's settings: in place, cut down to what
	// the rule keeps if former settings kept more. It returns false if the payload
	// is not of the detector's form.
	Fit(payload []byte) (kept []byte, ok bool)

	// Explain describes the state in a payload after an event at a time (Unix ms),
	// and the demands of each tier. A nil payload is an empty state. It is for
	// people: it may allocate, and changes nothing.
	Explain(payload []byte, at int64) Explanation
}

// Timed is a detector that also acts when time has passed.
type Timed interface {
	Detector

	// Due is called at the time of an entity's timer: no event at or before that
	// time can be on time any more. c.Time is the time of the timer, which is used
	// up; c.Source and c.Offset name the event that set it, and c.Event is empty.
	// Due may set the timer again. It returns true if the rule fires, as Apply
	// does.
	Due(c *Context, f *Firing) bool
}

// Comparing is a detector that keeps state of cohorts.
type Comparing interface {
	Detector

	// FitCohort is Fit for the state of a cohort.
	FitCohort(by event.Field, payload []byte) (kept []byte, ok bool)
}

// Cohort is a rule's state of the entities that share a value, in this facet
// partition. They are a fair sample of all, because a keyed hash spreads entities.
// Late events do not prolong it.
type Cohort interface {
	Slot

	// Say publishes this partition's verdict on the cohort, from 1 on, to all facet
	// partitions; 0 withdraws it. Call it with every event: only changes are
	// published, at most once in [rules.KeepsOfCohort] Verdicts.
	Say(level uint8)

	// Said returns how many facet partitions have given at least this level, at
	// most [rules.MostVerdicts].
	Said(level uint8) int

	// Key identifies the cohort for [Context.Recall].
	Key() uint64
}

// Slot holds a detector's state of one entity under one rule.
type Slot interface {
	// Payload returns the state, in place; nil at first.
	Payload() []byte
	// Resize changes the payload's size; new bytes are zero. It returns nil if
	// there is no room, which does not happen with rules that were loaded.
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

	// Cohort returns the rule's state of the entities with the event's value of a
	// field: build, app_version, route, asn, country, os or device_model. It is nil
	// if the event has no value, or there is no room. It is valid until Apply
	// returns, and may be called for several fields, which must be among those of
	// the Spec.
	Cohort func(by event.Field) Cohort

	// Recall returns to a cohort by the [Cohort.Key] of an earlier event, in Apply
	// and in Due. It creates none, and prolongs none: it is nil if the cohort is
	// forgotten. It is valid until the next call. The cohort cannot get a verdict
	// this way, because its name is unknown.
	Recall func(key uint64) Cohort

	// Counts is set by the detector, whether the rule fires or not: the event
	// contributes to what the rule looks for. Groups remember the members that
	// these events name.
	Counts bool

	// Timer is when Due should be called for the entity, Unix ms; 0 if no timer is
	// set. The detector may change it; there is one timer per entity and rule. It
	// is moved to be after Time, and at most [rules.Keeps] Ahead of it. A late
	// event may clear a timer, and cannot set one.
	Timer int64
}

// Firing describes a firing of a rule. It is reused, so that Evidence has room.
type Firing struct {
	Tier     int   // from 0, the mildest
	Weight   uint8 // 0..100; 0 changes no score
	Evidence []facet.Evidence

	// Clears withdraws the rule's finding about the entity, up to the event's time:
	// its contribution to the score is removed. Weight and asks are then ignored.
	// The engine sets it to false before each event.
	Clears bool
}

// Explanation describes a rule's state of an entity after an event, and the rule's
// demands. `weir rules explain` knows nothing else about a detector.
type Explanation struct {
	// First and Last are the event times (Unix ms) of the stretch whose events
	// contribute: of a window, or of the two ends of a path. Among the entity's
	// events in it, those that set [Context.Counts] are shown as contributing. Last
	// is less than First if the state is empty.
	First, Last int64

	// Held describes the state, as the evidence of a firing does.
	Held []facet.Evidence

	// Demands are all numbers that tiers demand, whether met or not: first the
	// number that the tier waits for, then the others. A demand of the whole rule
	// is repeated for each tier.
	Demands []Demand

	// HeldBack says what keeps a tier whose demands are met from firing. It is
	// ignored if the event made the rule fire.
	HeldBack []HeldBack
}

// Demand is a number that a tier demands: it is met if Have is at least Need.
type Demand struct {
	Tier       int
	Weight     uint8
	What       string // as in the evidence
	Have, Need int64
}

// Met reports whether the demand is met.
func (d Demand) Met() bool { return d.Have >= d.Need }

// HeldBack is a reason why a tier does not fire other than its demands.
type HeldBack struct {
	Tier  int
	By    string // what holds it back: "cooldown"
	Until int64  // event time, Unix ms; 0: no time ends it

	// Demands are the numbers that hold it back, if numbers do. What is "" where there
	// are fewer.
	Demands [2]Demand
}

// Adjustable is a [rules.Spec] whose demands can be raised, to find out which would
// not have been met. Without it, firings are explained by events alone.
type Adjustable interface {
	rules.Spec
	// Raised returns the spec of the same rule in which no tier demands less than
	// need of what ([Demand].What); nil if that is impossible. It does not change
	// the spec.
	Raised(what string, need int64) rules.Spec
}

// Environment is shared by the detectors of one partition.
type Environment struct {
	Lateness int64 // ms after the watermark in which an event still counts
	Hasher   Hasher
}

// Hasher turns a text into a number under a secret key, so that nobody can
// choose values that count as one.
type Hasher interface{ Text(s string) uint64 }

// spec is implemented by the parameters of a detector of this package.
type spec interface {
	rules.Spec
	detector(Environment) Detector
}

// Maker is a [rules.Spec] of another package that creates its detector itself.
type Maker interface{ Detector(Environment) Detector }

// New creates the detector of a rule.
func New(r *rules.Rule, e Environment) (Detector, error) {
	switch s := r.Spec.(type) {
	case spec:
		return s.detector(e), nil
	case Maker:
		return s.Detector(e), nil
	}
	return nil, fmt.Errorf("rule %s: there is no detector for %T", r.ID, r.Spec)
}
