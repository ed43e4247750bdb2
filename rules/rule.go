// Package rules turns YAML into checked, compiled detection rules: what an
// analyst writes on one side, what the engine runs on the other.
//
// It detects nothing and keeps no state: a rule says which events matter, which
// detector looks at them and what is said when it fires. Who has an engine runs
// the rules, and the tests that stand in their files.
package rules

import (
	"time"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// MostMembers is how many members of a group one firing names: those that came
// last.
const MostMembers = 32

// Members says who belongs to a group.
type Members struct {
	Entity facet.Kind
	Weight uint8  // of a member's signal, 1..100
	Slot   uint32 // names what the group remembers of them
}

// Rule is one compiled rule. It is not to be changed once it is in a set.
type Rule struct {
	ID, Title, Description string

	Entity   facet.Kind
	When     condition.Predicate // which events the detector sees; never nil
	Detector string              // its name
	Spec     Spec                // the detector's parameters; never nil

	// Exceptions are the events that match and that the detector does not see.
	Exceptions []Exception

	// Members says that the entity is a group: when the rule fires, entities of
	// another kind that its counted events named get a signal too. Nil: it is none.
	Members *Members

	Category string        // one of Categories; AnyCategory only where the rule lowers
	Reason   string        // reason code: [a-z0-9_]{1,64}
	HalfLife time.Duration // of the signal's weight; whole seconds, 1 s to 30 days
	Phase    Phase
	Lowers   bool // the rule speaks for the entity: its weight lowers the score
	Asks     Asks

	// Slot names the rule's state: a hash of id, entity, detector and [Spec.State],
	// and of whether the rule lowers: what was said against somebody must not speak
	// for him when a rule is turned round.
	// Conditions, thresholds and weights are not in it, so that changing them keeps
	// what was counted.
	Slot uint32

	// Fields lists the event fields that the detector and the conditions read,
	// ascending.
	Fields []event.Field

	File  string // that the rule stands in
	Line  int
	Tests []Test

	// What does not change what the rule does.
	Severity string   // info to critical; "": not said
	Tags     []string // such as owasp:api2

	when *condition.Condition // of When; nil in a rule that was not loaded
}

// Set is all rules that run together.
type Set struct {
	// Version names the content: 16 hexadecimal digits that do not depend on
	// files, order, comments, documentation or tests.
	Version string
	Rules   []*Rule // by ID

	kinds []Kind // that it was loaded for
	files []bundled

	// Where things stand, for [Set.Warnings].
	built    []built
	expiring []expiring
}

// Projection says, per entity kind, which fields its rules read. Kinds that no
// rule looks at have none.
func (s *Set) Projection() facet.Projection {
	var p facet.Projection
	for _, r := range s.Rules {
		if p[r.Entity] == nil {
			p[r.Entity] = []event.Field{}
		}
		p[r.Entity] = mergeFields(p[r.Entity], r.Fields)
	}
	return p
}

// Matcher asks the rules of kind k at once. It finds places among them, which are
// in order of id.
func (s *Set) Matcher(k facet.Kind) *condition.Matcher {
	var all []*condition.Condition
	for _, r := range s.Rules {
		switch {
		case r.Entity != k:
		case r.when != nil:
			all = append(all, r.when)
		default:
			all = append(all, &condition.Condition{Holds: r.When})
		}
	}
	return condition.NewMatcher(all)
}
