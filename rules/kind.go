package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
)

// Kind describes a detector to the rule language.
type Kind struct {
	Name string // the key in a rule under which its parameters stand
	Doc  string
	Keys []Key

	// Compile makes a Spec from parameters that satisfy Keys. It reports invalid
	// combinations with [Params.Problem]; its result is then not used.
	Compile func(p *Params) Spec
}

// Spec is a detector's part of a compiled rule, opaque to all but the detector. It
// must not change once it is in a set.
type Spec interface {
	// Fields lists the event fields that the detector reads, ascending.
	Fields() []event.Field

	// State names the state of an entity: "distinct account". Two specs with the
	// same name read each other's state, so it does not contain thresholds.
	State() string

	// Canonical describes everything that changes the detector's behaviour, and
	// nothing else.
	Canonical() string

	// Keeps states how much is remembered, and for how long.
	Keeps() Keeps
}

// Keeps describes a detector's state of an entity.
type Keeps struct {
	Reach time.Duration // events longer ago cannot matter
	After time.Duration // how long a firing holds back others
	Bytes int           // most bytes of the payload
	Ahead time.Duration // how far ahead of an event a timer may be set; 0: it sets none

	Cohort KeepsOfCohort
}

// KeepsOfCohort describes a detector's state of the entities that share a field's
// value. If Reach is 0, it has no cohorts.
type KeepsOfCohort struct {
	Reach    time.Duration // events longer ago cannot matter; verdicts hold as long
	Bytes    int           // most bytes of the payload
	Verdicts time.Duration // event time between two verdicts of one facet partition, at least; 0: it has none
}

// The types of conditions that a detector needs, so that it only imports rules.
type (
	Condition = condition.Condition
	Predicate = condition.Predicate
)

// Params are the parameters that a rule gives a detector. Absent ones are zero.
type Params struct {
	r    *reader
	v    *value
	asks bool // the rule's signals ask for something, so that their weight may be 0
}

// Has reports whether the rule contains a key.
func (p *Params) Has(name string) bool { return p.v.has(name) }

// Text returns the value of a text.
func (p *Params) Text(name string) string { return p.v.get(name).str() }

// Int returns the value of a count.
func (p *Params) Int(name string) int { return p.v.get(name).int() }

// IntOr returns Int, or the detector's default if the key is absent.
func (p *Params) IntOr(name string, absent int) int {
	if p.Has(name) {
		return p.Int(name)
	}
	return absent
}

// Weight returns the value of a [WeightKey].
func (p *Params) Weight(name string) uint8 { return p.r.weight(p.v.get(name), p.asks) }

// Duration returns the value of a duration.
func (p *Params) Duration(name string) time.Duration { return p.v.get(name).span() }

// DurationOr returns Duration, or the detector's default if the key is absent.
func (p *Params) DurationOr(name string, absent time.Duration) time.Duration {
	if p.Has(name) {
		return p.Duration(name)
	}
	return absent
}

// Field returns the event field that a text names; event.None if it is absent.
func (p *Params) Field(name string) event.Field {
	spec, _ := event.Lookup(p.Text(name))
	return spec.Field
}

// Texts returns a list of texts.
func (p *Params) Texts(name string) (all []string) {
	for _, v := range p.v.get(name).list() {
		all = append(all, v.str())
	}
	return all
}

// Condition returns the value of a condition; nil if it is absent.
func (p *Params) Condition(name string) *Condition {
	return p.v.get(name).condition()
}

// Object returns the parameters of a mapping.
func (p *Params) Object(name string) *Params { return &Params{p.r, p.v.get(name), p.asks} }

// List returns the parameters of each mapping of a list.
func (p *Params) List(name string) (all []*Params) {
	for _, v := range p.v.get(name).list() {
		all = append(all, &Params{p.r, v, p.asks})
	}
	return all
}

// Problem reports an error at a key, and what to do about it. If the key is absent
// or "", it reports the error at the whole mapping.
func (p *Params) Problem(name, what, do string) {
	at := p.v
	if v := p.v.get(name); v != nil {
		at = v
	}
	if at != nil {
		p.r.node(at.node, what, do)
	}
}

// Ascending reports the item of a list, by its index, whose value at a key is not
// greater than that of the item before.
func Ascending(list []*Params, name, what, do string) {
	for i := 1; i < len(list); i++ {
		last, next := list[i-1].v.get(name), list[i].v.get(name)
		if last != nil && next != nil && next.num <= last.num {
			list[i].Problem(name, what, do)
		}
	}
}

// kindOf finds the detector that a rule names; there must be exactly one.
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

// Moment returns the value of a moment, Unix ms; 0 if it is absent.
func (p *Params) Moment(name string) int64 {
	if v := p.v.get(name); v != nil {
		return v.num
	}
	return 0
}
