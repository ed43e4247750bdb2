// Package policy decides on requests by the risk of their entities: which score
// leads to which action, on which routes, for which part of the users, and what
// happens if the risk is unknown.
//
// It reads and checks a file, and decides. It makes no look-ups, and does not use
// the clock.
package policy

import (
	"slices"
	"time"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Set holds the policies of a file. It is immutable.
type Set struct {
	// Version identifies the file's content: 16 hexadecimal digits.
	Version  string
	Policies []Policy // in order; the last one matches every request
	Limits   []RateLimit
	Tests    []Test
}

// Policy says what happens to matching requests.
type Policy struct {
	ID    string
	Title string
	Line  int // in the file

	When  condition.Predicate // nil: every request
	Share Share               // the zero value: everybody

	Phase      rules.Phase // limits the action, whatever the rules say
	Score      Thresholds  // for the score over all categories
	Categories []CategoryThresholds
	Always     Action // the minimum action, whatever the score

	Failure       Failure
	FailureAction Action        // if nothing is known
	Budget        time.Duration // time limit for looking up risk
	RetryAfter    time.Duration // told to a throttled client; whole seconds
}

// CategoryThresholds are the thresholds for the score in one category.
type CategoryThresholds struct {
	Category string
	Thresholds
}

// Failure is the behaviour of a policy if risk cannot be looked up.
type Failure uint8

const (
	Open          Failure = iota // as if there were no risk
	Closed                       // FailureAction, or a stricter action if the known part calls for it
	LastKnownGood                // by the last known scores; FailureAction if there are none
)

var failureNames = [...]string{Open: "open", Closed: "closed", LastKnownGood: "last_known_good"}

// String returns the name in files and answers.
func (f Failure) String() string {
	if int(f) >= len(failureNames) {
		return "unknown"
	}
	return failureNames[f]
}

// Thresholds holds the lowest score of each action, in points; 101 means never.
type Thresholds struct{ Tag, Throttle, Challenge, StepUp, Deny int }

// never is a threshold that no score reaches.
const never = 101

// Action returns the action for a score.
func (t *Thresholds) Action(points int) Action {
	switch {
	case points >= t.Deny:
		return Deny
	case points >= t.StepUp:
		return StepUp
	case points >= t.Challenge:
		return Challenge
	case points >= t.Throttle:
		return Throttle
	case points >= t.Tag:
		return Tag
	}
	return Allow
}

// Level describes a score for people: low, medium, high or critical.
type Level string

const (
	Low      Level = "low"      // below the threshold of throttle
	Medium   Level = "medium"   // below the threshold of step_up
	High     Level = "high"     // below the threshold of deny
	Critical Level = "critical" // at least the threshold of deny
)

// Level returns the level of a score.
func (t *Thresholds) Level(points int) Level {
	switch {
	case points >= t.Deny:
		return Critical
	case points >= t.StepUp:
		return High
	case points >= t.Throttle:
		return Medium
	}
	return Low
}

// strictestSoft is the strictest action of a rule in phase soft.
const strictestSoft = StepUp

// Risk is the known risk of a request: for each score, the maximum over its
// entities. The zero value means no risk.
type Risk struct {
	All     score.Scores // from rules in any phase
	Acting  score.Scores // from rules that may act; at least Enforce
	Enforce score.Scores // from rules that may act without limit
}

// Add adds the risk of one entity at now (Unix milliseconds).
func (r *Risk) Add(list []score.Contribution, now int64) {
	if len(list) == 0 { // most entities
		return
	}
	all := score.At(list, now)
	if !slices.ContainsFunc(list, func(c score.Contribution) bool { return c.Phase < rules.Enforce }) { // one score for all
		r.All.Raise(&all)
		r.Acting.Raise(&all)
		r.Enforce.Raise(&all)
		return
	}
	acting, enforce := score.AtLeast(rules.Soft, list, now), score.AtLeast(rules.Enforce, list, now)
	acting.Raise(&enforce) // a rule on trial must not lower the score of enforced rules
	r.All.Raise(&all)
	r.Acting.Raise(&acting)
	r.Enforce.Raise(&enforce)
}

// Action returns the action for a risk before any caps. Rules in phase enforce act
// without limit, soft ones up to step-up, and observed ones never.
func (p *Policy) Action(r *Risk) Action {
	return max(p.Always, p.calledFor(&r.Enforce), min(p.calledFor(&r.Acting), strictestSoft))
}

// Enforced is [Policy.Action] with only the rules in phase enforce.
func (p *Policy) Enforced(r *Risk) Action { return max(p.Always, p.calledFor(&r.Enforce)) }

func (p *Policy) calledFor(s *score.Scores) Action {
	a := p.Score.Action(s.Total.Points())
	for i := range p.Categories {
		c := &p.Categories[i]
		a = max(a, c.Action(s.Category(c.Category).Points()))
	}
	return a
}

// Unknown returns the action for incomplete risk. known says that part of it is
// known, possibly from earlier.
func (p *Policy) Unknown(known bool) Action {
	if p.Failure == Open || p.Failure == LastKnownGood && known {
		return Allow
	}
	return p.FailureAction
}

// Limit returns the strictest action of a phase.
func Limit(phase rules.Phase) Action {
	switch phase {
	case rules.Observe:
		return Allow
	case rules.Soft:
		return strictestSoft
	}
	return Deny
}

// Request is a request as policies see it.
type Request struct {
	Event    *event.Event // its known fields
	Entities []facet.Entity
}

// For returns the first policy that matches a request. in decides on shares.
func (s *Set) For(r Request, in Shares) *Policy {
	last := len(s.Policies) - 1
	for i := range last {
		p := &s.Policies[i]
		if (p.When == nil || p.When(r.Event)) && (p.Share.Of == 0 || in.Holds(p, r.Entities)) {
			return p
		}
	}
	return &s.Policies[last]
}

// Current returns the set itself: its policies never change.
func (s *Set) Current() *Set { return s }

// Last returns the policy for requests that no other policy matches.
func (s *Set) Last() *Policy { return &s.Policies[len(s.Policies)-1] }

// Knowledge says how much of the risk is known.
type Knowledge struct {
	Whole   bool // all of it is known and current
	Earlier bool // the missing part is in the risk as it was known earlier
}

// Outcome is the decision of a policy.
type Outcome struct {
	Action Action
	Would  Action      // the action if every phase were enforce
	Phase  rules.Phase // the phase that applies

	LimitedBy string // id of the strictest limit that refuses the request; the first of several
	limit     Action // what it calls for
}

// Decide decides on a request with a risk. limit caps the action, whatever the
// policy says. Earlier values must only be passed to a policy that uses them.
func (p *Policy) Decide(r *Risk, k Knowledge, limit rules.Phase) Outcome {
	o := Outcome{Would: p.Action(r), Phase: min(p.Phase, limit)}
	if !k.Whole {
		o.Would = max(o.Would, p.Unknown(k.Earlier))
	}
	o.Action = min(o.Would, Limit(o.Phase))
	return o
}
