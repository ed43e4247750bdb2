package engine

import (
	"encoding/binary"
	"sort"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/score"
)

// Slots of the engine itself. Slots of rules are hashes, and never below
// firstRuleSlot.
const (
	// scoreSlot: position offset i64 · index i32, then for each contribution
	// slot u32 · weight u8 · unused 3 · time i64.
	scoreSlot = 1
	// nameSlot: length of the tenant u8 · tenant · key. Only entities with a score
	// or a timer have one, because no other name is ever needed.
	nameSlot = 2
	// timerSlot: see timers.go.
	timerSlot = 3
	// holdSlot: see control.go.
	holdSlot = 4

	scoreHeader      = 12
	contributionSize = 16
)

var le = binary.LittleEndian

// entity is the record of one entity, as the engine reads it.
type entity struct{ state.Record }

func (e *entity) contributions(yield func(slot uint32, weight uint8, time int64)) {
	b := e.Slot(scoreSlot)
	if b == nil {
		return
	}
	for b = b[scoreHeader:]; len(b) >= contributionSize; b = b[contributionSize:] {
		yield(le.Uint32(b), b[4], int64(le.Uint64(b[8:])))
	}
}

// keepScore stores a score. It reports false if the record has no room: the signal
// is then given, and the score stays as it was.
func (e *entity) keepScore(at score.Position, list []score.Contribution, slotOf func(rule string) uint32) bool {
	b := e.Resize(scoreSlot, scoreHeader+len(list)*contributionSize)
	if b == nil {
		return false
	}
	le.PutUint64(b, uint64(at.Offset))
	le.PutUint32(b[8:], uint32(at.Index))
	for i, c := range list {
		at := b[scoreHeader+i*contributionSize:]
		le.PutUint64(at, 0)
		le.PutUint32(at, slotOf(c.Rule))
		at[4] = c.Weight
		le.PutUint64(at[8:], uint64(c.Time))
	}
	return true
}

func (e *entity) position(incarnation uint64, partition int32) score.Position {
	p := score.Position{Incarnation: incarnation, Partition: partition}
	if b := e.Slot(scoreSlot); b != nil {
		p.Offset, p.Index = int64(le.Uint64(b)), int32(le.Uint32(b[8:]))
	}
	return p
}

func (e *entity) keepName(n facet.Entity) bool {
	b := e.Resize(nameSlot, 1+len(n.Tenant)+len(n.Key))
	if b == nil {
		return false
	}
	b[0] = byte(len(n.Tenant))
	copy(b[1:], n.Tenant)
	copy(b[1+len(n.Tenant):], n.Key)
	return true
}

func (e *entity) name() (n facet.Entity, ok bool) {
	b := e.Slot(nameSlot)
	if len(b) == 0 {
		return n, false
	}
	tenant := int(b[0])
	return facet.Entity{Kind: facet.Kind(e.Kind()), Tenant: string(b[1 : 1+tenant]), Key: string(b[1+tenant:])}, true
}

// Live calls yield for every entity with a live score: a raising contribution is
// worth at least a point at the watermark. The order is that of the keys, so the
// same state gives the same order.
func (p *Partition) Live(yield func(score.Update) bool) {
	type live struct {
		key uint64
		u   score.Update
	}
	var all []live
	p.table.All(p.watermark, func(rec state.Record) bool {
		e := entity{rec}
		list := p.contributions(&e)
		if !score.Raised(list) || score.Expires(list) <= p.watermark {
			return true // as nearly all
		}
		if name, ok := e.name(); ok {
			all = append(all, live{e.Key(), score.Update{
				Entity: name, Position: e.position(p.incarnation, p.id), Contributions: append([]score.Contribution(nil), list...),
			}})
		}
		return true
	})
	sort.Slice(all, func(i, j int) bool { return all[i].key < all[j].key })
	for _, l := range all {
		if !yield(l.u) {
			return
		}
	}
}
