package engine

import "github.com/weirdev/weir/internal/facet"

// except takes out of what the facet matches the rules that except it, and counts
// the hits: to such a rule it is as if the facet did not match.
func (l *lane) except(f *facet.Facet) {
	left := l.matched[:0]
	for _, i := range l.matched {
		a := &l.byKind[f.Entity.Kind][i]
		if x := a.rule.Excepts(&f.Fields); x >= 0 {
			a.hits[x]++
			l.traceExcepted(f, a, x)
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
