package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Told is what one member of a group must be told by loop-back.
type Told struct {
	To     int32 // facet partition of the member
	Member facet.Entity
	facet.Finding
}

// Told lists what the record read last causes, by partition, and there in order.
func (o *Oracle) Told() []Told {
	slices.SortStableFunc(o.told, func(a, b Told) int { return cmp.Compare(a.To, b.To) })
	return o.told
}

// member is somebody whom a counted event of a group named.
type member struct {
	key  string
	time int64
}

// join remembers a member: the 32 that came last, for as long as an event on time
// could share a window with them.
func (o *Oracle) join(c counter, r *rules.Rule, e *event.Event, t int64) {
	key := keyOf(r.Members.Entity, e)
	if key == "" || r.Window.Counted != nil && !r.Window.Counted(e) {
		return
	}
	list := slices.DeleteFunc(o.members[c], func(m member) bool {
		return m.key == key || o.watermark != facet.NoWatermark && m.time <= o.watermark-o.lateness-r.Window.Window.Milliseconds()
	})
	list = append(list, member{strings.Clone(key), t})
	o.members[c] = list[max(0, len(list)-32):]
}

// tell says what the members of a group that fired are told, each once.
func (o *Oracle) tell(c counter, r *rules.Rule, sig score.Signal) {
	for _, m := range o.members[c] {
		if m.time <= sig.Time-r.Window.Window.Milliseconds() {
			continue
		}
		e := facet.Entity{Kind: r.Members.Entity, Tenant: c.entity.Tenant, Key: m.key}
		f := facet.Finding{
			Slot: r.Slot, Tier: uint8(sig.Tier), Weight: r.Members.Weight, Time: sig.Time,
			Source: sig.Source, Offset: sig.SourceOffset, Group: c.entity,
		}
		for _, n := range sig.Evidence {
			f.Numbers = append(f.Numbers, facet.Number(n))
		}
		o.told = append(o.told, Told{facet.Partition(o.hasher.Sum(e), o.partitions), e, f})
	}
	delete(o.members, c)
	o.loopback.Told += int64(len(o.told)) - o.counted
	o.counted = int64(len(o.told))
}

// hear reads a loop-back frame: each is read once, and none before the one that its
// owner has written before it.
func (o *Oracle) hear(frame []byte) (signals []score.Signal, err error) {
	var r facet.LoopReader
	if err := r.Reset(frame); err != nil {
		return nil, err
	}
	if r.Incarnation != o.at.Incarnation || int(r.From) >= o.partitions {
		return nil, fmt.Errorf("%w: loop-back of incarnation %d from %d", engine.ErrForeign, r.Incarnation, r.From)
	}
	last, known := o.chains[r.From], false
	switch {
	case r.Step.Next < last.Next || r.Step.Next == last.Next && r.Step.Part <= last.Part:
		known = true
	case r.Previous.Next > last.Next || r.Previous.Next == last.Next && r.Previous.Part > last.Part:
		return nil, fmt.Errorf("%w: loop-back from %d: %v follows %v, not %v", engine.ErrGap, r.From, r.Step, r.Previous, last)
	default:
		o.chains[r.From] = r.Step
	}
	var f facet.Finding
	for {
		if ok, err := r.Finding(&f); err != nil || !ok {
			return signals, err
		}
		for ; ; o.at.Index++ {
			var e facet.Entity
			ok, err := r.Member(&e)
			if err != nil {
				return signals, err
			}
			if !ok {
				break
			}
			if known {
				o.loopback.Duplicate++
				continue
			}
			o.loopback.Heard++
			signals = append(signals, o.member(&f, e)...)
		}
	}
}

// member gives a member its signal.
func (o *Oracle) member(f *facet.Finding, e facet.Entity) []score.Signal {
	i := slices.IndexFunc(o.set.Rules, func(r *rules.Rule) bool { return r.Slot == f.Slot })
	if i < 0 {
		o.loopback.Unknown++
		return nil
	}
	sig := o.signal(o.set.Rules[i], facet.Entity{Kind: e.Kind, Tenant: strings.Clone(e.Tenant), Key: strings.Clone(e.Key)})
	sig.Group = facet.Entity{Kind: f.Group.Kind, Tenant: sig.Entity.Tenant, Key: strings.Clone(f.Group.Key)}
	sig.Weight, sig.Tier, sig.Time, sig.Source, sig.SourceOffset = f.Weight, int(f.Tier), f.Time, f.Source, f.Offset
	for _, n := range f.Numbers {
		sig.Evidence = append(sig.Evidence, score.Number{Name: strings.Clone(n.Name), Value: n.Value})
	}
	if !o.worthless(contribution(sig)) {
		// The finding may be old. What is worth nothing by now goes.
		o.score(sig, slices.DeleteFunc(slices.Clone(o.scores[sig.Entity].Contributions), o.worthless))
	}
	return []score.Signal{sig}
}

func (o *Oracle) worthless(c score.Contribution) bool { return o.powers.worth(c, o.watermark) < point }
