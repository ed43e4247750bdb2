package oracle

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// lineage is the state of one rule for one token family, as described in
// docs/detectors/refresh_family.md.
type lineage struct {
	rule   *detectors.RefreshFamily
	tokens []*heir // in the order in which they were first seen
	weight uint8   // of the last firing
	lastAt int64
	got    *heir // the most recently issued token that was shown
}

// heir is a token.
type heir struct {
	name                string
	issued, first, last int64
	by                  *handling // the first use
}

func (l *lineage) change(s rules.Spec) {
	l.rule = s.(*detectors.RefreshFamily)
	l.cut()
}

func (l *lineage) cut() {
	for len(l.tokens) > l.rule.Tokens {
		goes := slices.MinFunc(l.tokens, func(a, b *heir) int { return cmp.Compare(a.last, b.last) })
		l.tokens = slices.DeleteFunc(l.tokens, func(t *heir) bool { return t == goes })
	}
}

func (l *lineage) arrive(a arrival) (*firing, bool) {
	name := strings.Clone(a.event.Text(event.Token))
	if name == "" {
		return nil, false
	}
	use := &handling{look: lookOf(a.event), first: a.time, offset: a.offset, source: a.source}
	if l.rule.Shown != nil && l.rule.Shown.Holds(a.event) {
		issued := a.event.Num(event.TokenIssued)
		if issued != 0 && (l.got == nil || issued > l.got.issued || issued == l.got.issued && a.time < l.got.first) {
			l.got = &heir{issued: issued, first: a.time, by: use}
		}
		return nil, false
	}
	if a.watermark != facet.NoWatermark {
		closed := a.watermark - a.lateness - l.rule.Memory.Milliseconds()
		l.tokens = slices.DeleteFunc(l.tokens, func(t *heir) bool { return t.last <= closed })
	}
	i := slices.IndexFunc(l.tokens, func(t *heir) bool { return t.name == name })
	if i < 0 {
		i = len(l.tokens)
		l.tokens = append(l.tokens, &heir{name: name, first: a.time, last: a.time, by: use})
	}
	t := l.tokens[i]
	before := *t
	if t.issued == 0 {
		t.issued = a.event.Num(event.TokenIssued)
	}
	if a.time < t.first {
		t.first, t.by = a.time, use
	}
	t.last = max(t.last, a.time)
	f := l.fire(l.verdict(t, before, use), t, before, a.time)
	l.cut()
	return f, true
}

func (l *lineage) newer(t *heir) (all []*heir) {
	for _, o := range l.tokens {
		if t.issued != 0 && o.issued != 0 && o.issued > t.issued || (t.issued == 0 || o.issued == 0) && o.first > t.first {
			all = append(all, o)
		}
	}
	if l.got != nil && t.issued != 0 && l.got.issued > t.issued {
		all = append(all, l.got)
	}
	return all
}

// replacedBy returns the token that had replaced t by a moment; nil if there is
// none.
func (l *lineage) replacedBy(t *heir, at int64) *heir {
	newer := slices.DeleteFunc(l.newer(t), func(o *heir) bool { return o.first > at })
	if len(newer) == 0 {
		return nil
	}
	return slices.MinFunc(newer, func(a, b *heir) int { return cmp.Compare(a.first, b.first) })
}

func strange(a, b *handling) bool {
	left := (a.key == "") != (b.key == "")
	x, y := *a, *b
	x.key, y.key = "", ""
	return unequal(a.device, b.device) || unequal(a.key, b.key) || left && unequal(a.net, b.net) || apart(&x, &y)
}

func (l *lineage) verdict(t *heir, before heir, use *handling) detectors.ReuseVerdict {
	at, grace := use.first, l.rule.Grace.Milliseconds()
	another := at >= before.first && strange(use, before.by)
	next := l.replacedBy(t, at)
	if next == nil {
		if another && before.last-before.first <= grace {
			return detectors.Theft
		}
		return detectors.Rightful
	}
	elsewhere := unequal(use.net, next.by.net) && (use.asn == 0 || use.asn != next.by.asn)
	if another || strange(use, next.by) {
		return detectors.Theft
	}
	if at-next.first <= grace && !elsewhere {
		return detectors.Race
	}
	return detectors.StaleClient
}

func (l *lineage) fire(v detectors.ReuseVerdict, t *heir, before heir, at int64) *firing {
	for i, tier := range l.rule.Tiers {
		if tier.Verdict != v || tier.Weight <= l.weight && at-l.lastAt < l.rule.Cooldown.Milliseconds() {
			continue
		}
		l.weight, l.lastAt = tier.Weight, at
		f := &firing{tier: i, weight: tier.Weight, evidence: []facet.Evidence{
			facet.Text("verdict", v.String()),
			facet.Number("tokens", int64(len(l.tokens))),
			facet.EventAt("first_event", before.by.source, before.by.offset, before.first),
		}}
		if next := l.replacedBy(t, at); next != nil {
			f.evidence = append(f.evidence, facet.EventAt("replaced_event", next.by.source, next.by.offset, next.first), facet.Number("elapsed_ms", at-next.first))
		}
		return f
	}
	return nil
}
