// Package oracle reads a facet log exactly as the documentation prescribes: slowly,
// plainly, and independently of the engine. Tests, and the verifier of `weir chaos`,
// compare the engine's outputs with it.
//
// It is written from the documentation and the contracts of package score. It shares
// only vocabulary with the engine: rules, conditions, the parameters of detectors,
// the frame reader and the result types. It keeps whole lists, has no caps, and
// forgets no entity as long as the rules stay the same.
package oracle

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Oracle reads the recorded facet log of one facet partition.
type Oracle struct {
	set      *rules.Set
	lateness int64 // ms
	hasher   facet.Hasher
	at       score.Position // of the current facet
	powers   powers

	partitions int                  // of facets
	members    map[counter][]member // latest members of groups
	told       []Told
	counted    int64                // those of told that are in the ledger
	chains     map[int32]facet.Step // by source facet partition
	loopback   engine.Totals

	sources   []source
	watermark int64
	counts    map[counter]model
	scores    map[facet.Entity]score.Update
	sent      map[facet.Entity]score.Update // the last update sent for each entity
	until     map[facet.Entity]int64        // watermark until which an entity is remembered
	forgets   bool                          // entities whose time is up are forgotten
	unscored  bool                          // its rules are shadow rules: no score keeps an entity in memory

	switched [2]uint64 // by lane: number of the last switch record
	watched  *Oracle   // oracle of the shadow rules; nil: there are none
	shadow   []score.Signal

	reader facet.Reader
	facet  facet.Facet
	whole  bool // windows remember every event, regardless of bounds

	cohorts  map[cohortName]*group
	verdicts []facet.Verdict // caused by the last record

	held map[facet.Entity][]hold // false positives in force

	timers map[counter]*timer
	agenda agenda // the same timers
	latest int64  // latest time stated by a source, except for the end
	called int    // timers called by the record
}

// counter identifies the state of one rule for one entity.
type counter struct {
	entity facet.Entity
	rule   string
}

// New creates an oracle that has read nothing. It uses only the lateness and the
// partition counts of cfg; it assumes that no cap is reached.
func New(set *rules.Set, cfg engine.Config, hasher facet.Hasher, partition int32, incarnation uint64) *Oracle {
	return &Oracle{
		set: set, lateness: cfg.Lateness.Milliseconds(), hasher: hasher,
		at:     score.Position{Incarnation: incarnation, Partition: partition},
		powers: newPowers(), sources: make([]source, cfg.Sources+1), watermark: facet.NoWatermark,
		partitions: cfg.Partitions, members: map[counter][]member{}, chains: map[int32]facet.Step{},
		counts: map[counter]model{}, scores: map[facet.Entity]score.Update{}, sent: map[facet.Entity]score.Update{},
		until: map[facet.Entity]int64{}, timers: map[counter]*timer{}, held: map[facet.Entity][]hold{}, cohorts: map[cohortName]*group{}, latest: facet.NoWatermark,
	}
}

// source is the state of one raw partition.
type source struct {
	heard     bool
	owner     uint64
	next      int64 // all offsets below are covered
	watermark int64
	sent      uint64 // facets of the current owner
	totals    engine.Totals
}

// begin checks a section before its facets are read. A section of a former owner is
// stale; the ranges of the current owner must join.
func (s *source) begin(sec facet.Section) (stale bool, err error) {
	switch {
	case !s.heard:
		*s = source{heard: true, owner: sec.Owner, next: sec.From, watermark: facet.NoWatermark}
	case sec.Owner < s.owner:
		return true, nil
	case sec.From > s.next:
		return false, fmt.Errorf("%w: raw partition %d: from %d, expected %d at most", engine.ErrGap, sec.Source, sec.From, s.next)
	case sec.Owner > s.owner:
		s.owner, s.sent = sec.Owner, 0
	}
	if all := s.sent + uint64(sec.Facets); sec.Sent > s.sent && sec.Sent != all {
		return false, fmt.Errorf("%w: raw partition %d: %d facets are sent, %d came", engine.ErrGap, sec.Source, sec.Sent, all)
	}
	s.sent = max(s.sent, sec.Sent)
	return false, nil
}

// end records the range that the section covered.
func (s *source) end(sec facet.Section) {
	s.next = max(s.next, sec.To)
	s.watermark = max(s.watermark, sec.Watermark)
}

