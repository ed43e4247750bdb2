package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// ErrRules means that this program does not read the rules of a switch record as
// their writer did.
var ErrRules = errors.New("the rules in the facet log cannot be used")

// switchRules changes to the rules of a switch record, from the next record on. It
// keeps the state of rules that still exist. It ignores a record that is not newer
// than the last of its lane.
func (p *Partition) switchRules(frame []byte, at score.Position, out *Output) error {
	s, err := facet.ReadSwitch(frame)
	if err != nil {
		return err
	}
	if err := p.belongs(s.Incarnation); err != nil {
		return err
	}
	if s.Lane == facet.Shadow {
		return p.switchShadow(s, out)
	}
	if s.Number <= p.number {
		return nil
	}
	set, err := p.openBundle(s)
	if err != nil {
		return err
	}
	was := p.lane.rules
	before := p.affected(was, set)
	if err := p.lane.switchTo(s, set, p); err != nil {
		return err
	}
	out.changed(s, set)
	p.rescore(before, at, out)
	return nil
}

// RuleChange is a change of rules by a switch record.
type RuleChange struct {
	Number      uint64
	Lane        facet.Lane
	Time        int64 // Unix ms
	Who, Source string
	Rules       *rules.Set // nil: there are no shadow rules any more
}

func (o *Output) changed(s facet.Switch, set *rules.Set) {
	o.Rules = append(o.Rules, RuleChange{Number: s.Number, Lane: s.Lane, Time: s.Time, Who: strings.Clone(s.Who), Source: strings.Clone(s.Source), Rules: set})
}

// switchShadow changes, starts or ends the shadow lane.
func (p *Partition) switchShadow(s facet.Switch, out *Output) error {
	if s.Number <= p.shadowNumber {
		return nil
	}
	p.shadowNumber = s.Number
	if s.Version == "" {
		p.shadow = nil
		out.changed(s, nil)
		return nil
	}
	set, err := p.openBundle(s)
	if err != nil {
		return err
	}
	if p.shadow == nil {
		p.shadow = p.newShadow()
	}
	out.changed(s, set)
	return p.shadow.switchTo(s, set, p)
}

// newShadow returns a shadow lane, whose state is its own.
func (p *Partition) newShadow() *lane { return &lane{table: state.New(p.caps())} }

// beginUnder uses rules as if their switch record had come before everything.
func (p *Partition) beginUnder(to facet.Lane, number uint64, bundle []byte) error {
	if to == facet.Live {
		return p.lane.bring(number, bundle, p)
	}
	if p.shadowNumber = number; len(bundle) == 0 {
		return nil
	}
	p.shadow = p.newShadow()
	return p.shadow.bring(number, bundle, p)
}

// openBundle loads the rules of a switch record.
func (p *Partition) openBundle(s facet.Switch) (*rules.Set, error) {
	set, err := p.lane.rules.Open(s.Bundle)
	if err == nil && set.Version != s.Version {
		err = fmt.Errorf("they are %s here", set.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: bundle %d, version %s: %w; run the version of the program that wrote it, or a later one", ErrRules, s.Number, s.Version, err)
	}
	return set, nil
}

// switchTo uses other rules, and drops or cuts state that they do not continue.
func (l *lane) switchTo(s facet.Switch, set *rules.Set, p *Partition) error {
	if err := l.use(set, p.environment()); err != nil {
		return err
	}
	l.number, l.bundle = s.Number, slices.Clone(s.Bundle)
	if err := l.table.Refit(p.watermark, l.checkSlot); err != nil {
		return err
	}
	l.releaseIdle()
	return nil
}

// affected is an entity whose score a switch changes.
type affected struct {
	key     uint64
	expires int64 // of the score before, Unix ms: so long an older value could matter
}

// affected lists, in order of key, the entities whose score changes under other
// rules: a rule was removed, or its signals have changed. Conditions and thresholds
// change no score. Call it while the old rules are in force.
func (p *Partition) affected(was, set *rules.Set) (all []affected) {
	changed := map[uint32]bool{}
	for _, r := range was.Rules {
		if n := set.Rule(r.ID); n == nil || n.Slot != r.Slot || n.Category != r.Category || n.Reason != r.Reason || n.Phase != r.Phase || n.HalfLife != r.HalfLife {
			changed[r.Slot] = true
		}
	}
	if len(changed) == 0 {
		return nil
	}
	p.table.All(p.watermark, func(rec state.Record) bool {
		e := entity{rec}
		hit := false
		e.contributions(func(slot uint32, _ uint8, _ int64) { hit = hit || changed[slot] })
		if hit {
			all = append(all, affected{e.Key(), score.Expires(p.contributions(&e))})
		}
		return true
	})
	slices.SortFunc(all, func(a, b affected) int { return cmp.Compare(a.key, b.key) })
	return all
}

// rescore outputs the scores of entities under the present rules.
func (p *Partition) rescore(all []affected, at score.Position, out *Output) {
	for _, a := range all {
		e := &p.current
		var ok bool
		if e.Record, ok = p.table.Find(a.key, p.watermark); !ok {
			continue
		}
		name, ok := e.name()
		list := p.contributions(e)
		if !ok || !e.keepScore(at, list, p.slotOf) {
			continue
		}
		u := score.Update{Entity: name, Position: at, Contributions: append([]score.Contribution(nil), list...), Expires: a.expires}
		if len(list) > 0 {
			e.Prolong(p.closed(score.Fades(list)))
		}
		out.Updates = append(out.Updates, u)
		at.Index++
	}
}
