// Package score turns signals into a risk that decays, with its reasons.
//
// A score is a short list of contributions, one per rule. The list is stored, and
// the score is computed when it is read. So nothing has to sweep, and the same list
// read at the same moment gives the same number on every machine, because all
// arithmetic is on integers.
//
// The package keeps no state, does no I/O and reads no clock.
package score

import (
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// MaxContributions is the number of contributions that an entity keeps.
const MaxContributions = 8

// Contribution is one rule's part of an entity's score.
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
// Without contributions, it means that the score was cleared.
type Update struct {
	Entity        facet.Entity
	Position      Position
	Contributions []Contribution // by rule

	// Expires is the minimum expiry of the stored value (Unix milliseconds), if it
	// is later than that of its contributions. A clearing sets it to when the score
	// would have expired, so that an older value which is written late is refused
	// for as long as it could matter.
	Expires int64
}
