package engine

import "github.com/weirdev/weir/internal/facet"

// except removes rules whose exceptions match the facet from its matches, and
// counts the hits. For these rules the facet does not match.
func (l *lane) except(f *facet.Facet) {
	if !l.excepts[f.Entity.Kind] {
		return
	}
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

// TakeHits reports how often each exception, by its index in the rule, matched
// since the last call. The counts are not part of the state: a restored partition
// counts from 0.
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
