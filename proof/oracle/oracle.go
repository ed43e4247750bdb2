// Package oracle reads a facet log as the documentation says that it must be
// read: slowly, plainly, and apart from the engine. Tests, and the verifier of
// `weir chaos`, hold the engine's outputs against it.
//
// It is written from the documentation and the contracts of package score, and
// shares with the engine only words: rules, conditions, the parameters of detectors,
// the reader of frames and the types of results. It keeps whole lists, knows no caps, and forgets no entity
// as long as the rules stay the same.
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
	at       score.Position // of the facet that is read
	powers   powers

	partitions int                  // of facets
	members    map[counter][]member // of groups, as they came last
	told       []Told
	counted    int64                // of told, that are in the ledger
	chains     map[int32]facet.Step // by the facet partition that they come from
	loopback   engine.Totals

	sources   []source
	watermark int64
	counts    map[counter]model
	scores    map[facet.Entity]score.Update
	sent      map[facet.Entity]score.Update // the last of each entity that went out
	until     map[facet.Entity]int64        // watermark up to which an entity is remembered
	forgets   bool                          // entities whose time is up
	unscored  bool                          // its rules are only watched: no score keeps an entity in memory

	switched [2]uint64 // by lane: the last switch record's number
	watched  *Oracle   // of rules that are only watched; nil: there are none
	shadow   []score.Signal

	reader facet.Reader
	facet  facet.Facet
	whole  bool // windows remember every event, whatever the bounds

	cohorts  map[cohortName]*group
	verdicts []facet.Verdict // that the record read last caused

	timers map[counter]timer
	latest int64 // time that a source has said, but for the end
	called int   // by the record

}

// counter names what one rule counts of one entity.
type counter struct {
	entity facet.Entity
	rule   string
}

// New makes an oracle that has read nothing. Of cfg it takes the lateness and
// the numbers of partitions; caps are assumed not to be reached.
func New(set *rules.Set, cfg engine.Config, hasher facet.Hasher, partition int32, incarnation uint64) *Oracle {
	return &Oracle{
		set: set, lateness: cfg.Lateness.Milliseconds(), hasher: hasher,
		at:     score.Position{Incarnation: incarnation, Partition: partition},
		powers: newPowers(), sources: make([]source, cfg.Sources), watermark: facet.NoWatermark,
		partitions: cfg.Partitions, members: map[counter][]member{}, chains: map[int32]facet.Step{},
		counts: map[counter]model{}, scores: map[facet.Entity]score.Update{}, sent: map[facet.Entity]score.Update{},
		until: map[facet.Entity]int64{}, timers: map[counter]timer{}, cohorts: map[cohortName]*group{}, latest: facet.NoWatermark,
	}
}

// source is what is known of one raw partition.
type source struct {
	heard     bool
	owner     uint64
	next      int64 // everything below is covered
	watermark int64
	sent      uint64 // facets of the owner
	totals    engine.Totals
}

// begin looks at a section before its facets are read. A former owner's section
// is stale; of a present one's, ranges must join.
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

// end takes in what the section covered.
func (s *source) end(sec facet.Section) {
	s.next = max(s.next, sec.To)
	s.watermark = max(s.watermark, sec.Watermark)
}

