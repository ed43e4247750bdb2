package rules

import (
	"fmt"
	"slices"
	"strings"
)

// scenarioKey describes a test of all rules together.
func scenarioKey() Key {
	entity := TextKey("entity", Required, 1000, "the entity, as kind:key, such as account:ann; the key may contain {n}, see repeat")
	return ObjectKey("", Required, "one scenario: events of anybody, through all rules",
		TextKey("name", Required, 200, "a sentence that says what happens"),
		ListKey("rules", Optional, 1, maxRules, "ids of the rules whose signals are checked; default: all. Scores always include all rules", TextKey("", Required, 64, "id of a rule")),
		eventsKey(),
		ListKey("expect", Required, 0, 1000, "what there must be about whom; no other entity may get a signal", ObjectKey("", Required, "one entity, or a series of them",
			entity,
			CountKey("repeat", Optional, 1, MostMembers, "number of entities; {n} and {n%7} in their keys stand for the number of the entity"),
			ListKey("signals", Optional, 0, maxRules, "the signals that rules must give it, and no others; default: its signals are not checked", ObjectKey("", Required, "one rule",
				TextKey("rule", Required, 64, "id of the rule"),
				CountKey("weight", Required, 1, 100, "weight of the heaviest of its signals"),
				CountKey("times", Optional, 1, maxSeries, "number of signals; default: any"),
				TextKey("group", Optional, 1000, "kind:key of the group through which it is told"))),
			Key{name: "score", form: countForm, required: Optional, max: 100, doc: "points when the scenario ends, at the time of its latest event"},
			ListKey("reasons", Optional, 0, 100, "reason codes when the scenario ends, the greatest contribution first", TextKey("", Required, 64, "a reason code")))))
}

// scenario reads a test of all rules of a set together.
func (r *reader) scenario(v *value, set *Set) Test {
	t := Test{Name: v.get("name").str(), Line: v.node.Line, Events: r.steps(v)}
	for _, id := range v.get("rules").list() {
		r.ruleOf(id, set)
		t.Only = append(t.Only, id.str())
	}
	seen := map[Subject]bool{}
	for _, x := range v.get("expect").list() {
		for n := range max(x.get("repeat").int(), 1) {
			one, ok := r.expectOf(x, n+1, set)
			if !ok {
				break
			}
			if seen[one.Subject] {
				r.node(x.get("entity").node, fmt.Sprintf("%q is expected twice", one.Subject), "put all that is expected of it into one entry, or {n} into the keys of a series")
				break
			}
			seen[one.Subject] = true
			t.Expect = append(t.Expect, one)
		}
	}
	return t
}

// expectOf returns the expectation for the n-th entity of a series.
func (r *reader) expectOf(x *value, n int, set *Set) (one Expect, ok bool) {
	if one.Subject, ok = r.subject(x.get("entity"), n); !ok {
		return one, false
	}
	one.Any, one.Score = !x.has("signals"), Whatever
	if x.has("score") {
		one.Score = x.get("score").int()
	}
	if x.has("reasons") {
		one.Reasons = []string{}
	}
	for _, reason := range x.get("reasons").list() {
		one.Reasons = append(one.Reasons, reason.str())
	}
	for _, s := range x.get("signals").list() {
		want := ExpectSignal{Rule: s.get("rule").str(), Weight: uint8(s.get("weight").int()), Times: s.get("times").int()}
		if !r.ruleOf(s.get("rule"), set) {
			return one, false
		}
		if s.has("group") {
			if want.Group, ok = r.subject(s.get("group"), n); !ok {
				return one, false
			}
		}
		one.Signals = append(one.Signals, want)
	}
	return one, true
}

// subject reads kind:key of the n-th entity of a series.
func (r *reader) subject(v *value, n int) (s Subject, ok bool) {
	if v == nil {
		return s, false // reported
	}
	text, err := numbered(v.text, n)
	if err != nil {
		r.node(v.node, err.Error(), "write a whole number from 1 behind the percent sign; where the bracket is to stand for itself, write {{} for it")
		return s, false
	}
	if s, ok = ParseSubject(text); !ok {
		r.node(v.node, fmt.Sprintf("%q names no entity", v.text), "write its kind, a colon and its key, such as account:ann; kinds are "+strings.Join(kindNames(), ", "))
	}
	return s, ok
}

// ruleOf reports an id that no rule of the set has.
func (r *reader) ruleOf(v *value, set *Set) (ok bool) {
	if v == nil {
		return false // reported
	}
	if set.Rule(v.text) != nil {
		return true
	}
	var ids []string
	for _, rule := range set.Rules {
		ids = append(ids, rule.ID)
	}
	slices.Sort(ids)
	r.node(v.node, fmt.Sprintf("there is no rule %q", v.text), didYouMean(v.text, ids))
	return false
}
