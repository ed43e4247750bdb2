package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// except takes out of what the facet matches the rules that except it, and counts
// the hits: to such a rule it is as if the facet did not match.
func (l *lane) except(f *facet.Facet) {
	left := l.matched[:0]
	for _, i := range l.matched {
		a := &l.byKind[f.Entity.Kind][i]
		if x := a.rule.Excepts(&f.Fields); x >= 0 {
			a.hits[x]++
			continue
		}
		left = append(left, i)
	}
	l.matched = left
}

// TakeHits tells how often each exception, by its place in the rule, held since it was
// asked last. That is no part of the state: a restored partition counts from 0.
func (p *Partition) TakeHits(yield func(rule string, exception int, n uint64)) {
	for k := range p.byKind {
		for _, a := range p.byKind[k] {
			for x, n := range a.hits {
				if n > 0 {
					yield(a.rule.ID, x, n)
				}
			}
			clear(a.hits)
		}
	}
}

// hidden says which exceptions of a rule are why a test does not find what it
// expects; "" where it would not find it without them either.
func hidden(set *rules.Set, r *rules.Rule, t *rules.Test) (string, error) {
	if len(t.Expect) == 0 || len(r.Exceptions) == 0 {
		return "", nil
	}
	passes := func(exceptions []rules.Exception) (bool, error) {
		other, one := *set, *r
		one.Exceptions = exceptions
		other.Rules = slices.Clone(set.Rules)
		other.Rules[slices.Index(set.Rules, r)] = &one
		fired, err := runTest(&other, &one, t)
		return len(t.Verdict(fired)) == 0, err
	}
	if ok, err := passes(nil); !ok || err != nil {
		return "", err
	}
	var which []string
	for i, x := range r.Exceptions {
		ok, err := passes(r.Exceptions[i : i+1])
		if err != nil {
			return "", err
		}
		if !ok {
			which = append(which, fmt.Sprintf("the exception in line %d (%s, for %s)", x.Line, x.Reason, x.Owner))
		}
	}
	if which == nil {
		return "the exceptions hide it together", nil
	}
	return strings.Join(which, " and ") + " hides it", nil
}