// Apply reads one record. It returns the signals that it causes, in order. After
// an error the oracle must not be used any more.
func (o *Oracle) Apply(offset int64, frame []byte) ([]score.Signal, error) {
	o.at.Offset, o.at.Index, o.told, o.counted, o.shadow, o.verdicts = offset, 0, nil, 0, nil, nil
	o.beginTimers()
	frame = bytes.Clone(frame) // models keep texts of it, and a reader's buffer is used again
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
	if int(sec.Source) >= len(o.sources) {
		return nil, fmt.Errorf("%w: raw partition %d", engine.ErrForeign, sec.Source)
	}
	src := &o.sources[sec.Source]
	stale, err := src.begin(sec)
	if err != nil {
		return nil, err
	}
	for ; ; o.at.Index++ {
		ok, err := o.reader.Facet(&o.facet)
		if before := o.watermark; err == nil && !ok && !stale {
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
		old := o.watermark != facet.NoWatermark && o.facet.Time < o.watermark-o.lateness
		if f := &o.facet.Fields; old || f.Num(event.Delayed) == 1 && f.Num(event.Skewed) == 0 {
			src.totals.Late++
			continue
		}
		signals = append(signals, o.event()...)
		o.watch()
	}
}

// advance: the watermark is the least over the sources, once all were heard of,
// and never goes back.
func (o *Oracle) advance() {
	least := o.sources[0].watermark
	for _, s := range o.sources {
		if !s.heard {
			return
		}
		least = min(least, s.watermark)
	}
	o.watermark = max(o.watermark, least)
}

// event shows the facet, which is on time, to the rules of its kind.
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
		timer := o.timers[c].due
		a := arrival{&f.Fields, f.Source, f.Offset, f.Time, o.watermark, o.lateness, o.cohortsOf(c, r), &timer, entity, o.recaller(r)}
		fired, counts := w.arrive(a)
		o.wait(c, r, a)
		if counts && r.Members != nil {
			o.join(c, r, &f.Fields, f.Time)
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

// found makes the signal of a firing, and tells the members of a group.
func (o *Oracle) found(c counter, r *rules.Rule, a arrival, fired *firing) score.Signal {
	sig := o.signal(r, c.entity)
	sig.Weight, sig.Tier, sig.Evidence = fired.weight, fired.tier, fired.evidence
	if sig.Clears = fired.clears; sig.Clears {
		sig.Weight, sig.Asks = 0, 0
	}
	sig.Time, sig.Source, sig.SourceOffset = a.time, a.source, a.offset
	o.keep(c.entity, a.time+r.Spec.Keeps().After.Milliseconds())
	if r.Members != nil && !o.unscored {
		o.tell(c, r, sig)
	}
	return sig
}

// signal is what a rule says here, whatever it says.
func (o *Oracle) signal(r *rules.Rule, entity facet.Entity) score.Signal {
	return score.Signal{
		Position: o.at, Rule: r.ID, RulesVersion: o.set.Version, Category: r.Category, Reason: r.Reason,
		Entity: entity, HalfLife: r.HalfLife, Phase: r.Phase, Lowers: r.Lowers, Asks: asks(r, entity.Kind),
	}
}

// asks is what a signal of a rule about a kind asks for: to notify only of the
// rule's own entity, to revoke only of what is or has credentials.
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

// score adds a signal to its entity's score, of which list is what counts. One of
// weight 0 leaves it alone, unless it clears: then what the rule said up to its time
// goes, and the score is remembered for as long as it would have been. A score that
// was 0 and is 0, because nothing raises it by then, goes nowhere.
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
		expires = max(expires, last.Expires) // of the same record: one score is sent
	}
	u.Expires = expires
	o.sent[sig.Entity] = u
}

func lowers(c score.Contribution) bool { return c.Lowers }

// Scores lists every entity that has a live score at the watermark, of which
// something that raises it is worth at least a point, ordered by kind, tenant and key: what Redis must hold
// in the end.
func (o *Oracle) Scores() []score.Update {
	var live []score.Update
	for _, u := range o.scores {
		if !o.gone(u.Entity) && slices.ContainsFunc(u.Contributions, func(c score.Contribution) bool { return !c.Lowers && o.powers.worth(c, o.watermark) >= point }) {
			u.Expires = 0 // says how long a former value could matter
			live = append(live, u)
		}
	}
	slices.SortFunc(live, func(a, b score.Update) int { return compareEntities(a.Entity, b.Entity) })
	return live
}

func compareEntities(a, b facet.Entity) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key))
}

// Ledger is what became of the facets, by raw partition.
func (o *Oracle) Ledger() engine.Ledger {
	l := engine.Ledger{Sources: make([]engine.SourceLedger, len(o.sources)), Loopback: o.loopback}
	for i, s := range o.sources {
		l.Sources[i] = engine.SourceLedger{Next: s.next, Totals: s.totals}
	}
	return l
}

// Watermark is the event time that all sources have passed, Unix ms.
func (o *Oracle) Watermark() int64 { return o.watermark }