// Apply reads one record. It returns the resulting signals in order. After an error
// the oracle must not be used again.
func (o *Oracle) Apply(offset int64, frame []byte) ([]score.Signal, error) {
	o.at.Offset, o.at.Index, o.told, o.counted, o.shadow, o.verdicts = offset, 0, nil, 0, nil, nil
	o.beginTimers()
	frame = bytes.Clone(frame) // models keep texts of it, and a reader's buffer is reused
	if facet.IsLoopback(frame) {
		return o.hear(frame)
	}
	if facet.IsSwitch(frame) {
		return nil, o.switchRules(frame)
	}
	if err := o.reader.Reset(frame); err != nil {
		return nil, err
	}
	if o.reader.Incarnation != o.at.Incarnation {
		return nil, fmt.Errorf("%w: incarnation %d", engine.ErrForeign, o.reader.Incarnation)
	}
	var signals []score.Signal
	for {
		sec, ok, err := o.reader.Section()
		if err != nil {
			return signals, err
		}
		if !ok {
			signals = append(signals, o.passTime()...)
			o.watchTime()
			return signals, nil
		}
		more, err := o.section(sec)
		if signals = append(signals, more...); err != nil {
			return signals, err
		}
	}
}

func (o *Oracle) section(sec facet.Section) (signals []score.Signal, err error) {
	last := len(o.sources) - 1 // that of controls
	if o.reader.Controls != (int(sec.Source) == last) || int(sec.Source) > last {
		return nil, fmt.Errorf("%w: raw partition %d", engine.ErrForeign, sec.Source)
	}
	src := &o.sources[sec.Source]
	stale, err := src.begin(sec)
	if err != nil {
		return nil, err
	}
	for ; ; o.at.Index++ {
		ok, err := o.reader.Facet(&o.facet)
		if before := o.watermark; err == nil && !ok && !stale && o.reader.Controls {
			src.next = max(src.next, sec.To)
		} else if err == nil && !ok && !stale {
			src.end(sec)
			o.see(sec.Watermark)
			if o.advance(); o.watermark > before {
				signals = append(signals, o.passTime()...)
				o.watchTime()
			}
		}
		if err != nil || !ok {
			return signals, err
		}
		if stale || o.facet.Offset < src.next {
			src.totals.Duplicate++
			continue
		}
		src.totals.Applied++
		if o.reader.Controls {
			o.control()
			continue
		}
		old := o.watermark != facet.NoWatermark && o.facet.Time < o.watermark-o.lateness
		if f := &o.facet.Fields; old || f.Num(event.Delayed) == 1 && f.Num(event.Skewed) == 0 {
			src.totals.Late++
			continue
		}
		signals = append(signals, o.event()...)
		o.watch()
	}
}

// advance updates the watermark: the minimum over all sources, once each has been
// heard from. It never goes back.
func (o *Oracle) advance() {
	least := o.sources[0].watermark
	for _, s := range o.sources[:len(o.sources)-1] {
		if !s.heard {
			return
		}
		least = min(least, s.watermark)
	}
	o.watermark = max(o.watermark, least)
}

// event passes the current facet, which is on time, to the rules of its kind.
func (o *Oracle) event() (signals []score.Signal) {
	f := &o.facet
	entity := facet.Entity{Kind: f.Entity.Kind, Tenant: strings.Clone(f.Entity.Tenant), Key: strings.Clone(f.Entity.Key)}
	seen := false
	for _, r := range o.set.Rules {
		if r.Entity != entity.Kind || !r.Matches(&f.Fields) {
			continue
		}
		if !seen {
			o.touch(entity, f.Time+o.horizon(entity.Kind, &f.Fields))
			seen = true
		}
		c := counter{entity, r.ID}
		w := o.counts[c]
		if w == nil {
			w = o.model(r)
			o.counts[c] = w
		}
		timer := o.due(c)
		a := arrival{&f.Fields, f.Source, f.Offset, f.Time, o.watermark, o.lateness, o.cohortsOf(c, r), &timer, entity, o.recaller(r)}
		fired, counts := w.arrive(a)
		o.wait(c, r, a)
		if r.Members != nil {
			o.enrol(c, r, a, counts)
		}
		if fired == nil {
			continue
		}
		sig := o.found(c, r, a, fired)
		signals = append(signals, sig)
		if o.unscored {
			continue
		}
		o.score(sig, o.scores[entity].Contributions)
	}
	return signals
}

// found creates the signal of a firing, and notifies the members of a group.
func (o *Oracle) found(c counter, r *rules.Rule, a arrival, fired *firing) score.Signal {
	sig := o.signal(r, c.entity)
	sig.Weight, sig.Tier, sig.Evidence = fired.weight, fired.tier, fired.evidence
	if sig.Clears = fired.clears; sig.Clears {
		sig.Weight, sig.Asks = 0, 0
	}
	sig.Time, sig.Source, sig.SourceOffset = a.time, a.source, a.offset
	o.keep(c.entity, a.time+r.Spec.Keeps().After.Milliseconds())
	if !o.unscored && o.hold(&sig) {
		return sig
	}
	if r.Members != nil && !o.unscored {
		o.tell(c, r, sig)
	}
	return sig
}

