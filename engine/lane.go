package engine

import (
	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/rules"
)

// active is a compiled rule with its detector.
type active struct {
	rule     *rules.Rule
	detector detectors.Detector
	timed    detectors.Timed // nil: it sets no timers
	ahead    int64           // ms that a timer may be set ahead
	cohort   cohortKeeps
	members  *detectors.Members // nil: its entities are no groups
	reach    int64              // ms that an event matters
	after    int64              // ms that a firing holds back others
	hits     []uint64           // of the rule's exceptions, until they were told
}

// lane is a set of rules with its state. Every partition has a live lane, which
// gives scores, and may have a shadow lane, which is only observed. The shadow lane
// has its own table, so that it cannot affect the live one.
type lane struct {
	rules    *rules.Set
	byKind   [facet.MaxKind][]active           // in order of id
	matchers [facet.MaxKind]*condition.Matcher // of these rules
	excepts  [facet.MaxKind]bool               // whether any of them has exceptions
	bySlot   map[uint32]*rules.Rule            // looked up only, never walked

	// The number of the switch record that brought the rules; zero if the owner
	// brought them.
	number uint64
	bundle []byte

	table   *state.Table
	current entity   // of the facet that is applied
	slot    ruleSlot // of the current entity
	context detectors.Context
	matched []int // places in byKind, of the rules that the facet matches
	firing  detectors.Firing
	trace   func(Trace) // nil: nobody looks
	timers  timers
	cohorts cohorts
}

// use compiles a set of rules. It does not change the state.
func (l *lane) use(set *rules.Set, env detectors.Environment) error {
	l.rules, l.bySlot = set, map[uint32]*rules.Rule{}
	for k := range l.byKind {
		l.matchers[k] = set.Matcher(facet.Kind(k))
		l.byKind[k], l.excepts[k] = nil, false
	}
	for _, r := range set.Rules {
		d, err := detectors.New(r, env)
		if err != nil {
			return err
		}
		a := active{
			rule: r, detector: d, members: detectors.NewMembers(r, env.Lateness), reach: r.Spec.Keeps().Reach.Milliseconds(), after: r.Spec.Keeps().After.Milliseconds(),
			hits: make([]uint64, len(r.Exceptions)),
		}
		a.setTimed()
		a.cohort = cohortKeepsOf(r)
		l.byKind[r.Entity] = append(l.byKind[r.Entity], a)
		l.excepts[r.Entity] = l.excepts[r.Entity] || len(r.Exceptions) > 0
		l.bySlot[r.Slot] = r
	}
	l.slot.rec = &l.current.Record
	l.context.Own = &l.slot
	return nil
}

// horizon returns how long the last matched facet matters to any of its rules, in
// ms.
func (l *lane) horizon(k facet.Kind) (longest int64) {
	for _, i := range l.matched {
		longest = max(longest, l.byKind[k][i].reach)
	}
	return longest
}

// ruleSlot gives a detector its part of an entity's record.
type ruleSlot struct {
	rec *state.Record
	id  uint32
}

func (s *ruleSlot) Payload() []byte     { return s.rec.Slot(s.id) }
func (s *ruleSlot) Resize(n int) []byte { return s.rec.Resize(s.id, n) }

// ruleOf finds the rule of a slot; nil if there is none.
func (l *lane) ruleOf(kind facet.Kind, slot uint32) *active {
	if !kind.Exists() {
		return nil
	}
	for i := range l.byKind[kind] {
		if a := &l.byKind[kind][i]; a.rule.Slot == slot || a.members != nil && a.rule.Members.Slot == slot {
			return a
		}
	}
	return nil
}
