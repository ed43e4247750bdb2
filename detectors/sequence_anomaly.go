package detectors

import (
	"fmt"
	"math"
	"slices"
	"time"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// SequenceAnomaly holds the parameters of the sequence anomaly detector, which fires
// when an entity calls operations in an order that is very rare in its cohort.
type SequenceAnomaly struct {
	By       []event.Field // the first of these fields that an event has names the cohort to learn from
	Gap      time.Duration // events of an entity further apart than this belong to two sessions
	Learn    int           // minimum of a cohort's transitions before anybody is judged
	Least    int           // minimum of transitions from an operation before any of them is unlikely
	Odds     int           // a transition is unlikely if fewer than one in this many from its operation are like it
	HalfLife time.Duration // of the count against an entity
	MinShare int           // minimum percentage of unlikely transitions
	Cooldown time.Duration // event time until the same weight may fire again for the entity
	Tiers    []UnlikelyTier
}

// UnlikelyTier is one step of an answer: a minimum number of unlikely transitions,
// and the weight.
type UnlikelyTier struct {
	At     int
	Weight uint8
}

const (
	mostOperations = 48     // of a cohort, including session start and the catch-all
	mostHeldBack   = 32     // events of an entity that wait for earlier ones
	mostFrom       = 20_000 // transitions from an operation after which its counts are halved
	operationName  = 40     // bytes
	readPrefix     = "GET " // of the name of an operation that reads
	worstKept      = 3
)

// SequenceAnomalyKind describes the detector to the rules.
func SequenceAnomalyKind() rules.Kind {
	return rules.Kind{
		Name: "sequence_anomaly",
		Doc:  "learns the order in which an app calls operations, and finds an entity that calls them in another order",
		Keys: []rules.Key{
			rules.ListKey("by", rules.Required, 1, 2, "the order is learned from entities with the same value in the first of these fields that an event has",
				rules.ChoiceKey("", rules.Required, []string{"app_version", "country"}, "a field")),
			rules.DurationKey("session_gap", rules.Optional, time.Second, longestWindow, "events of an entity that are further apart belong to two sessions; default 30m"),
			rules.CountKey("learn", rules.Optional, 1, 1_000_000, "number of learned transitions before anybody is judged; default 2000"),
			rules.CountKey("least", rules.Optional, 1, mostFrom/2, "minimum number of transitions from an operation for one to be unlikely; default 50"),
			rules.CountKey("odds", rules.Optional, 2, 10_000, "a transition is unlikely if fewer than one in this many from its operation are like it; default 200"),
			rules.DurationKey("half_life", rules.Optional, time.Second, longestStretch, "time in which an entity's counts halve; default 1h"),
			rules.CountKey("min_share", rules.Optional, 1, 100, "percentage of the entity's transitions that must be unlikely; default 30"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestStretch, "time until the same weight may fire again for the entity; default 1h"),
			rules.ListKey("tiers", rules.Required, 1, 8, "the steps, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.CountKey("at", rules.Required, 1, 1000, "number of unlikely transitions that fires"),
				rules.CountKey("weight", rules.Required, 1, 100, "confidence of the signal, in percent"))),
		},
		Compile: compileSequenceAnomaly,
	}
}

func compileSequenceAnomaly(p *rules.Params) rules.Spec {
	s := &SequenceAnomaly{
		By: fieldsOf(p.Texts("by")), Gap: p.DurationOr("session_gap", 30*time.Minute), Learn: p.IntOr("learn", 2000), Least: p.IntOr("least", 50), Odds: p.IntOr("odds", 200),
		HalfLife: p.DurationOr("half_life", time.Hour), MinShare: p.IntOr("min_share", 30), Cooldown: p.DurationOr("cooldown", time.Hour),
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "at", "this tier does not wait for more than the one before it", "order the tiers by at, each with a number of its own")
	rules.Ascending(tiers, "weight", "this tier can never be seen: it weighs no more than the one before it", "give later tiers greater weights, or remove this one")
	for _, t := range tiers {
		s.Tiers = append(s.Tiers, UnlikelyTier{At: t.Int("at"), Weight: uint8(t.Int("weight"))})
	}
	return s
}