// signal returns the fixed part of a rule's signal here.
func (o *Oracle) signal(r *rules.Rule, entity facet.Entity) score.Signal {
	return score.Signal{
		Position: o.at, Rule: r.ID, RulesVersion: o.set.Version, Category: r.Category, Reason: r.Reason,
		Entity: entity, HalfLife: r.HalfLife, Phase: r.Phase, Lowers: r.Lowers, Asks: asks(r, entity.Kind),
	}
}

// asks returns the actions that a signal of a rule about a kind requests: notify
// only for the rule's own entity, revoke only for an entity that is or has
// credentials.
func asks(r *rules.Rule, k facet.Kind) (a rules.Asks) {
	if k == r.Entity {
		a |= r.Asks & rules.Notify
	}
	switch k {
	case facet.Token, facet.Session, facet.Account:
		a |= r.Asks & rules.Revoke
	}
	return a
}

func contribution(sig score.Signal) score.Contribution {
	return score.Contribution{
		Rule: sig.Rule, Category: sig.Category, Reason: sig.Reason, Phase: sig.Phase, Lowers: sig.Lowers,
		Weight: sig.Weight, HalfLife: int64(sig.HalfLife / time.Second), Time: sig.Time,
	}
}

// score adds a signal to its entity's score, of which list holds the valid
// contributions. A signal of weight 0 has no effect unless it clears. A clearing
// signal removes the rule's contributions up to its time, and the score is
// remembered for as long as it would have been otherwise. A score that was 0 and
// stays 0, because nothing raises it by then, is not sent.
func (o *Oracle) score(sig score.Signal, list []score.Contribution) {
	if o.unscored || sig.Weight == 0 && !sig.Clears {
		return
	}
	before, expires, after := o.scores[sig.Entity].Contributions, int64(0), []score.Contribution(nil)
	if sig.Clears {
		found := false
		if after, found = o.powers.cleared(list, sig.Rule, sig.Time); !found {
			return
		}
		expires = max(0, o.faded(slices.DeleteFunc(slices.Clone(before), lowers)))
	} else {
		after = o.powers.merge(list, contribution(sig))
	}
	if slices.Equal(before, after) {
		return
	}
	u := score.Update{Entity: sig.Entity, Position: sig.Position, Contributions: after}
	o.scores[sig.Entity] = u
	o.keep(sig.Entity, o.faded(after))
	raises := func(c score.Contribution) bool { return !c.Lowers && o.powers.worth(c, sig.Time) >= point }
	if !slices.ContainsFunc(list, raises) && !slices.ContainsFunc(after, raises) {
		return
	}
	if last := o.sent[sig.Entity]; last.Position.Offset == u.Position.Offset && last.Entity == u.Entity {
		expires = max(expires, last.Expires) // in the same record: one score is sent
	}
	u.Expires = expires
	o.sent[sig.Entity] = u
}

func lowers(c score.Contribution) bool { return c.Lowers }

// Scores lists every entity with a live score at the watermark, for which some
// raising contribution is worth at least a point, ordered by kind, tenant and key.
// Redis must hold exactly these in the end.
func (o *Oracle) Scores() []score.Update {
	var live []score.Update
	for _, u := range o.scores {
		if !o.gone(u.Entity) && slices.ContainsFunc(u.Contributions, func(c score.Contribution) bool { return !c.Lowers && o.powers.worth(c, o.watermark) >= point }) {
			u.Expires = 0 // it only says how long a former value could matter
			live = append(live, u)
		}
	}
	slices.SortFunc(live, func(a, b score.Update) int { return compareEntities(a.Entity, b.Entity) })
	return live
}

func compareEntities(a, b facet.Entity) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key))
}

// Ledger returns the fate of the facets, by raw partition.
func (o *Oracle) Ledger() engine.Ledger {
	l := engine.Ledger{Sources: make([]engine.SourceLedger, len(o.sources)), Loopback: o.loopback}
	for i, s := range o.sources {
		l.Sources[i] = engine.SourceLedger{Next: s.next, Totals: s.totals}
	}
	return l
}

// Watermark returns the event time that all sources have passed, Unix ms.
func (o *Oracle) Watermark() int64 { return o.watermark }
