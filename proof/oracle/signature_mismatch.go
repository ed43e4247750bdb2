package oracle

import (
	"slices"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// suspect is the state of one rule for one entity, as described in
// docs/detectors/signature_mismatch.md.
type suspect struct {
	rule *detectors.SignatureMismatch
	onlooker

	checks   []check // in the window that ends with the newest pane
	newest   int64
	passedAs *cohortName // first cohort at the last pass
	passedAt int64
	weight   uint8 // of the last firing
	firedAt  int64
}

// check is an event whose check passed or failed.
type check struct {
	pane  int64
	fails bool
}

// panesOf is the number of panes in a window.
const panesOf = 10

func (s *suspect) change(r rules.Spec) {
	s.rule = r.(*detectors.SignatureMismatch)
	s.terms = terms{s.rule.Cohorts, s.rule.Wait, s.rule.Usual, s.rule.Peers, s.rule.BrokenShare}
}

func newSuspect(r *detectors.SignatureMismatch, hasher facet.Hasher) *suspect {
	s := &suspect{onlooker: newOnlooker(hasher)}
	s.change(r)
	return s
}

func (s *suspect) arrive(a arrival) (*firing, bool) {
	fails := s.rule.Fails.Holds(a.event)
	if !fails && !s.rule.Passes.Holds(a.event) {
		return nil, false
	}
	pane := a.time / (s.rule.Window.Milliseconds() / panesOf)
	if pane <= s.newest-panesOf {
		return nil, false
	}
	s.newest = max(s.newest, pane)
	s.checks = append(s.checks, check{pane, fails})
	s.checks = slices.DeleteFunc(s.checks, func(c check) bool { return c.pane <= s.newest-panesOf })

	worst := s.tier()
	failed, share := s.share()
	least := min(2, s.rule.Tiers[0].At)
	suspicious := failed >= least && share >= s.rule.MinShare
	var opinions []hearing
	if !fails || suspicious {
		opinions = s.takePart(a, suspicious, fails, s.alone())
		if first := s.stands[s.rule.Cohorts[0]]; !fails && a.cohort(s.rule.Cohorts[0]) != nil {
			name := first.name
			s.passedAs, s.passedAt = &name, a.time
		}
	}
	if !fails || worst < 0 {
		return nil, fails
	}
	v := judge(opinions)
	weight, ok := s.allowed(worst, v, a.time)
	if !ok {
		return nil, true
	}
	if !v.now {
		if *a.timer == 0 {
			*a.timer = a.time + s.rule.Wait.Milliseconds()
		}
		return nil, true
	}
	*a.timer = 0
	return s.fire(worst, weight, v, a.time), true
}

func (s *suspect) due(a arrival) *firing {
	worst := s.tier()
	if worst < 0 {
		return nil
	}
	v := judge(s.comeBack(a, s.alone()))
	weight, ok := s.allowed(worst, v, a.time)
	if !ok {
		return nil
	}
	return s.fire(worst, weight, v, a.time)
}

// share returns the number of failed checks, and their percentage, rounded down.
func (s *suspect) share() (failed, percent int) {
	for _, c := range s.checks {
		if c.fails {
			failed++
		}
	}
	if failed == 0 {
		return 0, 0
	}
	return failed, 100 * failed / len(s.checks)
}

func (s *suspect) tier() int {
	failed, share := s.share()
	if failed == 0 || share < s.rule.MinShare {
		return -1
	}
	best := -1
	for i, t := range s.rule.Tiers {
		if failed >= t.At {
			best = i
		}
	}
	return best
}

// alone returns the end of the first pane of the window in which the entity failed.
func (s *suspect) alone() int64 {
	pane := s.newest
	for _, c := range s.checks {
		if c.fails {
			pane = min(pane, c.pane)
		}
	}
	return (pane + 1) * (s.rule.Window.Milliseconds() / panesOf)
}

// allowed returns the weight that may fire, if any may.
func (s *suspect) allowed(tier int, r ruling, now int64) (weight uint8, ok bool) {
	w := int(s.rule.Tiers[tier].Weight)
	cooled := func(w int) bool { return w > int(s.weight) || now-s.firedAt >= s.rule.Cooldown.Milliseconds() }
	if !cooled(w) || r.broken {
		return 0, false
	}
	if r.hearing == nil {
		w = w * s.rule.UnjudgedPercent / 100
	}
	first := s.stands[s.rule.Cohorts[0]]
	changed := s.passedAs != nil && now-s.passedAt < s.rule.Memory.Milliseconds() && (first == nil || *s.passedAs != first.name)
	if changed && !r.first || w == 0 || !cooled(w) {
		return 0, false
	}
	return uint8(w), true
}

func (s *suspect) fire(tier int, weight uint8, r ruling, now int64) *firing {
	s.weight, s.firedAt = weight, now
	failed, share := s.share()
	f := &firing{tier: tier, weight: weight, evidence: []facet.Evidence{
		facet.Number("failures", int64(failed)),
		facet.Number("threshold", int64(s.rule.Tiers[tier].At)),
		facet.Number("share_percent", int64(share)),
	}}
	f.evidence = append(f.evidence, r.evidence()...)
	return f
}
