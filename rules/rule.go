// Package rules turns YAML into checked, compiled detection rules: analysts write
// the former, and the engine runs the latter.
//
// It detects nothing and keeps no state. A rule states which events matter, which
// detector sees them and which signal it gives. Packages with an engine run the
// rules, and the tests in their files.
package rules

import (
	"time"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// MostMembers is the number of group members that one firing names: the most recent
// ones.
const MostMembers = 32

// Members describes the members of a group.
type Members struct {
	Entity facet.Kind
	Weight uint8                // of a member's signal, 1..100
	Within time.Duration        // members named longer ago are not told; 0: all in the window
	Cancel *condition.Condition // matching events that name a member no longer; nil: none
	Slot   uint32               // names what the group remembers of them
}

// MembersReach returns how long ago a member that is told may have been named.
func (r *Rule) MembersReach() time.Duration {
	reach := r.Spec.Keeps().Reach
	if r.Members.Within > 0 {
		reach = min(reach, r.Members.Within)
	}
	return reach
}

// Rule is one compiled rule. It must not change once it is in a set.
type Rule struct {
	ID, Title, Description string

	Entity   facet.Kind
	When     condition.Predicate // which events the detector sees; never nil
	Detector string              // its name
	Spec     Spec                // the detector's parameters; never nil

	// Exceptions are matching events that the detector does not see.
	Exceptions []Exception

	// Members means that the entity is a group: when the rule fires, entities of
	// another kind that its counted events named get a signal too. Nil: it is no
	// group.
	Members *Members

	Category string        // one of Categories; AnyCategory only where the rule lowers
	Reason   string        // reason code: [a-z0-9_]{1,64}
	HalfLife time.Duration // of the signal's weight; whole seconds, 1 s to 30 days
	Phase    Phase
	Lowers   bool // the rule speaks for the entity: its weight lowers the score
	Asks     Asks

	// Slot names the rule's state. It is a hash of id, entity, detector,
	// [Spec.State], and of whether the rule lowers, because a finding against an
	// entity must not speak for it after an edit. It does not contain conditions,
	// thresholds and weights, so that changing them keeps the counts.
	Slot uint32

	// Fields lists the event fields that the detector and the conditions read,
	// ascending.
	Fields []event.Field

	File  string // that the rule stands in
	Line  int
	Tests []Test

	// These do not affect the rule's behaviour.
	Severity string   // info to critical; "": not said
	Tags     []string // such as owasp:api2

	when *condition.Condition // of When; nil in a rule that was not loaded
}

// Set is a set of rules that run together.
type Set struct {
	// Version identifies the content: 16 hexadecimal digits that do not depend on
	// files, order, comments, documentation or tests.
	Version string
	Rules   []*Rule // by ID

	kinds    []Kind // that it was loaded for
	files    []bundled
	language *condition.Language
	opened   *opened // nil in a set that was not loaded

	// Places in the files, for [Set.Warnings].
	built    []built
	expiring []expiring

	routeClass func(*event.Event) string
}

// RouteClass returns what a request does, as conditions ask for it in route_class; "" if
// its route has no class.
func (s *Set) RouteClass(e *event.Event) string { return s.routeClass(e) }

// Projection states, per entity kind, which fields its rules read. Kinds without
// rules have none.
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

// Matcher matches all rules of kind k at once. It returns their indexes in order of
// id.
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