// Fields implements [rules.Spec].
func (s *SequenceAnomaly) Fields() []event.Field {
	all := append(slices.Clone(s.By), event.Method, event.Route)
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (s *SequenceAnomaly) State() string { return fmt.Sprintf("transitions by %d", s.By) }

// Canonical implements [rules.Spec].
func (s *SequenceAnomaly) Canonical() string {
	return fmt.Sprintf("by %d gap %d learn %d least %d odds %d half-life %d share %d cooldown %d tiers %d", s.By, s.Gap.Milliseconds(), s.Learn, s.Least, s.Odds,
		s.HalfLife.Milliseconds(), s.MinShare, s.Cooldown.Milliseconds(), s.Tiers)
}

// Keeps implements [rules.Spec].
func (s *SequenceAnomaly) Keeps() rules.Keeps {
	reach := s.reach()
	return rules.Keeps{
		Reach: reach, After: s.Cooldown, Bytes: orderHeader + mostHeldBack*waitingSize, Ahead: reach,
		Cohort: rules.KeepsOfCohort{Reach: usualReach, Bytes: orderSize},
	}
}

// reach returns how long an entity is remembered. By then the count against it has
// mostly decayed.
func (s *SequenceAnomaly) reach() time.Duration { return s.Gap + 8*s.HalfLife }

func (s *SequenceAnomaly) detector(e Environment) Detector {
	return &sequenceAnomaly{
		rule: s, lateness: e.Lateness, gap: s.Gap.Milliseconds(), half: s.HalfLife.Milliseconds(), reach: s.reach().Milliseconds(),
		cooldown: s.Cooldown.Milliseconds(), hasher: e.Hasher,
	}
}

// sequenceAnomaly holds an entity's events back until all earlier ones have arrived,
// and then processes them in order: it compares each transition with those of the
// cohort, and adds it to the cohort.
//
// Of an entity the payload is a header of 104 bytes, and 24 for each waiting event,
// in order of time:
//
//	0 fired at i64 · 8 last event i64 · 16 decayed up to i64 · 24 seen i64 (Unix ms) · 32 last operation u32 ·
//	36 transitions u32 · 40 unlikely ones u32 (16ths) · 44 weight fired u8 · 45 flags u8 · 46 unused 2 ·
//	48 key of the cohort u64 · 56 the least likely transitions, three of 16 bytes: from u32 · to u32 · same transition u32 · all from there u32
//	waiting: time i64 (Unix ms) · raw offset i64 · operation u32 · raw partition i32
//
// Of a cohort it is: transitions u32 · operations u8 · 3 unused; then for each of 48
// operations its number u32, transitions from it u32 and its name, 40 bytes; then 48
// rows of 48 counts u16 of transitions. Operation 0 stands for the start of a
// session, 1 for all operations without a place. Numbers are 32 bits of the name's
// hash.
type sequenceAnomaly struct {
	rule     *SequenceAnomaly
	lateness int64 // ms
	gap      int64 // ms
	half     int64 // ms
	reach    int64 // ms
	cooldown int64 // ms
	hasher   Hasher
	name     []byte // of an operation
}

const (
	worstAt       = 56
	worstSize     = 16
	orderHeader   = worstAt + worstKept*worstSize
	waitingSize   = 24
	operationsAt  = 8
	operationSize = 8 + operationName
	countsAt      = operationsAt + mostOperations*operationSize
	orderSize     = countsAt + 2*mostOperations*mostOperations
	orderFraction = 16
)

// Flags of an entity's payload.
const (
	orderFired uint8 = 1 << iota
	orderBegan       // a last event is present
	orderFlags = 1<<iota - 1
)

// Operations that stand for something else.
const (
	beginning = 0
	another   = 1
)

// ordered is a view of an entity's payload.
type ordered []byte

func (m ordered) i64(at int) int64      { return int64(le.Uint64(m[at:])) }
func (m ordered) put(at int, v int64)   { le.PutUint64(m[at:], uint64(v)) }
func (m ordered) u32(at int) int64      { return int64(le.Uint32(m[at:])) }
func (m ordered) set(at int, v int64)   { le.PutUint32(m[at:], uint32(v)) }
func (m ordered) firedAt() int64        { return m.i64(0) }
func (m ordered) last() int64           { return m.i64(8) }
func (m ordered) decayed() int64        { return m.i64(16) }
func (m ordered) seen() int64           { return m.i64(24) }
func (m ordered) operation() uint32     { return le.Uint32(m[32:]) }
func (m ordered) transitions() int64    { return m.u32(36) }
func (m ordered) unlikely() int64       { return m.u32(40) }
func (m ordered) is(flag uint8) bool    { return m[45]&flag != 0 }
func (m ordered) cohort() uint64        { return le.Uint64(m[48:]) }
func (m ordered) worst(i int) ordered   { return m[worstAt+worstSize*i:][:worstSize] }
func (m ordered) len() int              { return (len(m) - orderHeader) / waitingSize }
func (m ordered) waiting(i int) ordered { return m[orderHeader+i*waitingSize:][:waitingSize] }
func (m ordered) timeOf(i int) int64    { return m.waiting(i).i64(0) }
func (m ordered) numberOf(i int) uint32 { return le.Uint32(m.waiting(i)[16:]) }
func (m ordered) forgetWorst()          { clear(m[worstAt:orderHeader]) }

// order is a view of a cohort's payload.
type order []byte

func (o order) all() int64             { return int64(le.Uint32(o)) }
func (o order) operations() int        { return int(o[4]) }
func (o order) operation(i int) []byte { return o[operationsAt+i*operationSize:][:operationSize] }
func (o order) number(i int) uint32    { return le.Uint32(o.operation(i)) }
func (o order) from(i int) int64       { return int64(le.Uint32(o.operation(i)[4:])) }
func (o order) count(i, j int) []byte  { return o[countsAt+2*(i*mostOperations+j):][:2] }
func (o order) like(i, j int) int64    { return int64(le.Uint16(o.count(i, j))) }

// find returns the index of an operation.
func (o order) find(number uint32) int {
	for i := another + 1; i < o.operations(); i++ {
		if o.number(i) == number {
			return i
		}
	}
	return another
}

// reads reports whether an operation that has a place is a read.
func (o order) reads(i int) bool {
	return i > another && string(o.operation(i)[8:8+len(readPrefix)]) == readPrefix
}

// learn counts a transition. If the operation has many, all its counts are halved.
func (o order) learn(i, j int) {
	le.PutUint32(o, uint32(min(o.all()+1, math.MaxUint32)))
	le.PutUint16(o.count(i, j), uint16(o.like(i, j)+1))
	from := o.from(i) + 1
	if from >= mostFrom {
		from = 0
		for k := range mostOperations {
			half := o.like(i, k) / 2
			le.PutUint16(o.count(i, k), uint16(half))
			from += half
		}
	}
	le.PutUint32(o.operation(i)[4:], uint32(from))
}

// Apply implements Detector.
func (d *sequenceAnomaly) Apply(c *Context, f *Firing) bool {
	if c.Late || !c.Event.Has(event.Route) {
		return false
	}
	cohort := d.cohortOf(c)
	if cohort == nil {
		return false
	}
	c.Counts = true
	m := d.open(c)
	if m == nil {
		return false
	}
	settled := int64(math.MinInt64)
	if c.Watermark != math.MinInt64 {
		settled = c.Watermark - d.lateness
	}
	if key := cohort.Key(); m.cohort() != key {
		m = c.Own.Resize(orderHeader)
		m.leave(key)
	}
	m, tier := d.take(m, c, settled)
	if m.len() == mostHeldBack {
		var t int
		m, t = d.take(m, c, m.timeOf(0))
		tier = max(tier, t)
	}
	fired := tier >= 0 && d.fire(m, c, f, tier)
	if m.is(orderBegan) && c.Time < m.last() {
		c.Timer = m.due()
		return fired
	}
	d.wait(m, c, order(cohort.Payload()))
	c.Timer = ordered(c.Own.Payload()).due()
	return fired
}

// Due implements Timed.
func (d *sequenceAnomaly) Due(c *Context, f *Firing) bool {
	m := ordered(c.Own.Payload())
	if len(m) == 0 {
		return false
	}
	m, tier := d.take(m, c, c.Time)
	c.Timer = m.due()
	return tier >= 0 && d.fire(m, c, f, tier)
}

// due returns the time of the last waiting event; 0 if there is none.
func (m ordered) due() int64 {
	if m.len() == 0 {
		return 0
	}
	return m.timeOf(m.len() - 1)
}

// cohortOf returns the event's cohort, with room for its payload; nil if the event
// has none.
func (d *sequenceAnomaly) cohortOf(c *Context) Cohort {
	for _, by := range d.rule.By {
		cohort := c.Cohort(by)
		if cohort == nil {
			continue
		}
		if o := order(cohort.Payload()); len(o) != orderSize {
			if o = cohort.Resize(orderSize); o == nil {
				return nil
			}
			o[4] = another + 1
		}
		return cohort
	}
	return nil
}

// open returns the entity's payload. It is reset if there was none, or if the entity
// was not seen for so long that it is forgotten.
func (d *sequenceAnomaly) open(c *Context) ordered {
	m := ordered(c.Own.Payload())
	if len(m) == 0 || c.Watermark != math.MinInt64 && m.seen() <= c.Watermark-d.lateness-d.reach {
		fired, weight, flags := int64(0), uint8(0), uint8(0)
		if len(m) > 0 {
			fired, weight, flags = m.firedAt(), m[44], m[45]&orderFired
		}
		if m = c.Own.Resize(orderHeader); m == nil {
			return nil
		}
		clear(m)
		m.put(0, fired)
		m[44], m[45] = weight, flags
		m.put(24, c.Time)
	}
	m.put(24, max(m.seen(), c.Time))
	return m
}

// leave starts over in another cohort.
func (m ordered) leave(cohort uint64) {
	m[45] &^= orderBegan
	m.set(36, 0)
	m.set(40, 0)
	m.forgetWorst()
	le.PutUint64(m[48:], cohort)
}

// wait holds an event back until the earlier ones have arrived.
func (d *sequenceAnomaly) wait(m ordered, c *Context, o order) {
	number := d.operation(c.Event, o)
	at := m.len()
	for at > 0 && m.timeOf(at-1) > c.Time {
		at--
	}
	n := m.len()
	if m = c.Own.Resize(len(m) + waitingSize); m == nil {
		return
	}
	copy(m[orderHeader+(at+1)*waitingSize:], m[orderHeader+at*waitingSize:orderHeader+n*waitingSize])
	b := m.waiting(at)
	b.put(0, c.Time)
	b.put(8, c.Offset)
	le.PutUint32(b[16:], number)
	le.PutUint32(b[20:], uint32(c.Source))
}

// operation returns the number of the event's operation. It adds the operation to
// the cohort if there is room.
func (d *sequenceAnomaly) operation(e *event.Event, o order) uint32 {
	d.name = append(append(append(d.name[:0], e.Text(event.Method)...), ' '), e.Text(event.Route)...)
	number := max(uint32(d.hasher.Text(unsafe.String(&d.name[0], len(d.name)))), another+1)
	if o.find(number) == another && o.operations() < mostOperations {
		b := o.operation(o.operations())
		o[4]++
		le.PutUint32(b, number)
		copy(b[8:], d.name)
	}
	return number
}

// learned returns the payload of the entity's cohort; nil if it is forgotten.
func (d *sequenceAnomaly) learned(m ordered, c *Context) order {
	cohort := c.Recall(m.cohort())
	if cohort == nil || len(cohort.Payload()) != orderSize {
		return nil
	}
	return cohort.Payload()
}

// take processes the waiting events up to a moment, in order. It returns the highest
// tier that one of them reaches and that may fire; −1: none.
func (d *sequenceAnomaly) take(m ordered, c *Context, until int64) (left ordered, tier int) {
	n := 0
	for n < m.len() && m.timeOf(n) <= until {
		n++
	}
	tier = -1
	if n == 0 {
		return m, tier
	}
	o := d.learned(m, c)
	for i := range n {
		tier = max(tier, d.step(m, o, m.timeOf(i), m.numberOf(i)))
	}
	copy(m[orderHeader:], m[orderHeader+n*waitingSize:])
	return c.Own.Resize(len(m) - n*waitingSize), tier
}

// step processes one event. It returns the tier that is reached, if it may fire. A
// repetition of the read before counts neither for nor against the entity: a list of
// things that are fetched one after the other says nothing about the order of
// operations.
func (d *sequenceAnomaly) step(m ordered, o order, t int64, number uint32) (tier int) {
	from, repeats := beginning, false
	if began := m.is(orderBegan); began && t-m.last() <= d.gap && o != nil {
		from = o.find(m.operation())
		repeats = number == m.operation() && o.reads(from)
	}
	d.decay(m, t)
	tier = -1
	if o != nil {
		to := o.find(number)
		if !repeats && o.all() >= int64(d.rule.Learn) && o.from(from) >= int64(d.rule.Least) {
			d.compare(m, o, from, to)
			tier = d.reached(m, t)
		}
		if tier < 0 && 2*m.unlikely() < orderFraction*int64(d.rule.Tiers[0].At) && !(m.is(orderFired) && t-m.firedAt() < d.cooldown) {
			o.learn(from, to)
		}
	}
	if tier >= 0 {
		m.put(0, t)
		m[44] = d.rule.Tiers[tier].Weight
		m[45] |= orderFired
	}
	m.put(8, t)
	le.PutUint32(m[32:], number)
	m[45] |= orderBegan
	return tier
}

// decay halves the count against the entity once for each half-life that has passed.
func (d *sequenceAnomaly) decay(m ordered, t int64) {
	if !m.is(orderBegan) {
		m.put(16, t)
		return
	}
	halves := (t - m.decayed()) / d.half
	if halves <= 0 {
		return
	}
	m.put(16, m.decayed()+halves*d.half)
	shift := min(halves, 32)
	m.set(36, m.transitions()>>shift)
	if m.set(40, m.unlikely()>>shift); m.unlikely() == 0 {
		m.forgetWorst()
	}
}

// compare counts a transition for the entity.
func (d *sequenceAnomaly) compare(m ordered, o order, from, to int) {
	m.set(36, min(m.transitions()+orderFraction, math.MaxInt32))
	like, all := o.like(from, to), o.from(from)
	if (like+1)*int64(d.rule.Odds) > all {
		return
	}
	m.set(40, min(m.unlikely()+orderFraction, math.MaxInt32))
	fromNumber, toNumber := uint32(from), uint32(to)
	if from > another {
		fromNumber = o.number(from)
	}
	if to > another {
		toNumber = o.number(to)
	}
	at := worstKept
	for i := worstKept - 1; i >= 0; i-- {
		w := m.worst(i)
		if le.Uint32(w) == fromNumber && le.Uint32(w[4:]) == toNumber && w.u32(12) > 0 {
			return // already listed
		}
		if w.u32(12) == 0 || (like+1)*w.u32(12) < (w.u32(8)+1)*all {
			at = i
		}
	}
	if at == worstKept {
		return
	}
	copy(m[worstAt+worstSize*(at+1):orderHeader], m[worstAt+worstSize*at:orderHeader-worstSize])
	w := m.worst(at)
	le.PutUint32(w, fromNumber)
	le.PutUint32(w[4:], toNumber)
	w.set(8, like)
	w.set(12, all)
}

// reached returns the highest tier that the entity has reached, unless it may not
// fire; −1: none.
func (d *sequenceAnomaly) reached(m ordered, t int64) int {
	if 100*m.unlikely() < int64(d.rule.MinShare)*m.transitions() {
		return -1
	}
	for i, tier := range slices.Backward(d.rule.Tiers) {
		if m.unlikely() < orderFraction*int64(tier.At) {
			continue
		}
		if m.is(orderFired) && tier.Weight <= m[44] && t-m.firedAt() < d.cooldown {
			return -1
		}
		return i
	}
	return -1
}

// fire fills in a firing.
func (d *sequenceAnomaly) fire(m ordered, c *Context, f *Firing, tier int) bool {
	f.Tier, f.Weight = tier, d.rule.Tiers[tier].Weight
	f.Evidence = append(f.Evidence[:0],
		facet.Number("unlikely", m.unlikely()/orderFraction),
		facet.Number("transitions", m.transitions()/orderFraction))
	o := d.learned(m, c)
	for i := range worstKept {
		if w := m.worst(i); w.u32(12) > 0 && o != nil {
			f.Evidence = append(f.Evidence, facet.Text(worstNames[i],
				fmt.Sprintf("%s, then %s: %d in %d", o.nameOf(le.Uint32(w)), o.nameOf(le.Uint32(w[4:])), w.u32(8), w.u32(12))))
		}
	}
	return true
}

var worstNames = [worstKept]string{"least_likely", "second", "third"}

// nameOf returns the name of an operation.
func (o order) nameOf(number uint32) string {
	switch number {
	case beginning:
		return "the beginning"
	case another:
		return "another operation"
	}
	i := o.find(number)
	if i == another {
		return "another operation"
	}
	name := o.operation(i)[8:]
	if end := slices.Index(name, 0); end >= 0 {
		name = name[:end]
	}
	return string(name)
}

// Fit implements Detector.
func (d *sequenceAnomaly) Fit(payload []byte) ([]byte, bool) {
	m := ordered(payload)
	if len(m) < orderHeader || (len(m)-orderHeader)%waitingSize != 0 || m.len() > mostHeldBack || m[45]&^orderFlags != 0 {
		return nil, false
	}
	for i := 1; i < m.len(); i++ {
		if m.timeOf(i) < m.timeOf(i-1) {
			return nil, false
		}
	}
	return m, true
}

// FitCohort implements Comparing.
func (d *sequenceAnomaly) FitCohort(by event.Field, payload []byte) ([]byte, bool) {
	o := order(payload)
	return o, slices.Contains(d.rule.By, by) && len(o) == orderSize && o.operations() > another && o.operations() <= mostOperations
}

// Explain implements Detector: the number of unlikely transitions that count against
// the entity, up to the events that no other can precede any more.
func (d *sequenceAnomaly) Explain(payload []byte, at int64) (x Explanation) {
	m := ordered(payload)
	unlikely, transitions := int64(0), int64(0)
	x.Last = x.First - 1
	if len(m) > 0 {
		unlikely, transitions = m.unlikely()/orderFraction, m.transitions()/orderFraction
		x.First, x.Last = at-d.half, at
		x.Held = append(x.Held, facet.Number("waiting", int64(m.len())))
	}
	for i, t := range d.rule.Tiers {
		x.Demands = append(x.Demands,
			Demand{Tier: i, Weight: t.Weight, What: "unlikely", Have: unlikely, Need: int64(t.At)},
			Demand{Tier: i, Weight: t.Weight, What: "share_percent", Have: 100 * unlikely / max(transitions, 1), Need: int64(d.rule.MinShare)})
		if unlikely >= int64(t.At) && m.is(orderFired) && t.Weight <= m[44] && at-m.firedAt() < d.cooldown {
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "cooldown", Until: m.firedAt() + d.cooldown})
		}
	}
	return x
}
