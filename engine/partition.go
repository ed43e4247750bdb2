// Package engine is stage two: it owns the state of facet partitions, feeds
// facets to detectors, and turns what they find into signals and scores.
//
// Its pure part, [Partition], is a function of the facet log: no clock, no
// randomness, no look-ups, no map order. The runtime around it ([Stage])
// connects it to Kafka and to the stores.
package engine

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// ErrGap means that a frame's range of a raw partition does not join the covered
// range: something in between is missing.
var ErrGap = errors.New("the facet log has a gap")

// ErrForeign means that a frame belongs to another incarnation of the stream, or
// names a raw partition that does not exist.
var ErrForeign = errors.New("the frame is not of this stream")

// source is the state of one raw partition.
type source struct {
	heard     bool
	owner     uint64 // the highest seen
	next      int64  // raw offset up to which everything is covered
	watermark int64
	sent      uint64 // facets that the owner has sent, as far as they came
	ledger    Totals
}

// Partition is the state of one facet partition. One goroutine uses it.
type Partition struct {
	cfg         Config
	id          int32
	incarnation uint64
	hasher      facet.Hasher

	lane                // of the rules that give scores
	shadow       *lane  // of rules that are only watched; nil: there are none
	shadowNumber uint64 // of the last switch record for them

	begun     int64    // facet offset at which the state began; 0, unless a loss was declared
	past      uint64   // names the terms that the state came about under before the present ones, and where they ended
	sources   []source // of the raw partitions; the last is that of controls
	watermark int64
	latest    int64 // time that a source has said, but for the end

	reader  facet.Reader
	facet   facet.Facet
	scratch []score.Contribution

	loopback loopback
}

// NewPartition creates the empty state of a partition.
func NewPartition(cfg Config, set *rules.Set, hasher facet.Hasher, id int32, incarnation uint64) (*Partition, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Sources < 1 {
		return nil, fmt.Errorf("facet partition %d: the number of raw partitions is not known", id)
	}
	if int(id) >= cfg.Partitions {
		return nil, fmt.Errorf("facet partition %d: there are only %d", id, cfg.Partitions)
	}
	p := &Partition{
		cfg: cfg, id: id, incarnation: incarnation, hasher: hasher, sources: make([]source, cfg.Sources+1), watermark: facet.NoWatermark,
	}
	p.latest = facet.NoWatermark
	p.loopback = newLoopback(cfg.Partitions)
	p.table = state.New(p.caps())
	if err := p.use(set, p.environment()); err != nil {
		return nil, err
	}
	return p, nil
}

// environment returns what detectors share.
func (p *Partition) environment() detectors.Environment {
	return detectors.Environment{Lateness: p.cfg.Lateness.Milliseconds(), Hasher: p.hasher}
}

func (p *Partition) caps() (caps state.Caps) {
	for k := range p.byKind {
		caps[k] = p.cfg.MaxEntities
	}
	for i := range cohortFields {
		caps[firstCohort+i] = p.cfg.MaxCohorts
	}
	return caps
}

// Output is the output of applied records.
type Output struct {
	Signals  []score.Signal
	Updates  []score.Update  // one for each entity whose score changed, the latest
	Loopback []LoopbackFrame // in the order in which they are to be written
	Shadow   []score.Signal  // of rules that are only watched: they are shown, and nobody acts on them
	Rules    []RuleChange    // of the record, if it is a switch record that counts

	updated map[facet.Entity]int // places in Updates, once there are many; looked up only
}

// Reset empties o for reuse.
func (o *Output) Reset() {
	clear(o.Signals)
	clear(o.Updates)
	clear(o.Loopback)
	clear(o.Shadow)
	clear(o.Rules)
	clear(o.updated)
	o.Signals, o.Updates, o.Loopback, o.Shadow, o.Rules = o.Signals[:0], o.Updates[:0], o.Loopback[:0], o.Shadow[:0], o.Rules[:0]
}

func (o *Output) empty() bool {
	return len(o.Signals)+len(o.Updates)+len(o.Loopback)+len(o.Shadow)+len(o.Rules) == 0
}

// update replaces an earlier score of the same entity.
func (o *Output) update(u score.Update) {
	if i := o.placeOf(u.Entity); i >= 0 {
		old := &o.Updates[i]
		u.Expires = max(u.Expires, old.Expires)
		*old = u
		return
	}
	o.Updates = append(o.Updates, u)
	if len(o.Updates) > manyUpdates {
		o.updated[u.Entity] = len(o.Updates) - 1
	}
}

