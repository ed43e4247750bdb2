package oracle

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// hold is a false positive in force: until it expires, signals of the rule about
// earlier moments count for nothing.
type hold struct {
	rule    string
	label   int64 // raw offset of its control record
	expires int64 // Unix ms
}

// over reports that no event on time can be held back any more.
func (o *Oracle) over(h hold) bool { return h.expires+o.lateness <= o.watermark }

// control obeys the control record in the current facet.
func (o *Oracle) control() {
	c := o.facet.Control
	e := facet.Entity{Kind: o.facet.Entity.Kind, Tenant: strings.Clone(o.facet.Entity.Tenant), Key: strings.Clone(o.facet.Entity.Key)}
	live := slices.DeleteFunc(slices.Clone(o.scores[e].Contributions), o.worthless)
	if o.gone(e) {
		live = nil
	}
	switch c.Action {
	case facet.FalsePositive:
		o.falsePositive(e, live, strings.Clone(c.Rule), c.Expires)
	case facet.TruePositive:
		o.held[e] = slices.DeleteFunc(o.held[e], func(h hold) bool { return c.Rule == "" || h.rule == c.Rule })
	case facet.Release:
		o.lower(e, live, nil)
	case facet.Passed:
		var half []score.Contribution
		for _, l := range live {
			if !l.Lowers && (c.Category == "" || l.Category == c.Category) {
				if l.Weight /= 2; l.Weight == 0 {
					continue
				}
			}
			half = append(half, l)
		}
		o.lower(e, live, half)
	case facet.Erase:
		o.lower(e, live, nil)
		o.erase(e)
		if o.watched != nil {
			o.watched.erase(e)
		}
	}
}

// falsePositive takes back what a rule contributes, or all that raises the score,
// and holds these rules back until the label expires.
func (o *Oracle) falsePositive(e facet.Entity, live []score.Contribution, rule string, expires int64) {
	var named []string
	var rest []score.Contribution
	if rule != "" {
		named = []string{rule}
	}
	for _, l := range live {
		switch {
		case rule == "" && !l.Lowers:
			named = append(named, l.Rule)
		case l.Rule != rule:
			rest = append(rest, l)
		}
	}
	o.lower(e, live, rest)
	if len(named) == 0 || o.over(hold{expires: expires}) {
		return
	}
	o.touch(e, expires)
	kept := slices.DeleteFunc(slices.Clone(o.held[e]), o.over)
	for _, r := range named {
		kept = slices.DeleteFunc(kept, func(h hold) bool { return h.rule == r })
		kept = append(kept, hold{r, o.facet.Offset, expires})
		if len(kept) > 16 {
			slices.SortFunc(kept, func(a, b hold) int {
				return cmp.Or(cmp.Compare(a.expires, b.expires), cmp.Compare(o.hasher.Text(a.rule), o.hasher.Text(b.rule)))
			})
			kept = kept[1:]
		}
	}
	o.held[e] = kept
}

// lower replaces a score by one that a control has lowered. It is sent if something
// raised it before.
func (o *Oracle) lower(e facet.Entity, live, rest []score.Contribution) {
	if slices.Equal(live, rest) {
		return
	}
	u := score.Update{Entity: e, Position: o.at, Contributions: rest, Expires: o.lasts(live)}
	o.scores[e] = u
	if !slices.ContainsFunc(live, func(c score.Contribution) bool { return !c.Lowers }) {
		return
	}
	if last := o.sent[e]; last.Position.Offset == u.Position.Offset && last.Entity == u.Entity {
		u.Expires = max(u.Expires, last.Expires)
	}
	o.sent[e] = u
}

// hold reports whether a false positive holds a signal back. It then has no weight,
// asks for nothing, and names the label as the last of its evidence.
func (o *Oracle) hold(sig *score.Signal) bool {
	for _, h := range o.held[sig.Entity] {
		if sig.Clears || h.rule != sig.Rule || sig.Time >= h.expires || o.over(h) {
			continue
		}
		sig.Weight, sig.Asks = 0, 0
		own := slices.Clone(sig.Evidence)
		sig.Evidence = append(own[:min(len(own), facet.MostEvidence-1)], facet.Number("false_positive", h.label))
		return true
	}
	return false
}

// erase forgets an entity.
func (o *Oracle) erase(e facet.Entity) {
	delete(o.until, e)
	delete(o.scores, e)
	delete(o.held, e)
	for c := range o.counts {
		if c.entity == e {
			delete(o.counts, c)
		}
	}
	for c := range o.members {
		if c.entity == e {
			delete(o.members, c)
		}
	}
	for c := range o.timers {
		if c.entity == e {
			o.stopTimer(c)
		}
	}
}
