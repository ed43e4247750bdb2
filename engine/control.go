package engine

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// The payload of holdSlot holds the false positives of an entity that still hold
// their rules back, in order of rules:
//
//	hash of the rule's id u64 · offset of the label i64 · expires i64 (Unix ms)
//
// A rule is named by its id, not by its slot, so that a label survives an edit of
// the rule.
const (
	holdSize = 24

	// mostHolds is how many false positives an entity keeps. Beyond, the one that
	// expires first goes.
	mostHolds = 16
)

// hold is a false positive in force.
type hold struct {
	rule    uint64
	label   int64 // raw offset of its control record
	expires int64 // Unix ms
}

func (e *entity) holds() (all []hold) {
	for b := e.Slot(holdSlot); len(b) >= holdSize; b = b[holdSize:] {
		all = append(all, hold{le.Uint64(b), int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:]))})
	}
	return all
}

func (e *entity) keepHolds(all []hold) {
	b := e.Resize(holdSlot, len(all)*holdSize)
	if b == nil {
		return // does not happen: rules that do not leave room are not loaded
	}
	for i, h := range all {
		at := b[i*holdSize:]
		le.PutUint64(at, h.rule)
		le.PutUint64(at[8:], uint64(h.label))
		le.PutUint64(at[16:], uint64(h.expires))
	}
}

// heldBack returns the label that holds a rule's signals of time t back.
func (p *Partition) heldBack(e *entity, rule string, t int64) (label int64, ok bool) {
	b := e.Slot(holdSlot)
	if len(b) == 0 {
		return 0, false
	}
	id := p.hasher.Text(rule)
	for ; len(b) >= holdSize; b = b[holdSize:] {
		if le.Uint64(b) == id {
			expires := int64(le.Uint64(b[16:]))
			return int64(le.Uint64(b[8:])), t < expires && p.closed(expires) > p.watermark
		}
	}
	return 0, false
}

// excuse makes a signal count for nothing, and names the label because of which.
func excuse(sig *score.Signal, label int64) {
	sig.Weight, sig.Asks = 0, 0
	sig.Evidence = append(sig.Evidence[:min(len(sig.Evidence), facet.MostEvidence-1)], facet.Number("false_positive", label))
}

// control applies the control record that the current facet carries. It is never
// late, and moves no time.
func (p *Partition) control(src *source, at score.Position, out *Output) {
	f := &p.facet
	c := &f.Control
	of := facet.Entity{Kind: f.Entity.Kind, Tenant: strings.Clone(f.Entity.Tenant), Key: strings.Clone(f.Entity.Key)}
	key, e := p.hasher.Sum(of), &p.current
	var found bool
	if e.Record, found = p.table.Find(key, p.watermark); !found && c.Action == facet.FalsePositive && c.Rule != "" && p.closed(c.Expires) > p.watermark {
		if e.Record, found = p.table.Get(key, p.watermark); !found {
			e.Record, found = p.table.Admit(key, uint8(of.Kind), p.hasher.Text(of.Tenant), p.watermark)
		}
		if !found {
			src.ledger.Unadmitted++
		}
	}
	if c.Action == facet.Erase {
		defer p.erase(key)
	}
	if !found {
		return
	}
	switch c.Action {
	case facet.FalsePositive:
		p.falsePositive(e, of, at, out)
	case facet.TruePositive:
		p.truePositive(e, c.Rule)
	case facet.Release, facet.Erase:
		p.lower(e, of, at, out, func(list []score.Contribution) ([]score.Contribution, bool) { return nil, len(list) > 0 })
	case facet.Passed:
		p.lower(e, of, at, out, func(list []score.Contribution) ([]score.Contribution, bool) { return score.Halve(list, c.Category) })
	}
}

// erase removes all that is known of an entity, in both lanes.
func (p *Partition) erase(key uint64) {
	p.table.Remove(key)
	if p.shadow != nil {
		p.shadow.table.Remove(key)
	}
}

// falsePositive takes back what the labelled rules contribute, and holds them back.
// Without a rule, it is about all rules that raise the score now.
func (p *Partition) falsePositive(e *entity, of facet.Entity, at score.Position, out *Output) {
	c := &p.facet.Control
	rules := []string{strings.Clone(c.Rule)}
	if c.Rule == "" {
		rules = rules[:0]
		live, _ := score.Live(p.contributions(e), p.watermark)
		for _, has := range live {
			if !has.Lowers {
				rules = append(rules, has.Rule)
			}
		}
	}
	p.lower(e, of, at, out, func(list []score.Contribution) ([]score.Contribution, bool) {
		return score.Without(list, func(c score.Contribution) bool { return slices.Contains(rules, c.Rule) })
	})
	until := p.closed(c.Expires)
	if until <= p.watermark || len(rules) == 0 {
		return
	}
	all := slices.DeleteFunc(e.holds(), func(h hold) bool { return p.closed(h.expires) <= p.watermark })
	for _, r := range rules {
		all = addHold(all, hold{p.hasher.Text(r), p.facet.Offset, c.Expires})
	}
	e.keepHolds(all)
	e.Touch(at.Offset, until)
	e.Spare(until)
}

// addHold adds h, in order of rules, in place of an earlier one of its rule.
func addHold(all []hold, h hold) []hold {
	i, found := slices.BinarySearchFunc(all, h, func(a, b hold) int { return cmp.Compare(a.rule, b.rule) })
	if found {
		all[i] = h
		return all
	}
	all = slices.Insert(all, i, h)
	if len(all) <= mostHolds {
		return all
	}
	first := 0
	for i := range all {
		if all[i].expires < all[first].expires {
			first = i
		}
	}
	return slices.Delete(all, first, first+1)
}

// truePositive ends false positives of a rule; without one, of all rules.
func (p *Partition) truePositive(e *entity, rule string) {
	all := e.holds()
	if len(all) == 0 {
		return
	}
	id := p.hasher.Text(rule)
	e.keepHolds(slices.DeleteFunc(all, func(h hold) bool { return rule == "" || h.rule == id }))
}

// lower changes a score for the better, as change says. The score is written with
// its new position, and expires no sooner than the one that it replaces, so that an
// older value written late is refused.
func (p *Partition) lower(e *entity, of facet.Entity, at score.Position, out *Output, change func([]score.Contribution) ([]score.Contribution, bool)) {
	all, _ := score.Live(p.contributions(e), p.watermark)
	until, was := score.Expires(all), score.Raised(all)
	rest, changed := change(all)
	if !changed || !e.keepScore(at, rest, p.slotOf) {
		return
	}
	if was {
		out.update(score.Update{Entity: of, Position: at, Contributions: append([]score.Contribution(nil), rest...), Expires: until})
	}
}