// manyUpdates is the number of updates from which a map finds them: a record that
// calls many timers has as many updates.
const manyUpdates = 32

func (o *Output) placeOf(e facet.Entity) int {
	if len(o.Updates) < manyUpdates {
		return slices.IndexFunc(o.Updates, func(u score.Update) bool { return u.Entity == e })
	}
	if len(o.updated) == 0 {
		o.updated = make(map[facet.Entity]int, 2*manyUpdates)
		for i := range o.Updates {
			o.updated[o.Updates[i].Entity] = i
		}
	}
	if i, ok := o.updated[e]; ok {
		return i
	}
	return -1
}

// Apply applies one record of the facet log. After an error the partition must not
// be used any more: it stops rather than lose data.
func (p *Partition) Apply(offset int64, frame []byte, out *Output) error {
	at := score.Position{Incarnation: p.incarnation, Partition: p.id, Offset: offset}
	if facet.IsLoopback(frame) {
		return p.hear(frame, at, out)
	}
	if facet.IsSwitch(frame) {
		return p.switchRules(frame, at, out)
	}
	p.begin(offset)
	if err := p.reader.Reset(frame); err != nil {
		return err
	}
	if err := p.belongs(p.reader.Incarnation); err != nil {
		return err
	}
	for {
		s, ok, err := p.reader.Section()
		if err != nil {
			return err
		}
		if !ok {
			p.passTime(&at, out)
			p.emitAll(offset, out)
			return nil
		}
		if err := p.section(s, &at, out); err != nil {
			return err
		}
	}
}

// belongs checks that a frame is of this stream.
func (p *Partition) belongs(incarnation uint64) error {
	if incarnation != p.incarnation {
		return fmt.Errorf("%w: incarnation %d, not %d", ErrForeign, incarnation, p.incarnation)
	}
	return nil
}

// section applies a frame's section about one raw partition.
func (p *Partition) section(s facet.Section, at *score.Position, out *Output) error {
	if int(s.Source) >= len(p.sources) || p.reader.Controls != (int(s.Source) == p.cfg.Sources) {
		return fmt.Errorf("%w: raw partition %d of %d", ErrForeign, s.Source, p.cfg.Sources)
	}
	src := &p.sources[s.Source]
	stale := s.Owner < src.owner
	if !stale {
		if src.heard && s.From > src.next {
			return fmt.Errorf("%w: raw partition %d is covered up to %d, and goes on at %d", ErrGap, s.Source, src.next, s.From)
		}
		if err := src.begin(s, p.begun > 0); err != nil {
			return err
		}
	}
	for {
		ok, err := p.reader.Facet(&p.facet)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if stale || p.facet.Offset < src.next {
			src.ledger.Duplicate++
		} else {
			src.ledger.Applied++
			if p.reader.Controls {
				p.control(src, *at, out)
			} else {
				p.apply(src, *at, out)
			}
		}
		at.Index++
	}
	if stale {
		return nil
	}
	if src.next = max(src.next, s.To); p.reader.Controls {
		return nil
	}
	src.watermark = max(src.watermark, s.Watermark)
	p.see(s.Watermark)
	if p.advance() {
		p.passTime(at, out)
	}
	return nil
}

// begin reads the head of a section from the current owner. None of the facets that
// the owner has sent may be missing. If the state began after a loss, none may be
// missing after the first that arrives.
func (s *source) begin(sec facet.Section, partial bool) error {
	n := uint64(sec.Facets)
	fresh := !s.heard || sec.Owner > s.owner
	if !s.heard {
		*s = source{heard: true, next: sec.From, watermark: facet.NoWatermark}
	}
	if s.owner = sec.Owner; fresh {
		s.sent = 0
		if partial {
			s.sent = sec.Sent - n
		}
	}
	if sec.Sent <= s.sent {
		return nil // known, or nothing
	}
	if s.sent += n; s.sent != sec.Sent {
		return fmt.Errorf("%w: of the %d facets that owner %d of raw partition %d has sent by now, %d came", ErrGap, sec.Sent, sec.Owner, sec.Source, s.sent)
	}
	return nil
}

