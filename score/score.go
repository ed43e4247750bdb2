// Package score turns signals into a risk that decays, with its reasons.
//
// A score is a short list of contributions, one per rule. It is stored as it
// is, and is worked out when it is read: nothing has to sweep, and the same
// list read at the same moment gives the same number on every machine, because
// all of it is integers.
//
// The package keeps no state, does no I/O and looks at no clock.
package score

import (
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// MaxContributions is how many contributions an entity keeps.
const MaxContributions = 8

// Contribution is what one rule says of an entity.
type Contribution struct {
	Rule     string
	Category string // rules.AnyCategory only where it lowers
	Reason   string
	Phase    rules.Phase
	Lowers   bool  // it speaks for the entity
	Weight   uint8 // points at Time, 1 … 100
	HalfLife int64 // seconds, 1 … 2,592,000 (30 days)
	Time     int64 // event time, Unix milliseconds
}

// Update is the whole live score of an entity, absolute, never an increment.
// One without contributions says that the score was cleared.
type Update struct {
	Entity        facet.Entity
	Position      Position
	Contributions []Contribution // by rule

	// Expires keeps the stored value at least until then (Unix milliseconds),
	// where that is later than its contributions last. Whoever clears part of a score
	// sets it to when the score would have expired, so that an older value
	// which is written late is refused for as long as it could matter.
	Expires int64
}
