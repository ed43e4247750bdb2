package rules

import (
	"fmt"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

const maxExceptions = 50 // of a rule

// Exception states which matching events a rule's detector does not see.
type Exception struct {
	Holds         condition.Predicate
	Owner, Reason string
	Expires       int64 // event time from which on it does not hold, Unix ms
	Line          int

	condition *condition.Condition
}

// Excepts returns the index of the first exception that matches an event; -1 if
// there is none.
func (r *Rule) Excepts(e *event.Event) int {
	for i := range r.Exceptions {
		x := &r.Exceptions[i]
		if e.Num(event.Time) < x.Expires && x.Holds(e) {
			return i
		}
	}
	return -1
}

// Matches reports whether the detector should see an event.
func (r *Rule) Matches(e *event.Event) bool { return r.When(e) && r.Excepts(e) < 0 }

func exceptionsKey() Key {
	return ListKey("exceptions", Optional, 0, maxExceptions, "which events the detector does not see although they match; hits are counted", ObjectKey("", Required, "one exception",
		ConditionKey("when", Required, "which events are excepted"),
		TextKey("owner", Required, 200, "who is responsible for the exception"),
		TextKey("reason", Required, 1000, "why it is there"),
		MomentKey("expires", Required, "event time at which it expires")))
}

// exceptions reads the exceptions of a rule.
func (r *reader) exceptions(v *value) (all []Exception) {
	for _, x := range v.get("exceptions").list() {
		c, expires := x.get("when").condition(), x.get("expires")
		if c == nil || expires == nil {
			continue // reported
		}
		all = append(all, Exception{Holds: c.Holds, Owner: x.get("owner").str(), Reason: x.get("reason").str(), Expires: expires.num, Line: x.node.Line, condition: c})
	}
	return all
}

// hidden reports exceptions that cover every event that a positive test has for an
// entity that it expects. Running the tests finds those that hide less.
func (r *reader) hidden(rule *Rule, v *value) {
	list := v.get("exceptions").list()
	if len(list) != len(rule.Exceptions) {
		return // some are wrong, which was reported
	}
	for i := range rule.Exceptions {
		for t := range rule.Tests {
			if test := &rule.Tests[t]; rule.hides(i, test) {
				r.node(list[i].node, fmt.Sprintf("the exception hides what the test %q expects to be found", test.Name), "except less, or change the test if that is no abuse any more")
				break
			}
		}
	}
}

// hides reports whether an exception matches all matching events of an entity that
// a test expects.
func (r *Rule) hides(exception int, t *Test) bool {
	if len(t.Expect) == 0 {
		return false
	}
	x := &r.Exceptions[exception]
	seen, left := map[string]bool{}, map[string]bool{}
	for _, at := range t.Expand() {
		e := at.Event
		entity, ok := facet.EntityOf(r.Entity, e, nil)
		if !ok || e.Refused() || !r.When(e) {
			continue
		}
		seen[entity.Key] = true
		if e.Num(event.Time) >= x.Expires || !x.Holds(e) {
			left[entity.Key] = true
		}
	}
	for _, want := range t.Expect {
		if seen[want.Key] && !left[want.Key] {
			return true
		}
	}
	return false
}

// canonicalExceptions writes the effect of the exceptions, without owner and
// reason.
func (r *Rule) canonicalExceptions() (s string) {
	for _, x := range r.Exceptions {
		s += fmt.Sprintf(" except %q %d", x.condition.Canonical, x.Expires)
	}
	return s
}
