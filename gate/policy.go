package gate

import (
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// strictestSoft is the strictest action of a rule on trial.
const strictestSoft = StepUp

// action returns the action for a score by itself.
func (p Policy) action(points int) Action {
	switch {
	case points >= p.Deny:
		return Deny
	case points >= p.StepUp:
		return StepUp
	case points >= p.Challenge:
		return Challenge
	case points >= p.Throttle:
		return Throttle
	case points >= p.Tag:
		return Tag
	}
	return Allow
}

func (p Policy) level(points int) Level {
	switch {
	case points >= p.Deny:
		return Critical
	case points >= p.StepUp:
		return High
	case points >= p.Throttle:
		return Medium
	}
	return Low
}

// risk holds the risk of a request: for each figure the highest of its entities.
type risk struct {
	all     score.Scores // of rules in any phase
	acting  score.Scores // of those that may act at all; no less than enforce
	enforce score.Scores // of those that may act fully
}

func (r *risk) add(list []score.Contribution, now int64) {
	all, acting, enforce := score.At(list, now), score.AtLeast(rules.Soft, list, now), score.AtLeast(rules.Enforce, list, now)
	acting.Raise(&enforce) // a rule on trial lowers nothing that acts fully
	r.all.Raise(&all)
	r.acting.Raise(&acting)
	r.enforce.Raise(&enforce)
}

// decide returns the action for a risk: enforce rules act fully, soft ones up to
// step-up, observe ones never.
func (p Policy) decide(r *risk) Action {
	return max(p.action(r.enforce.Total.Points()), min(p.action(r.acting.Total.Points()), strictestSoft))
}

// Decide returns the action for a list of contributions to one entity's score at
// now (Unix ms), if the gate itself is not limited by a phase.
func (p Policy) Decide(list []score.Contribution, now int64) Action {
	var r risk
	r.add(list, now)
	return p.decide(&r)
}

// Enforced is [Policy.Decide] for the rules in phase enforce alone.
func (p Policy) Enforced(list []score.Contribution, now int64) Action {
	enforce := score.AtLeast(rules.Enforce, list, now)
	return p.action(enforce.Total.Points())
}

// limit returns the strictest action of a phase.
func limit(phase rules.Phase) Action {
	switch phase {
	case rules.Observe:
		return Allow
	case rules.Soft:
		return strictestSoft
	}
	return Deny
}
