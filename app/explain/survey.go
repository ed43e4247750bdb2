package explain

import (
	"strings"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/internal/facet"
)

// survey finds out who is to be explained if nobody was named: those for whom a rule
// fired, and for each rule that never did the entity that came nearest. It keeps
// nothing about the others, so that its memory does not grow with their events.
type survey struct {
	within  func(t int64) bool // whether an event time is within the bounds
	fired   map[caseKey]bool
	order   []caseKey // of those that fired, in the order of their first firing
	loud    map[string]bool
	nearest map[string]nearestCase // by rule
	rules   []string               // of nearest, in the order of their first event
}

// nearestCase is the entity that came nearest to a rule's mildest tier.
type nearestCase struct {
	entity facet.Entity
	met    float64 // as in [nearest]; -1: nothing is known
}

func newSurvey(within func(t int64) bool) *survey {
	return &survey{within: within, fired: map[caseKey]bool{}, loud: map[string]bool{}, nearest: map[string]nearestCase{}}
}

// watch records how a rule handled an event.
func (s *survey) watch(t engine.Trace) {
	rule := t.Rule.ID
	if t.Timer && !t.Fired || !s.within(t.Time) {
		return // the event was seen before, or is not to be shown
	}
	if t.Fired {
		key := caseKey{rule, t.Entity}
		if !s.fired[key] {
			key.entity = cloned(t.Entity)
			s.fired[key] = true
			s.order = append(s.order, key)
		}
		s.loud[rule] = true
		delete(s.nearest, rule)
		return
	}
	if s.loud[rule] {
		return
	}
	best, known := s.nearest[rule]
	if !known {
		best = nearestCase{cloned(t.Entity), -1}
		s.nearest[rule] = best
		s.rules = append(s.rules, rule)
	}
	if !t.Kept || t.Late {
		return
	}
	if tiers := byTier(t.Explain().Demands); len(tiers) > 0 {
		if met, _ := parts(tiers[0]); met > best.met {
			s.nearest[rule] = nearestCase{cloned(t.Entity), met}
		}
	}
}

// chosen returns at most a number of cases to explain, and how many are left out.
func (s *survey) chosen(most int) (chosen map[caseKey]bool, leftOut int) {
	all := s.order
	for _, rule := range s.rules {
		if n, ok := s.nearest[rule]; ok {
			all = append(all, caseKey{rule, n.entity})
		}
	}
	chosen = map[caseKey]bool{}
	for _, key := range all[:min(len(all), most)] {
		chosen[key] = true
	}
	return chosen, len(all) - len(chosen)
}

// cloned copies an entity whose texts will change.
func cloned(e facet.Entity) facet.Entity {
	return facet.Entity{Kind: e.Kind, Tenant: strings.Clone(e.Tenant), Key: strings.Clone(e.Key)}
}