// advance moves the watermark to the minimum of all raw partitions, once all were
// heard from. Controls have no part in it: they may be silent for weeks. It reports
// whether time has passed.
func (p *Partition) advance() bool {
	least := int64(math.MaxInt64)
	for i := range p.cfg.Sources {
		if !p.sources[i].heard {
			return false
		}
		least = min(least, p.sources[i].watermark)
	}
	before := p.watermark
	p.watermark = max(before, least)
	return p.watermark > before
}

// late reports whether the windows of a time have closed. A facet that ingest
// marked as delayed is late, too.
func (p *Partition) late(t int64) bool {
	return p.watermark != facet.NoWatermark && t < p.watermark-p.cfg.Lateness.Milliseconds()
}

// closed returns the watermark at which events before t are late. State needed
// until t can then be dropped, because no event can show that it is missing.
func (p *Partition) closed(t int64) int64 { return t + p.cfg.Lateness.Milliseconds() }

// apply shows the facet to the rules of its kind that match and do not except it. A
// facet of an entity that is not admitted reaches no rule. The ledger counts it,
// and so does the sketch that admits the entity once it has come often enough.
func (p *Partition) apply(src *source, at score.Position, out *Output) {
	f := &p.facet
	late := p.late(f.Time) || f.Delayed()
	if late {
		src.ledger.Late++
	}
	if l := &p.lane; l.matches(f) {
		if !p.find(l, at, late) {
			if !late {
				src.ledger.Unadmitted++
			}
			p.traceUnkept(late)
		} else {
			p.feed(l, late, func(a *active) { p.fire(&l.current, a, facet.NoWatermark, at, late, out) })
		}
	}
	if l := p.shadow; l != nil && l.matches(f) && p.find(l, at, late) {
		p.feed(l, late, func(a *active) { p.watch(l, a, at, late, out) })
	}
}

// matches reports whether any rule of the lane matches the facet without an
// exception.
func (l *lane) matches(f *facet.Facet) bool {
	l.matched = l.matchers[f.Entity.Kind].Match(&f.Fields, l.matched[:0])
	l.except(f)
	return len(l.matched) > 0
}

// feed shows the facet to the rules that match it.
func (p *Partition) feed(l *lane, late bool, fired func(*active)) {
	f, c := &p.facet, &l.context
	l.cohorts.close()
	l.timers.read(&l.current)
	for _, i := range l.matched {
		a := &l.byKind[f.Entity.Kind][i]
		c.Counts, l.firing.Clears, l.slot.id = false, false, a.rule.Slot
		fires := l.show(a)
		if l.trace != nil {
			l.traceRule(a, fires)
		}
		if a.members != nil {
			l.slot.id = a.rule.Members.Slot
			a.members.Apply(&l.slot, c)
		}
		if fires {
			fired(a)
		}
	}
}

// find opens the context of the facet and the record of its entity, or creates a
// record if there is room. A late event uses an existing record, but creates none
// and prolongs none: otherwise late events could displace others.
func (p *Partition) find(l *lane, at score.Position, late bool) (found bool) {
	f, e, c := &p.facet, &l.current, &l.context
	// The context is filled before the record: a copy of recently read data would
	// have to wait for the record's writes, which miss the cache.
	c.Event, c.Entity, c.Source, c.Offset = &f.Fields, f.Entity, f.Source, f.Offset
	c.Time, c.Watermark, c.Late = f.Time, p.watermark, late
	key := p.hasher.Sum(f.Entity)
	if late {
		e.Record, found = l.table.Find(key, p.watermark)
		return found
	}
	if e.Record, found = l.table.Get(key, p.watermark); !found {
		e.Record, found = l.table.Admit(key, uint8(f.Entity.Kind), p.hasher.Text(f.Entity.Tenant), p.watermark)
	}
	if found {
		e.Touch(at.Offset, p.closed(f.Time+l.horizon(f.Entity.Kind)))
	}
	return found
}

// fire turns a firing into a signal and adds it to the entity's score. A signal
// that a false positive holds back counts for nothing, and no member hears of it.
// Contributions that are worth nothing at now are removed.
func (p *Partition) fire(e *entity, a *active, now int64, at score.Position, late bool, out *Output) {
	sig := p.found(&p.lane, a, at, late)
	e.Prolong(p.closed(sig.Time + a.after))
	if label, held := p.heldBack(e, sig.Rule, sig.Time); held && !sig.Clears {
		excuse(&sig, label)
		out.Signals = append(out.Signals, sig)
		return
	}
	out.Signals = append(out.Signals, sig)
	if a.members != nil {
		p.tell(a, at, out)
	}
	if now != facet.NoWatermark && !sig.Clears && score.Fades([]score.Contribution{sig.Contribution()}) <= now {
		return
	}
	if merged := p.addToScore(e, now, sig, out); merged != nil {
		until := p.closed(score.Fades(merged))
		if sig.Lowers || sig.Clears {
			e.Prolong(until) // what speaks for somebody can be had as often as he likes
		} else {
			e.Spare(until)
		}
	}
}

