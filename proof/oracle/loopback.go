package oracle

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Told lists the notices to group members caused by the last record: for each member
// its facet partition and the finding, ordered by partition, and then in sequence.
func (o *Oracle) Told() []Told {
	slices.SortStableFunc(o.told, func(a, b Told) int { return cmp.Compare(a.To, b.To) })
	return o.told
}

// Told is a notice to one member of a group.
type Told struct {
	To     int32
	Member facet.Entity
	facet.Finding
}

// member is an entity that a counted event of a group named.
type member struct {
	key  string
	time int64
}

// enrol remembers the member that a counted event names, or forgets the one that a
// cancelling event names.
func (o *Oracle) enrol(c counter, r *rules.Rule, a arrival, counts bool) {
	if x := r.Members.Cancel; x != nil && x.Holds(a.event) {
		key := keyOf(r.Members.Entity, a.event)
		o.members[c] = slices.DeleteFunc(o.members[c], func(m member) bool { return m.key == key })
	} else if counts {
		o.join(c, r, a.event, a.time)
	}
}

// join remembers a member. It keeps the 32 latest, for as long as an event on time
// could share a window with them.
func (o *Oracle) join(c counter, r *rules.Rule, e *event.Event, t int64) {
	key := keyOf(r.Members.Entity, e)
	if key == "" {
		return
	}
	list := slices.DeleteFunc(o.members[c], func(m member) bool {
		return m.key == key || o.watermark != facet.NoWatermark && m.time <= o.watermark-o.lateness-told(r)
	})
	list = append(list, member{strings.Clone(key), t})
	o.members[c] = list[max(0, len(list)-32):]
}

// told returns how long ago, in ms, a member that is told may have been named.
func told(r *rules.Rule) int64 {
	reach := r.Spec.Keeps().Reach
	if within := r.Members.Within; within != 0 && within < reach {
		reach = within
	}
	return reach.Milliseconds()
}

// tell records the notices to the members of a group that fired, one for each.
func (o *Oracle) tell(c counter, r *rules.Rule, sig score.Signal) {
	for _, m := range o.members[c] {
		if m.time <= sig.Time-told(r) {
			continue
		}
		e := facet.Entity{Kind: r.Members.Entity, Tenant: c.entity.Tenant, Key: m.key}
		f := facet.Finding{
			Slot: r.Slot, Tier: uint8(sig.Tier), Weight: r.Members.Weight, Time: sig.Time,
			Source: sig.Source, Offset: sig.SourceOffset, Group: c.entity, Clears: sig.Clears,
		}
		if sig.Clears {
			f.Weight = 0
		}
		f.Evidence = sig.Evidence
		o.told = append(o.told, Told{facet.Partition(o.hasher.Sum(e), o.partitions), e, f})
	}
	delete(o.members, c)
	o.loopback.Told += int64(len(o.told)) - o.counted
	o.counted = int64(len(o.told))
}

// keyOf returns the name of the entity of a kind in the format of docs/redis.md; ""
// if the event has none.
func keyOf(k facet.Kind, e *event.Event) string {
	switch k {
	case facet.Token:
		return cmp.Or(e.Text(event.TokenFamily), e.Text(event.Token))
	case facet.ASN:
		if n := e.Num(event.ASN); n != 0 {
			return strconv.FormatInt(n, 10)
		}
		return ""
	}
	return e.Text(map[facet.Kind]event.Field{
		facet.Account: event.Account, facet.Session: event.Session, facet.Device: event.Device, facet.IP: event.ClientIP,
		facet.Net: event.Net, facet.JA4: event.JA4, facet.Build: event.Build, facet.Route: event.Route, facet.Tenant: event.Tenant,
	}[k])
}

// hear reads a loop-back frame. Each frame is read once, and only after all earlier
// frames of its owner.
func (o *Oracle) hear(frame []byte) (signals []score.Signal, err error) {
	l, incarnation, findings, err := facet.ReadLoopback(frame)
	if err != nil {
		return nil, err
	}
	if incarnation != o.at.Incarnation || int(l.From) >= o.partitions {
		return nil, fmt.Errorf("%w: loop-back of incarnation %d from %d", engine.ErrForeign, incarnation, l.From)
	}
	last := o.chains[l.From]
	known := !before(last, l.Step)
	if !known && before(last, l.Previous) {
		return nil, fmt.Errorf("%w: loop-back from %d: %v follows %v, not %v", engine.ErrGap, l.From, l.Step, l.Previous, last)
	}
	if !known {
		o.chains[l.From] = l.Step
	}
	o.hearVerdicts(frame, l.From, known)
	for _, f := range findings {
		for _, e := range f.Members {
			if known {
				o.loopback.Duplicate++
			} else {
				o.loopback.Heard++
				signals = append(signals, o.member(&f.Finding, e)...)
			}
			o.at.Index++
		}
	}
	return signals, nil
}

func before(a, b facet.Step) bool { return a.Next < b.Next || a.Next == b.Next && a.Part < b.Part }

// member gives a member its signal.
func (o *Oracle) member(f *facet.Finding, e facet.Entity) []score.Signal {
	i := slices.IndexFunc(o.set.Rules, func(r *rules.Rule) bool { return r.Slot == f.Slot })
	if i < 0 {
		o.loopback.Unknown++
		return nil
	}
	sig := o.signal(o.set.Rules[i], e)
	sig.Group = f.Group
	sig.Weight, sig.Tier, sig.Time, sig.Source, sig.SourceOffset = f.Weight, int(f.Tier), f.Time, f.Source, f.Offset
	sig.Evidence = f.Evidence
	if sig.Clears = f.Clears; sig.Clears {
		sig.Weight, sig.Asks = 0, 0
		if !o.gone(e) {
			o.score(sig, slices.DeleteFunc(slices.Clone(o.scores[sig.Entity].Contributions), o.worthless))
		}
		return []score.Signal{sig}
	}
	if !o.gone(e) {
		o.hold(&sig)
	}
	if sig.Weight > 0 && !o.worthless(contribution(sig)) {
		o.touch(sig.Entity, sig.Time)
		// The finding may be old. Contributions that are worth nothing by now are
		// dropped.
		o.score(sig, slices.DeleteFunc(slices.Clone(o.scores[sig.Entity].Contributions), o.worthless))
	}
	return []score.Signal{sig}
}

func (o *Oracle) worthless(c score.Contribution) bool { return o.powers.worth(c, o.watermark) < point }
