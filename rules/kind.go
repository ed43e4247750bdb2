package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
)

// Kind is what a detector tells the language of rules about itself.
type Kind struct {
	Name string // the key in a rule under which its parameters stand
	Doc  string
	Keys []Key

	// Compile makes a Spec of parameters that are as Keys demand. What they must not
	// be together it reports with [Params.Problem]; then its result is not used.
	Compile func(p *Params) Spec
}

// Spec is a detector's part of a compiled rule, opaque to all but the detector. It
// is not to be changed once it is in a set.
type Spec interface {
	// Fields lists the event fields that the detector reads, ascending.
	Fields() []event.Field

	// State names what is kept of an entity: "distinct account". Two specs of the
	// same name read each other's state, so thresholds are not in it.
	State() string

	// Canonical holds everything that changes what the detector does, and nothing
	// else.
	Canonical() string

	// Keeps says for how long, and how much, is remembered.
	Keeps() Keeps
}

// Keeps is what a detector remembers of an entity.
type Keeps struct {
	Reach time.Duration // events longer ago cannot matter
	After time.Duration // how long a firing holds back others
	Bytes int           // most bytes of the payload
	Ahead time.Duration // how far ahead of an event a timer may be set; 0: it sets none

	Cohort KeepsOfCohort
}

// KeepsOfCohort is what a detector remembers of those that share a value of a field
// with an entity. Where Reach is 0 it has no cohorts.
type KeepsOfCohort struct {
	Reach    time.Duration // events longer ago cannot matter; verdicts hold as long
	Bytes    int           // most bytes of the payload
	Verdicts time.Duration // event time between two verdicts of one facet partition, at least; 0: it has none
}

// What a detector needs of conditions, so that it imports rules alone.
type (
	Condition = condition.Condition
	Predicate = condition.Predicate
)

// Params are the parameters that a rule gives a detector. What is absent is zero.
type Params struct {
	r    *reader
	v    *value
	asks bool // the rule's signals ask for something, so that their weight may be 0
}

// Has reports whether a key stands in the rule.
func (p *Params) Has(name string) bool { return p.v.has(name) }

// Text is the value of a text.
func (p *Params) Text(name string) string { return p.v.get(name).str() }

// Int is the value of a count.
func (p *Params) Int(name string) int { return p.v.get(name).int() }

// IntOr is Int, or a value of the detector's where the key is absent.
func (p *Params) IntOr(name string, absent int) int {
	if p.Has(name) {
		return p.Int(name)
	}
	return absent
}

// Weight is the value of a [WeightKey].
func (p *Params) Weight(name string) uint8 { return p.r.weight(p.v.get(name), p.asks) }

// Duration is the value of a duration.
func (p *Params) Duration(name string) time.Duration { return p.v.get(name).span() }

// DurationOr is Duration, or a value of the detector's where the key is absent.
func (p *Params) DurationOr(name string, absent time.Duration) time.Duration {
	if p.Has(name) {
		return p.Duration(name)
	}
	return absent
}

// Field is the event field that a text names; event.None where it is absent.
func (p *Params) Field(name string) event.Field {
	spec, _ := event.Lookup(p.Text(name))
	return spec.Field
}

// Texts is a list of texts.
func (p *Params) Texts(name string) (all []string) {
	for _, v := range p.v.get(name).list() {
		all = append(all, v.str())
	}
	return all
}

// Condition is the value of a condition; nil where it is absent.
func (p *Params) Condition(name string) *Condition {
	return p.v.get(name).condition()
}

// Object holds the parameters of a mapping.
func (p *Params) Object(name string) *Params { return &Params{p.r, p.v.get(name), p.asks} }

// List holds the parameters of each mapping of a list.
func (p *Params) List(name string) (all []*Params) {
	for _, v := range p.v.get(name).list() {
		all = append(all, &Params{p.r, v, p.asks})
	}
	return all
}

// Problem reports what is wrong at a key, and what to do about it; where the key is
// absent or "", at the whole mapping.
func (p *Params) Problem(name, what, do string) {
	at := p.v
	if v := p.v.get(name); v != nil {
		at = v
	}
	if at != nil {
		p.r.node(at.node, what, do)
	}
}

// Ascending reports an item of a list, by its place, whose value at a key is not
// greater than that of the item before.
func Ascending(list []*Params, name, what, do string) {
	for i := 1; i < len(list); i++ {
		last, next := list[i-1].v.get(name), list[i].v.get(name)
		if last != nil && next != nil && next.num <= last.num {
			list[i].Problem(name, what, do)
		}
	}
}

// kindOf finds the detector that a rule names; exactly one must be there.
func (r *reader) kindOf(v *value) (kind *Kind, params *Params) {
	for i := range r.kinds {
		k := &r.kinds[i]
		if !v.has(k.Name) {
			continue
		}
		if kind != nil {
			r.node(v.node, fmt.Sprintf("the rule has two detectors, %s and %s", kind.Name, k.Name), "keep one of the two, or make two rules of it")
			return nil, nil
		}
		kind, params = k, &Params{r, v.get(k.Name), v.get("signal").has("asks")}
	}
	if kind == nil {
		var names []string
		for _, k := range r.kinds {
			names = append(names, k.Name)
		}
		r.node(v.node, "the rule names no detector", "add one of "+strings.Join(names, ", "))
		return nil, nil
	}
	if params.v == nil {
		return nil, nil // reported
	}
	return kind, params
}
