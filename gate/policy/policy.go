// Package policy says what is to be done with a request, by the risk of the entities
// behind it: which action follows from which score, on which routes, for which part of
// the users, and what happens where the risk is not known.
//
// It reads and checks a file, and decides. It looks nothing up and looks at no clock.
package policy

import (
	"time"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Set is the policies of a file. It is not to be changed.
type Set struct {
	// Version names the file's content: 16 hexadecimal digits.
	Version  string
	Policies []Policy // in order; the last one is for every request
	Tests    []Test
}

// Policy says what happens to the requests that it is for.
type Policy struct {
	ID    string
	Title string
	Line  int // in its file

	When  condition.Predicate // nil: every request
	Share Share               // the zero value: all of them

	Phase      rules.Phase // how far it may go, whatever the rules say
	Score      Thresholds  // of the score over all categories
	Categories []CategoryThresholds
	Always     Action // the mildest action, whatever the score

	Failure       Failure
	FailureAction Action        // where nothing is known
	Budget        time.Duration // longest time to look risk up
	RetryAfter    time.Duration // how long a throttled client is told to wait; whole seconds
}

// CategoryThresholds are those of the score in one category.
type CategoryThresholds struct {
	Category string
	Thresholds
}

// Failure is what a policy does where risk cannot be looked up.
type Failure uint8

const (
	Open          Failure = iota // as if nothing were known against anybody
	Closed                       // FailureAction, or more where more is known
	LastKnownGood                // by what was known last; FailureAction where that is nothing
)

var failureNames = [...]string{Open: "open", Closed: "closed", LastKnownGood: "last_known_good"}

// String is the name in files and answers.
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

// Action is what a score calls for by itself.
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

// Level is how high a score is, for people: low, medium, high or critical.
type Level string

const (
	Low      Level = "low"      // below the threshold of throttling
	Medium   Level = "medium"   // below that of step-up
	High     Level = "high"     // below that of denying
	Critical Level = "critical" // from that of denying
)

// Level is that of a score.
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

// strictestSoft is as far as a rule may go that is still being tried out.
const strictestSoft = StepUp

// Risk is what is known of a request: of each figure the highest of its entities.
// The zero value is that nothing is held against it.
type Risk struct {
	All     score.Scores // of rules in any phase
	Acting  score.Scores // of those that may act at all; no less than Enforce
	Enforce score.Scores // of those that may act fully
}

// Add takes in what is known of one entity at now (Unix milliseconds).
func (r *Risk) Add(list []score.Contribution, now int64) {
	all, acting, enforce := score.At(list, now), score.AtLeast(rules.Soft, list, now), score.AtLeast(rules.Enforce, list, now)
	acting.Raise(&enforce) // a rule on trial lowers nothing that acts fully
	r.All.Raise(&all)
	r.Acting.Raise(&acting)
	r.Enforce.Raise(&enforce)
}

// Action is what a risk calls for where the phase does not matter: rules in phase
// enforce act fully, soft ones up to step-up, observed ones never.
func (p *Policy) Action(r *Risk) Action {
	return max(p.Always, p.calledFor(&r.Enforce), min(p.calledFor(&r.Acting), strictestSoft))
}

// Enforced is [Policy.Action] of the rules in phase enforce alone.
func (p *Policy) Enforced(r *Risk) Action { return max(p.Always, p.calledFor(&r.Enforce)) }

func (p *Policy) calledFor(s *score.Scores) Action {
	a := p.Score.Action(s.Total.Points())
	for i := range p.Categories {
		c := &p.Categories[i]
		a = max(a, c.Action(s.Category(c.Category).Points()))
	}
	return a
}

// Unknown is what is called for where not all is known of the risk. known says that
// something is, be it from earlier.
func (p *Policy) Unknown(known bool) Action {
	if p.Failure == Open || p.Failure == LastKnownGood && known {
		return Allow
	}
	return p.FailureAction
}

// Limit is the strictest action of a phase.
func Limit(phase rules.Phase) Action {
	switch phase {
	case rules.Observe:
		return Allow
	case rules.Soft:
		return strictestSoft
	}
	return Deny
}

// Request is what policies see of one.
type Request struct {
	Event    *event.Event // its fields, as far as they are known
	Entities []facet.Entity
}

// For is the first policy that is for a request. in says which shares it is in.
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

// Current is the set itself: policies that never change.
func (s *Set) Current() *Set { return s }

// Last is the policy for requests that no other is for.
func (s *Set) Last() *Policy { return &s.Policies[len(s.Policies)-1] }

// Knowledge is how much of a risk is known.
type Knowledge struct {
	Whole   bool // all of it, and not from too long ago
	Earlier bool // what is missing was known earlier, and is in the risk
}

// Outcome is what a policy decides.
type Outcome struct {
	Action Action
	Would  Action      // if every phase were enforce
	Phase  rules.Phase // how far it may go
}

// Decide is what becomes of a request with a risk. Nothing goes further than limit,
// whatever the policy says. A policy that does not go by what was known earlier is not
// to be given that.
func (p *Policy) Decide(r *Risk, k Knowledge, limit rules.Phase) Outcome {
	o := Outcome{Would: p.Action(r), Phase: min(p.Phase, limit)}
	if !k.Whole {
		o.Would = max(o.Would, p.Unknown(k.Earlier))
	}
	o.Action = min(o.Would, Limit(o.Phase))
	return o
}
