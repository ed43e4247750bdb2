package oracle

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// switchRules reads a switch record: the records after it are read under other
// rules. An older or repeated one has no effect.
func (o *Oracle) switchRules(frame []byte) error {
	s, err := facet.ReadSwitch(frame)
	if err != nil {
		return err
	}
	if s.Incarnation != o.at.Incarnation {
		return fmt.Errorf("%w: switch of incarnation %d", engine.ErrForeign, s.Incarnation)
	}
	if s.Number <= o.switched[s.Lane] {
		return nil
	}
	o.switched[s.Lane] = s.Number
	if s.Lane == facet.Shadow && s.Version == "" {
		o.watched = nil
		return nil
	}
	set, err := o.set.Open(s.Bundle)
	if err != nil {
		return err
	}
	switch {
	case s.Lane == facet.Live:
		o.rescore(o.change(set))
	case o.watched == nil:
		o.watched = o.beside(set)
	default:
		o.watched.watermark = o.watermark
		o.watched.change(set)
	}
	return nil
}

// beside returns an empty oracle that is to be shown the same records as o.
func (o *Oracle) beside(set *rules.Set) *Oracle {
	w := New(set, engine.Config{Sources: len(o.sources) - 1, Partitions: o.partitions}, o.hasher, o.at.Partition, o.at.Incarnation)
	w.lateness, w.forgets, w.unscored, w.watermark = o.lateness, true, true, o.watermark
	return w
}

// watch passes the facet to the shadow rules.
func (o *Oracle) watch() {
	if w := o.watched; w != nil {
		w.facet, w.at, w.watermark = o.facet, o.at, o.watermark
		o.shadow = append(o.shadow, w.event()...)
	}
}

// Shadow lists the signals of the shadow rules for the last record.
func (o *Oracle) Shadow() []score.Signal { return o.shadow }

// rescored is an entity whose score is changed by a switch, with the expiry of its
// former score.
type rescored struct {
	entity  facet.Entity
	expires int64
}

// rescore gives entities whose score was changed by new rules the position of the
// switch record, one after the other in the order of their hashes.
func (o *Oracle) rescore(changed []rescored) {
	changed = slices.DeleteFunc(changed, func(c rescored) bool { return o.gone(c.entity) })
	slices.SortFunc(changed, func(a, b rescored) int { return cmp.Compare(o.hasher.Sum(a.entity), o.hasher.Sum(b.entity)) })
	for _, c := range changed {
		e := c.entity
		u := o.scores[e]
		u.Position, u.Expires = o.at, c.expires
		o.scores[e], o.sent[e] = u, u
		if len(u.Contributions) > 0 {
			o.keep(e, o.faded(u.Contributions))
		}
		o.at.Index++
	}
}
