package rules

import (
	"fmt"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// build makes a rule from a file's value; nil if it has problems, found now or
// while it was read.
func (r *reader) build(v *value) *Rule {
	before := len(r.problems.List)
	signal := v.get("signal")
	rule := &Rule{
		ID: v.get("id").str(), Title: v.get("title").str(), Description: v.get("description").str(),
		Category: signal.get("category").str(), Reason: signal.get("reason").str(),
		HalfLife: signal.get("half_life").span(), Lowers: signal.get("effect").str() == "lowers",
	}
	rule.Entity, _ = facet.ParseKind(v.get("entity").str())
	rule.Phase, _ = ParsePhase(v.get("phase").str())
	if kind, params := r.kindOf(v); kind != nil {
		rule.Detector, rule.Spec = kind.Name, kind.Compile(params)
	}
	rule.Severity = v.get("severity").str()
	for _, t := range v.get("tags").list() {
		rule.Tags = append(rule.Tags, t.str())
	}
	rule.Exceptions = r.exceptions(v)
	rule.Members = r.members(v.get("members"), v.get("entity"), signal.has("asks"))
	r.halfLife(signal.get("half_life"))
	r.effect(rule, signal)
	for _, t := range v.get("tests").list() {
		rule.Tests = append(rule.Tests, r.test(t, rule))
	}
	r.sameNames(v.get("tests").list())
	when := v.get("when").condition()
	if when == nil || rule.Spec == nil || v.flawed || len(r.problems.List) > before {
		return nil
	}
	rule.When, rule.when = when.Holds, when
	rule.Fields = mergeFields(when.Fields, rule.Spec.Fields())
	for _, x := range rule.Exceptions {
		rule.Fields = mergeFields(rule.Fields, x.condition.Fields)
	}
	r.hidden(rule, v)
	if m := rule.Members; m != nil {
		rule.Fields = mergeFields(rule.Fields, facet.Names(m.Entity))
		if m.Cancel != nil {
			rule.Fields = mergeFields(rule.Fields, m.Cancel.Fields)
		}
		m.Slot = memberSlot(rule)
	}
	rule.Slot = slot(rule)
	return rule
}

// effect checks the effect of the rule's signals. The rule has its entity and its
// members already.
func (r *reader) effect(rule *Rule, signal *value) {
	if c := signal.get("category"); rule.Category == AnyCategory && !rule.Lowers {
		r.node(c.node, "a signal that raises the score is about one kind of abuse", "name the category; any is for effect: lowers")
	}
	var names []string
	for _, v := range signal.get("asks").list() {
		names = append(names, v.str())
	}
	rule.Asks, _ = ParseAsks(names) // names are those of the grammar, or reported
	known := rule.Entity != 0 && (rule.Members == nil || rule.Members.Entity != 0)
	if known && rule.Asks&Revoke != 0 && !revocable(rule.Entity) && (rule.Members == nil || !revocable(rule.Members.Entity)) {
		r.node(signal.get("asks").node, fmt.Sprintf("there is nothing to revoke of entity %s", rule.Entity),
			"ask for revoke in rules about a token, session or account, or about a group of them")
	}
}

// weight reads a weight. A weight of 0 is an error unless the signal asks for
// something.
func (r *reader) weight(v *value, asks bool) uint8 {
	if v != nil && v.num == 0 && !asks {
		r.node(v.node, "a signal of weight 0 changes nothing", "give it a weight from 1 to 100, or say what it asks for: asks: [notify] in signal")
	}
	return uint8(v.int())
}

func (r *reader) members(v, entity *value, asks bool) *Members {
	if v == nil {
		return nil
	}
	who := v.get("entity")
	if who != nil && entity != nil && who.text == entity.text {
		r.node(who.node, "the members of a group are not groups of their own kind", "name another kind of entity, or leave members out")
	}
	m := &Members{Weight: r.weight(v.get("weight"), asks)}
	if within := v.get("within"); within != nil {
		m.Within = within.span()
	}
	m.Cancel = v.get("cancel").condition()
	m.Entity, _ = facet.ParseKind(who.str())
	return m
}

func (r *reader) halfLife(v *value) {
	if v != nil && v.span()%time.Second != 0 {
		r.node(v.node, "a half life is a number of whole seconds", "leave the milliseconds out")
	}
}

// test reads a test of a rule, whose id and entity are known.
func (r *reader) test(v *value, rule *Rule) Test {
	t := Test{Name: v.get("name").str(), Line: v.node.Line, Rule: rule.ID, Kind: rule.Entity}
	if t.Events = r.steps(v); t.Events != nil {
		r.expect(&t, v)
	}
	return t
}

// steps reads the events of a test; nil if there are too many.
func (r *reader) steps(v *value) (all []Step) {
	events := 0
	for _, s := range v.get("events").list() {
		step := r.step(s)
		events, r.events = events+step.Repeat, r.events+step.Repeat
		if events > maxSeries || r.events > maxEvents {
			r.node(s.node, "too many events", fmt.Sprintf("at most %d are made for a test, and %d for all tests of a file", maxSeries, maxEvents))
			return nil
		}
		all = append(all, step)
	}
	return all
}

// expect reads the expectations of a rule's test, and checks them against its
// events if these name their entities.
func (r *reader) expect(t *Test, v *value) {
	entities := t.entities(t.Kind)
	seen := map[string]bool{}
	for _, x := range v.get("expect").list() {
		key := x.get("entity")
		t.Expect = append(t.Expect, Expect{
			Subject: Subject{t.Kind, key.str()}, Score: Whatever,
			Signals: []ExpectSignal{{Rule: t.Rule, Weight: uint8(x.get("weight").int()), Times: x.get("signals").int()}},
		})
		switch {
		case key == nil || t.Kind == 0:
		case seen[key.str()]:
			r.node(key.node, fmt.Sprintf("%q is expected twice", key.str()), "keep one of the two, with the greater weight")
		case len(entities) > 0 && !entities[key.str()]:
			r.node(key.node, fmt.Sprintf("no event of this test is about the %s %q", t.Kind, key.str()), "check the entity's key against what the events set")
		}
		seen[key.str()] = true
	}
}

func (r *reader) step(v *value) Step {
	s := Step{At: v.get("at").span(), Every: v.get("every").span(), Delay: v.get("delay").span(), Repeat: max(v.get("repeat").int(), 1), Line: v.node.Line}
	if set := v.get("set"); set != nil {
		s.Values = set.values
	}
	if s.Repeat > 1 && !v.has("every") {
		r.node(v.get("repeat").node, "a series needs the time between its events", "add every: 10s; every: 0s puts all of them into one moment")
	}
	if end := s.At.Milliseconds() + int64(s.Repeat-1)*s.Every.Milliseconds(); end > maxTestSpan.Milliseconds() {
		r.node(v.node, "the series ends too late", "a test spans at most "+formatDuration(maxTestSpan))
	}
	return s
}

// entities returns the keys of all entities in the test's events.
func (t *Test) entities(kind facet.Kind) map[string]bool {
	keys := map[string]bool{}
	e := new(event.Event)
	for i := range t.Events {
		s := &t.Events[i]
		for n := range s.Repeat {
			s.fill(e, n+1)
			if ent, ok := facet.EntityOf(kind, e, nil); ok {
				keys[ent.Key] = true
			}
			if !s.varies() {
				break
			}
		}
	}
	return keys
}

func (r *reader) sameNames(tests []*value) {
	lines := map[string]int{}
	for _, t := range tests {
		name := t.get("name")
		if name == nil {
			continue
		}
		if first := lines[name.text]; first != 0 {
			r.node(name.node, "another test of this rule has the same name", fmt.Sprintf("name it after what is different; the first is in line %d", first))
			continue
		}
		lines[name.text] = name.node.Line
	}
}