// say sets the weight of a signal. A clearing signal has none, and asks for
// nothing.
func say(sig *score.Signal, weight uint8, clears bool) {
	if sig.Weight, sig.Clears = weight, clears; clears {
		sig.Weight, sig.Asks = 0, 0
	}
}

// watch turns a firing of the shadow lane into a signal.
func (p *Partition) watch(l *lane, a *active, at score.Position, late bool, out *Output) {
	out.Shadow = append(out.Shadow, p.found(l, a, at, late))
	l.current.Prolong(p.closed(l.context.Time + a.after))
}

// found returns the signal of a firing.
func (p *Partition) found(l *lane, a *active, at score.Position, late bool) score.Signal {
	f := &l.context
	sig := l.signal(a.rule, facet.Entity{Kind: f.Entity.Kind, Tenant: strings.Clone(f.Entity.Tenant), Key: strings.Clone(f.Entity.Key)}, at)
	say(&sig, l.firing.Weight, l.firing.Clears)
	sig.Tier, sig.Late = l.firing.Tier, late
	sig.Time, sig.Source, sig.SourceOffset = f.Time, f.Source, f.Offset
	sig.Evidence = ownEvidence(l.firing.Evidence)
	return sig
}

// ownEvidence copies evidence whose texts may alias a frame.
func ownEvidence(list []facet.Evidence) []facet.Evidence {
	own := append([]facet.Evidence(nil), list[:min(len(list), facet.MostEvidence)]...)
	for i := range own {
		own[i].Name, own[i].Text = strings.Clone(own[i].Name), strings.Clone(own[i].Text)
	}
	return own
}

// signal returns a rule's signal about an entity, whatever caused it.
func (l *lane) signal(r *rules.Rule, e facet.Entity, at score.Position) score.Signal {
	return score.Signal{
		Position: at, Rule: r.ID, RulesVersion: l.rules.Version, Category: r.Category, Reason: r.Reason,
		Entity: e, HalfLife: r.HalfLife, Phase: r.Phase, Lowers: r.Lowers, Asks: r.AsksOf(e.Kind),
	}
}

// addToScore adds a signal to the score of its entity, whose record is e.
// Contributions that are worth nothing at now are removed. It returns the new
// contributions; nil if the score is unchanged.
func (p *Partition) addToScore(e *entity, now int64, sig score.Signal, out *Output) []score.Contribution {
	if sig.Weight == 0 && !sig.Clears {
		return nil
	}
	all := p.contributions(e)
	until, u := score.Expires(all), score.Update{Entity: sig.Entity, Position: sig.Position}
	was := score.Raised(all) && until > max(now, sig.Time)
	merged, faded := score.Live(all, now)
	changed := false
	if sig.Clears {
		u.Expires = until
		merged, changed = score.Clear(merged, sig.Rule, sig.Time)
	} else {
		merged, changed = score.Merge(merged, sig.Contribution())
		changed = changed || faded
	}
	if !changed || !e.keepName(sig.Entity) || !e.keepScore(sig.Position, merged, p.slotOf) {
		return nil
	}
	if was || score.Raised(merged) { // else the score is 0, as it was
		u.Contributions = append(u.Contributions, merged...)
		out.update(u)
	}
	return merged
}

// contributions reads an entity's score. Removed rules do not contribute.
func (p *Partition) contributions(e *entity) []score.Contribution {
	p.scratch = p.scratch[:0]
	e.contributions(func(slot uint32, weight uint8, at int64) {
		if r := p.bySlot[slot]; r != nil {
			p.scratch = append(p.scratch, score.Contribution{
				Rule: r.ID, Category: r.Category, Reason: r.Reason, Phase: r.Phase, Lowers: r.Lowers, Weight: weight,
				HalfLife: int64(r.HalfLife / time.Second), Time: at,
			})
		}
	})
	return p.scratch
}

func (p *Partition) slotOf(rule string) uint32 {
	for _, r := range p.rules.Rules {
		if r.ID == rule {
			return r.Slot
		}
	}
	return 0
}
