package detectors

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Sequence holds the parameters of the sequence detector, which fires when the
// events of an entity follow the steps of the rule.
type Sequence struct {
	Conditions []*rules.Condition // conditions of the steps in the rule's order, and last that of until if present; at most 16
	Parts      []SequencePart     // required events, in order; neither the first nor the last is optional
	Before     []Absence          // conditions that must be absent before the first event
	After      []Absence          // conditions that must be absent after the last event
	Until      uint32             // bit of the condition that ends all sequences; 0: none
	Within     time.Duration      // from the first event to the last, at most
	By         []event.Field      // fields whose values all events of a sequence share
	Events     int                // number of latest events remembered of an entity
	Cooldown   time.Duration      // event time until the rule may fire again for the entity
	Weight     uint8

	Newcomers bool // whether to judge entities that were first seen more recently than Before asks for

	// If something must be absent, the rule may require that it is usually present:
	// of at least UsualLeast sequences of the cohort, at most one in UsualOdds lacks
	// it. The cohort is that of the first field of UsualBy that the last event has;
	// nil: no such condition.
	UsualBy    []event.Field
	UsualOdds  int
	UsualLeast int
	UsualKnown time.Duration // how long an entity must have been seen before it teaches; 0: all teach

	shape string // kinds of the steps, for State
}

// SequencePart is one event of a sequence, or several in any order.
type SequencePart struct {
	Members  []SequenceMember
	Optional bool
	After    time.Duration // minimum since the event before
	Within   time.Duration // maximum since the event before; 0: no bound of its own
	Absent   uint32        // bits of conditions that no event meets between this part and the one before
}

// SequenceMember is a number of events of one kind in a part.
type SequenceMember struct {
	Condition int // index into Conditions
	Times     int // at least 1
}

// Absence is a condition that must stay unmet for a time.
type Absence struct {
	Condition int // index into Conditions
	Within    time.Duration
}

const (
	mostSteps      = 10
	mostConditions = 16
	mostInSequence = 12 // events of one sequence
	mostStates     = 64
	mostSequenced  = 64 // events remembered of an entity
	longestStretch = 30 * 24 * time.Hour
	usualReach     = 30 * 24 * time.Hour
	mostUsual      = 10_000 // sequences of a cohort after which all counts are halved
	mostOdd        = 15     // if more than one in this many sequences fires, the app itself has changed
)

// SequenceKind describes the detector to the rules.
func SequenceKind() rules.Kind {
	const since = "since the event before it in the sequence"
	return rules.Kind{
		Name: "sequence",
		Doc:  "finds events that follow one another as the steps say, with required absences",
		Keys: []rules.Key{
			rules.DurationKey("within", rules.Required, time.Millisecond, longestStretch, "maximum time from the first event of the sequence to the last"),
			rules.ListKey("steps", rules.Required, 1, mostSteps, "the steps, in order", rules.ObjectKey("", rules.Required, "one step, with exactly one of event, maybe, together and not",
				rules.ConditionKey("event", rules.Optional, "an event that must come"),
				rules.ConditionKey("maybe", rules.Optional, "an event that may come"),
				rules.ListKey("together", rules.Optional, 2, 4, "events that must come, in any order", rules.ObjectKey("", rules.Required, "one of them",
					rules.ConditionKey("event", rules.Required, "an event that must come"),
					rules.CountKey("times", rules.Optional, 1, mostInSequence, "how many; default 1"))),
				rules.ConditionKey("not", rules.Optional, "an event that must not come between the previous and the next step; as the first step, before all others, and as the last, after all others, for the time of within"),
				rules.CountKey("times", rules.Optional, 1, mostInSequence, "for event and maybe: how many, one after the other; default 1"),
				rules.DurationKey("after", rules.Optional, time.Millisecond, longestStretch, "minimum time "+since),
				rules.DurationKey("within", rules.Optional, time.Millisecond, longestStretch, "maximum time "+since))),
			rules.ConditionKey("until", rules.Optional, "an event that ends a begun sequence: no sequence has it between two of its events"),
			rules.ListKey("by", rules.Optional, 1, 3, "fields in which all events of a sequence have the same values; events that lack one are ignored",
				rules.ChoiceKey("", rules.Required, rules.Countable(), "a field")),
			rules.CountKey("events", rules.Optional, 2, mostSequenced, "number of latest events that match a step remembered per entity; default 24"),
			rules.DurationKey("cooldown", rules.Optional, time.Millisecond, longestStretch, "time until the rule may fire again for the entity; default: within"),
			rules.ChoiceKey("newcomers", rules.Optional, []string{"passed", "judged"}, "with not as the first step: how to treat an entity that was not seen for that long; default passed"),
			rules.ObjectKey("usual", rules.Optional, "fire only if others do what must be absent here; learned from the stream",
				rules.ListKey("by", rules.Required, 1, 2, "others are entities with the same value in the first of these fields that the last event has",
					rules.ChoiceKey("", rules.Required, []string{"app_version", "country"}, "a field")),
				rules.CountKey("odds", rules.Optional, 2, 1_000, "at most one in this many of their sequences may lack it; default 200"),
				rules.CountKey("least", rules.Optional, 5, 5_000, "minimum number of their sequences for a judgement; default 50"),
				rules.DurationKey("known", rules.Optional, time.Millisecond, longestStretch, "an entity teaches what is usual only after it has been seen for so long; default: all teach")),
			rules.WeightKey("weight", "confidence of the signal, in percent"),
		},
		Compile: compileSequence,
	}
}

func compileSequence(p *rules.Params) rules.Spec {
	s := &Sequence{
		Within: p.Duration("within"), By: fieldsOf(p.Texts("by")), Events: p.IntOr("events", 24),
		Cooldown: p.DurationOr("cooldown", p.Duration("within")), Weight: p.Weight("weight"), Newcomers: p.Text("newcomers") == "judged",
	}
	for i, f := range s.By {
		if slices.Contains(s.By[:i], f) {
			p.Problem("by", fmt.Sprintf("%s stands twice", f), "leave one out")
		}
	}
	list := p.List("steps")
	for i, step := range list {
		if !s.step(step, i == len(list)-1) {
			return s // already reported
		}
	}
	if p.Has("until") {
		s.Until = 1 << s.condition(p.Condition("until"))
		s.shape += "u"
	}
	s.usual(p)
	s.contradictions(p)
	return s
}

func fieldsOf(names []string) (all []event.Field) {
	for _, name := range names {
		spec, _ := event.Lookup(name)
		all = append(all, spec.Field)
	}
	return all
}

// condition adds a condition, and returns its index.
func (s *Sequence) condition(c *rules.Condition) int {
	s.Conditions = append(s.Conditions, c)
	return len(s.Conditions) - 1
}

// step parses the next step. It returns false, and reports the error, if it is
// invalid.
func (s *Sequence) step(p *rules.Params, last bool) bool {
	var kinds []string
	for _, kind := range []string{"event", "maybe", "together", "not"} {
		if p.Has(kind) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) != 1 {
		p.Problem("", "a step is one thing, and "+[]string{"this one is none", "", "this one is two", "this one is three", "this one is four"}[len(kinds)],
			"write exactly one of event, maybe, together and not")
		return false
	}
	s.shape += kinds[0][:1]
	if kinds[0] == "not" {
		return s.absence(p, last)
	}
	part := SequencePart{Optional: kinds[0] == "maybe", After: p.Duration("after"), Within: p.Duration("within"), Absent: s.absent()}
	if kinds[0] == "together" {
		if p.Has("times") {
			p.Problem("times", "times is of a single event", "write it into the entries of together")
		}
		for _, m := range p.List("together") {
			if m.Condition("event") == nil {
				return false // already reported
			}
			part.Members = append(part.Members, SequenceMember{s.condition(m.Condition("event")), max(m.Int("times"), 1)})
		}
		s.shape += fmt.Sprint(len(part.Members))
	} else {
		if p.Condition(kinds[0]) == nil {
			return false // already reported
		}
		part.Members = []SequenceMember{{s.condition(p.Condition(kinds[0])), max(p.Int("times"), 1)}}
	}
	if part.Within > 0 && part.Within < part.After {
		p.Problem("within", "the most time is less than the least", "make within at least as long as after")
	}
	s.Parts = append(s.Parts, part)
	return true
}

// absence parses a step that must be absent.
func (s *Sequence) absence(p *rules.Params, last bool) bool {
	for _, key := range []string{"times", "after"} {
		if p.Has(key) {
			p.Problem(key, key+" says nothing of what must not come", "leave it out")
		}
	}
	c := p.Condition("not")
	if c == nil {
		return false // already reported
	}
	edge := last || len(s.Parts) == 0
	if edge != p.Has("within") {
		if edge {
			p.Problem("", "how long must it be absent?", "add within: 10m")
		} else {
			p.Problem("within", "between two steps, absence lasts from one to the other", "leave within out, or give it to the step behind")
		}
	}
	a := Absence{s.condition(c), p.Duration("within")}
	switch {
	case len(s.Parts) == 0:
		s.Before = append(s.Before, a)
	default:
		s.After = append(s.After, a) // unless a later step follows
	}
	return true
}

// absent returns the bits of the absences before the next step.
func (s *Sequence) absent() (bits uint32) {
	for _, a := range s.After {
		bits |= 1 << a.Condition
	}
	s.After = nil
	return bits
}

func (s *Sequence) usual(p *rules.Params) {
	if !p.Has("usual") {
		return
	}
	u := p.Object("usual")
	s.UsualBy, s.UsualOdds, s.UsualLeast = fieldsOf(u.Texts("by")), 200, 50
	if u.Has("odds") {
		s.UsualOdds = u.Int("odds")
	}
	if u.Has("least") {
		s.UsualLeast = u.Int("least")
	}
	if s.UsualKnown = u.Duration("known"); s.UsualKnown > s.once() {
		u.Problem("known", "an entity that is seen less often is never known", "make known no longer than within and the first not together")
	}
	if len(s.Before)+len(s.After) == 0 && s.absentBetween() == 0 {
		u.Problem("", "nothing must be absent, so that nothing can be usual of others", "add a step with not, or leave usual out")
	}
}

func (s *Sequence) absentBetween() (all uint32) {
	for _, part := range s.Parts {
		all |= part.Absent
	}
	return all
}

// contradictions reports combinations that are impossible.
func (s *Sequence) contradictions(p *rules.Params) {
	events, states := 0, 1
	for _, part := range s.Parts {
		orders := 1
		for _, m := range part.Members {
			events += m.Times
			orders *= m.Times + 1
		}
		states += orders - 1
	}
	switch {
	case len(s.Parts) == 0:
		p.Problem("steps", "nothing must come, so that nothing can make the rule fire", "add a step with event")
	case s.Parts[0].Optional || s.Parts[len(s.Parts)-1].Optional:
		p.Problem("steps", "a sequence does not begin or end with what may be left out", "leave the step out, or make an event of it")
	case events == 1 && !s.waits():
		p.Problem("steps", "one event is no sequence", "add another step")
	case len(s.Conditions) > mostConditions:
		p.Problem("steps", fmt.Sprintf("there are %d conditions", len(s.Conditions)), fmt.Sprintf("at most %d are read", mostConditions))
	case events > mostInSequence:
		p.Problem("steps", fmt.Sprintf("the sequence has %d events", events), fmt.Sprintf("ask for at most %d; a sliding_window counts more", mostInSequence))
	case states > mostStates:
		p.Problem("steps", "there are too many orders in which this may come", "ask for fewer events in together")
	case s.Events < 2*events:
		p.Problem("events", fmt.Sprintf("%d events are remembered, and a sequence has %d", s.Events, events), "remember at least twice as many")
	}
}

// waits reports whether something must be absent, which shows only after some time.
func (s *Sequence) waits() bool {
	return len(s.Before)+len(s.After) > 0 || s.Until != 0 || s.absentBetween() != 0
}

func longest(all []Absence) (most time.Duration) {
	for _, a := range all {
		most = max(most, a.Within)
	}
	return most
}

// Fields implements [rules.Spec].
func (s *Sequence) Fields() []event.Field {
	all := slices.Concat(s.By, s.UsualBy)
	for _, c := range s.Conditions {
		all = append(all, c.Fields...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (s *Sequence) State() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s by %d usual by %d", s.shape, s.By, s.UsualBy)
	for _, c := range s.Conditions {
		fmt.Fprintf(&b, " %q", c.Canonical)
	}
	return b.String()
}

// Canonical implements [rules.Spec].
func (s *Sequence) Canonical() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s within %d until %d events %d cooldown %d weight %d usual %d %d %d %d newcomers %v", s.State(), s.Within.Milliseconds(), s.Until, s.Events,
		s.Cooldown.Milliseconds(), s.Weight, s.UsualBy, s.UsualOdds, s.UsualLeast, s.UsualKnown.Milliseconds(), s.Newcomers)
	for _, p := range s.Parts {
		fmt.Fprintf(&b, " part %v %v %d %d %d", p.Members, p.Optional, p.After.Milliseconds(), p.Within.Milliseconds(), p.Absent)
	}
	for i, list := range [][]Absence{s.Before, s.After} {
		for _, a := range list {
			fmt.Fprintf(&b, " absent %d %d %d", i, a.Condition, a.Within.Milliseconds())
		}
	}
	return b.String()
}

// delay returns how long after the last event a sequence is complete, and reach how
// long an event matters to others.
func (s *Sequence) delay() time.Duration { return longest(s.After) + time.Millisecond }
func (s *Sequence) reach() time.Duration { return s.once() + s.delay() }

// once returns the time in which an entity counts once in its cohort.
func (s *Sequence) once() time.Duration { return longest(s.Before) + s.Within }

// Keeps implements [rules.Spec].
func (s *Sequence) Keeps() rules.Keeps {
	k := rules.Keeps{Reach: s.reach(), After: s.Cooldown, Bytes: sequenceHeader + s.Events*stepSize}
	if s.waits() {
		k.Ahead = s.Within + s.delay()
	}
	if s.UsualBy != nil {
		k.Cohort = rules.KeepsOfCohort{Reach: usualReach, Bytes: usualSize, Verdicts: s.Within / 10}
	}
	return k
}

func (s *Sequence) detector(e Environment) Detector {
	d := &sequence{
		rule: s, lateness: e.Lateness, reach: s.reach().Milliseconds(), delay: s.delay().Milliseconds(),
		within: s.Within.Milliseconds(), known: s.UsualKnown.Milliseconds(), once: s.once().Milliseconds(), cooldown: s.Cooldown.Milliseconds(), waits: s.waits(), hasher: e.Hasher,
	}
	d.build()
	return d
}

// sequence remembers the events of an entity that match a step, in order of event
// time, and searches them for a complete sequence. It does so at once if nothing
// must be absent. Otherwise it waits until no event that could refute the absence
// can still be on time.
//
// The payload is a header of 52 bytes, and 28 for each event:
//
//	0 fired at i64 · 8 known from i64 · 16 last seen i64 · 24 judged up to i64 · 32 counted at i64 (Unix ms) ·
//	40 flags u8 · 41 unused 1 · 42 conditions u16 · 44 key of the cohort u64, 0 for none
//	time i64 (Unix ms) · raw offset i64 · raw partition u32 · value u32 · conditions u32
//
// An event's conditions are bits of those that it meets. Its value is 32 bits of the
// hash of its values of by. The conditions of the header are met by some remembered
// or forgotten event; 0 with events present means unknown. Nothing before "known
// from" is known. Until the entity has counted in its cohort, and if only known
// entities do, "counted at" is when the entity was first seen.
//
// Of a cohort it keeps 12 bytes: sequences u32 · sequences that lacked something
// while that was not unusual u32 · sequences that lacked something while it was u32.
// Partitions tell one another roughly what they know, because few sequences of a
// rare version end in each.
type sequence struct {
	rule     *Sequence
	lateness int64 // ms
	reach    int64 // ms
	delay    int64 // ms
	within   int64 // ms
	known    int64 // ms after which an entity teaches its cohort
	once     int64 // ms in which an entity counts once in its cohort
	cooldown int64 // ms
	waits    bool
	hasher   Hasher
	key      []byte // input of the hash

	// Of the cohort that was consulted last, or of all partitions: its sequences, those
	// that lacked something, and how many it would need for that to be unusual. whole
	// is -1 if none was consulted in the current call.
	whole, lacking, needed int64

	automaton
}

const (
	sequenceHeader = 52
	stepSize       = 28
	usualSize      = 12
)

// Flags of a payload: which of its times are set.
const (
	hasFired uint8 = 1 << iota
	hasJudged
	hasCounted
	sequenceFlags = 1<<iota - 1
)

// happened is a view of the payload.
type happened []byte

func (m happened) len() int             { return (len(m) - sequenceHeader) / stepSize }
func (m happened) firedAt() int64       { return int64(le.Uint64(m)) }
func (m happened) knownFrom() int64     { return int64(le.Uint64(m[8:])) }
func (m happened) seen() int64          { return int64(le.Uint64(m[16:])) }
func (m happened) judged() int64        { return int64(le.Uint64(m[24:])) }
func (m happened) countedAt() int64     { return int64(le.Uint64(m[32:])) }
func (m happened) is(flag uint8) bool   { return m[40]&flag != 0 }
func (m happened) cohort() uint64       { return le.Uint64(m[44:]) }
func (m happened) put(at int, ms int64) { le.PutUint64(m[at:], uint64(ms)) }

// conditions returns bits that include all conditions met by any of the events.
func (m happened) conditions() uint32        { return uint32(le.Uint16(m[42:])) }
func (m happened) setConditions(bits uint32) { le.PutUint16(m[42:], uint16(bits)) }

// set stores a time and its flag.
func (m happened) set(flag uint8, ms int64) {
	switch flag {
	case hasFired:
		m.put(0, ms)
	case hasJudged:
		m.put(24, ms)
	case hasCounted:
		m.put(32, ms)
	}
	m[40] |= flag
}

func (m happened) step(i int) []byte  { return m[sequenceHeader+i*stepSize:][:stepSize] }
func (m happened) time(i int) int64   { return int64(le.Uint64(m.step(i))) }
func (m happened) offset(i int) int64 { return int64(le.Uint64(m.step(i)[8:])) }
func (m happened) source(i int) int32 { return int32(le.Uint32(m.step(i)[16:])) }
func (m happened) value(i int) uint32 { return le.Uint32(m.step(i)[20:]) }
func (m happened) holds(i int) uint32 { return le.Uint32(m.step(i)[24:]) }

// forgot records that an event is no longer remembered.
func (m happened) forgot(t int64) { m.put(8, max(m.knownFrom(), t+1)) }

// Apply implements Detector.
func (d *sequence) Apply(c *Context, f *Firing) bool {
	if d.whole = -1; c.Late {
		return false
	}
	value, ok := d.valueOf(c.Event)
	held := d.conditions(c.Event)
	if !ok || held == 0 && len(d.rule.Before) == 0 {
		return false
	}
	c.Counts = held&d.positive != 0
	m := d.forget(c)
	if m == nil || held == 0 {
		return false
	}
	m, at := d.insert(m, c, value, held)
	if at < 0 {
		return false
	}
	d.settle(m)
	if held&d.last != 0 {
		d.place(m, c)
	}
	if d.waits {
		c.Timer = d.pending(m)
		return false
	}
	d.search(m, at, true)
	end := d.newest(m, at)
	return end >= 0 && d.fire(m, c, f, end, at)
}

// Due implements Timed.
func (d *sequence) Due(c *Context, f *Firing) bool {
	m := happened(c.Own.Payload())
	if d.whole = -1; !d.waits || len(m) == 0 {
		return false
	}
	d.settle(m)
	d.search(m, -1, true)
	end := d.due(m, c.Time)
	fired := d.unusual(m, c, end >= 0) && end >= 0 && d.fire(m, c, f, end, -1)
	m.set(hasJudged, c.Time)
	c.Timer = d.pending(m)
	return fired
}

// valueOf returns the hash of the event's values of by; false if it lacks one.
func (d *sequence) valueOf(e *event.Event) (hash uint32, ok bool) {
	if len(d.rule.By) == 0 {
		return 0, true
	}
	d.key = d.key[:0]
	for _, f := range d.rule.By {
		if !e.Has(f) {
			return 0, false
		}
		if f.Numeric() {
			d.key = le.AppendUint64(d.key, uint64(e.Num(f)))
			continue
		}
		text := e.Text(f)
		d.key = append(binary.AppendUvarint(d.key, uint64(len(text))), text...)
	}
	return uint32(d.hasher.Text(unsafe.String(&d.key[0], len(d.key)))), true
}

// conditions returns the bits of the conditions that an event meets.
func (d *sequence) conditions(e *event.Event) (held uint32) {
	for i, c := range d.rule.Conditions {
		if c.Holds(e) {
			held |= 1 << i
		}
	}
	return held
}

// forget drops entries that cannot matter to any event on time, and returns the
// rest. It creates the payload if there was none; it returns nil if there is no
// room.
func (d *sequence) forget(c *Context) happened {
	m := happened(c.Own.Payload())
	if len(m) == 0 {
		if m = c.Own.Resize(sequenceHeader); m == nil {
			return nil
		}
		d.meet(m, c.Time)
		m.put(16, c.Time)
		return m
	}
	if c.Watermark != math.MinInt64 {
		gone := c.Watermark - d.lateness - d.reach
		n := 0
		for n < m.len() && m.time(n) <= gone {
			m.forgot(m.time(n))
			n++
		}
		if m.seen() <= gone {
			d.meet(m, c.Time)
		}
		m = m.removeFirst(n, c.Own)
	}
	m.put(16, max(m.seen(), c.Time))
	return m
}

// meet records that an entity is new.
func (d *sequence) meet(m happened, t int64) {
	m.put(8, d.knownFrom(t))
	if d.known > 0 {
		m.put(32, t)
		m[40] &^= hasCounted
	}
}

// knownFrom returns the moment from which all events of a newly seen entity are
// known.
func (d *sequence) knownFrom(t int64) int64 {
	if d.rule.Newcomers {
		return math.MinInt64
	}
	return t
}

// removeFirst removes the first n events.
func (m happened) removeFirst(n int, own Slot) happened {
	if n == 0 {
		return m
	}
	copy(m[sequenceHeader:], m[sequenceHeader+n*stepSize:])
	return own.Resize(len(m) - n*stepSize)
}

// insert stores the event at its place, after those of the same time. Beyond the
// bound the oldest event is dropped. If that is the new one, at is −1.
func (d *sequence) insert(m happened, c *Context, value, held uint32) (grown happened, at int) {
	at = m.len()
	for at > 0 && m.time(at-1) > c.Time {
		at--
	}
	if m.len() >= d.rule.Events {
		if at == 0 {
			m.forgot(c.Time)
			return m, -1
		}
		m.forgot(m.time(0))
		m = m.removeFirst(1, c.Own)
		at--
	}
	n := m.len()
	if m = c.Own.Resize(len(m) + stepSize); m == nil {
		return nil, -1
	}
	copy(m[sequenceHeader+(at+1)*stepSize:], m[sequenceHeader+at*stepSize:sequenceHeader+n*stepSize])
	b := m.step(at)
	le.PutUint64(b, uint64(c.Time))
	le.PutUint64(b[8:], uint64(c.Offset))
	le.PutUint32(b[16:], uint32(c.Source))
	le.PutUint32(b[20:], value)
	le.PutUint32(b[24:], held)
	switch before := m.conditions(); {
	case n == 0:
		m.setConditions(held)
	case before != 0: // otherwise the others are unknown
		m.setConditions(before | held)
	}
	return m, at
}

// place records the cohort of an event that may be the last of a sequence.
func (d *sequence) place(m happened, c *Context) {
	le.PutUint64(m[44:], 0)
	for _, by := range d.rule.UsualBy {
		cohort := c.Cohort(by)
		if cohort == nil {
			continue
		}
		u := usual(cohort.Payload())
		if len(u) != usualSize {
			u = cohort.Resize(usualSize)
		}
		if u != nil {
			le.PutUint64(m[44:], cohort.Key())
			cohort.Say(d.opinion(u))
		}
		return
	}
}

// usual is a view of the payload of a cohort.
type usual []byte

func (u usual) whole() int64   { return int64(le.Uint32(u)) }
func (u usual) lacking() int64 { return int64(le.Uint32(u[4:])) }
func (u usual) odd() int64     { return int64(le.Uint32(u[8:])) }

// exceptions returns how many sequences a cohort must have so that lacking something
// is unusual in it, apart from the minimum of the rule.
func (d *sequence) exceptions(u usual) int64 {
	return max(u.lacking()*int64(d.rule.UsualOdds), u.odd()*mostOdd)
}

// A partition's verdict on a cohort, as a level: how many sequences it knows, as the
// nearest power of two, and how many they should be, in steps of two from a sixteenth
// of odds on, rounded up. Partitions with few sequences each are added up, so numbers
// that were rounded down would hide a quarter of them; and a step at odds leaves one
// exception what it is.
const (
	wholeLevels     = 11
	exceptionLevels = 18
	usualLevels     = wholeLevels * (exceptionLevels + 1)
	stepsOfOdds     = 16
)

// opinion returns the partition's verdict. Both numbers are halved until the first
// has a level.
func (d *sequence) opinion(u usual) uint8 {
	whole, exceptions := u.whole(), d.exceptions(u)
	for whole > mostTold {
		whole, exceptions = whole/2, (exceptions+1)/2
	}
	if whole == 0 {
		return 0
	}
	needs := 0
	if exceptions > 0 {
		odds := int64(d.rule.UsualOdds)
		needs = min(1+bits.Len64(uint64((exceptions*stepsOfOdds+odds-1)/odds-1)), exceptionLevels)
	}
	return uint8(bits.Len64(uint64(whole*4/3)) + wholeLevels*needs)
}

// mostTold is the largest number of sequences whose nearest power of two has a level.
const mostTold = 3<<(wholeLevels-2) - 1

// usualOfAll adds up the verdicts of the facet partitions.
func (d *sequence) usualOfAll(c Cohort) (whole, exceptions int64) {
	partitions := c.Said(1)
	for level, above := usualLevels, 0; above < partitions; level-- {
		n := c.Said(uint8(level))
		whole += int64(n-above) << ((level - 1) % wholeLevels)
		if needs := (level - 1) / wholeLevels; needs > 0 {
			exceptions += int64(n-above) * ((int64(d.rule.UsualOdds)<<(needs-1) + stepsOfOdds - 1) / stepsOfOdds)
		}
		above = n
	}
	return whole, exceptions
}

// unusual reports whether others usually do what is absent here. It also counts this
// entity in the cohort, at most once in the time that a sequence and the absence
// before it take: an attacker who tries again every hour does not teach it a habit. A
// new entity does not count, and if it lacks something, not for that time.
// lacks says that something is absent in a sequence that is complete now.
func (d *sequence) unusual(m happened, c *Context, lacks bool) bool {
	if d.rule.UsualBy == nil {
		return true
	}
	cohort := c.Recall(m.cohort())
	if cohort == nil {
		return false
	}
	u := usual(cohort.Payload())
	if len(u) != usualSize {
		return false // it was forgotten in the meantime
	}
	whole, lacking, odd := u.whole(), u.lacking(), u.odd()
	exceptions := d.exceptions(u)
	d.whole, d.lacking = whole, lacking+odd
	if w, x := d.usualOfAll(cohort); w > whole {
		odds := int64(d.rule.UsualOdds)
		d.whole, d.lacking, exceptions = w, (x+odds-1)/odds, x
	}
	d.needed = exceptions
	unusual := d.whole >= int64(d.rule.UsualLeast) && exceptions <= d.whole
	if m.is(hasCounted) && c.Time-m.countedAt() < d.once {
		return unusual
	}
	if d.search(m, -1, false); !lacks && d.due(m, c.Time) < 0 {
		return unusual
	}
	if c.Time-m.countedAt() < d.known { // since it was first seen, because once is not shorter
		if lacks {
			m.set(hasCounted, c.Time) // what attackers' new accounts lack is no habit, however long they go on
		}
		return unusual
	}
	m.set(hasCounted, c.Time)
	switch whole++; {
	case lacks && unusual:
		odd++
	case lacks:
		lacking++
	}
	if whole >= mostUsual {
		whole, lacking, odd = whole/2, lacking/2, odd/2
	}
	le.PutUint32(u, uint32(whole))
	le.PutUint32(u[4:], uint32(lacking))
	le.PutUint32(u[8:], uint32(odd))
	return unusual
}

// pending searches, and returns when the next unjudged sequence is complete; 0 if
// there is none. If the usual presence matters, sequences that lack nothing are
// judged, too.
func (d *sequence) pending(m happened) int64 {
	if d.search(m, -1, d.rule.UsualBy == nil); d.none {
		return 0
	}
	for i := range m.len() {
		whole := m.time(i) + d.delay
		if (!m.is(hasJudged) || whole > m.judged()) && d.wholeAt(m, i, 0) > 0 {
			return whole
		}
	}
	return 0
}

// fire describes the sequence found, unless the cooldown still runs.
func (d *sequence) fire(m happened, c *Context, f *Firing, end, arrived int) bool {
	if m.is(hasFired) && c.Time-m.firedAt() < d.cooldown {
		return false
	}
	m.set(hasFired, c.Time)
	d.search(m, arrived, true)
	n := d.trace(m, end, arrived)
	f.Tier, f.Weight = 0, d.rule.Weight
	f.Evidence = append(f.Evidence[:0],
		facet.Number("events", int64(n)),
		facet.Number("span_ms", m.time(end)-m.time(int(d.path[n-1]))))
	if d.rule.UsualBy != nil {
		f.Evidence = append(f.Evidence, facet.Number("others", d.whole), facet.Number("others_lacking", d.lacking))
	}
	for i := range n {
		at := int(d.path[n-1-i])
		f.Evidence = append(f.Evidence, facet.EventAt(eventNames[i], m.source(at), m.offset(at), m.time(at)))
	}
	return true
}

var eventNames = [mostInSequence]string{
	"event_1", "event_2", "event_3", "event_4", "event_5", "event_6", "event_7", "event_8", "event_9", "event_10", "event_11", "event_12",
}

// Fit implements Detector. If former settings allowed more events, the oldest are
// dropped.
func (d *sequence) Fit(payload []byte) ([]byte, bool) {
	m := happened(payload)
	if len(m) < sequenceHeader || (len(m)-sequenceHeader)%stepSize != 0 || m.len() > mostSequenced || m[40]&^sequenceFlags != 0 || m.conditions()>>len(d.rule.Conditions) != 0 {
		return nil, false
	}
	for i := range m.len() {
		if i > 0 && m.time(i) < m.time(i-1) || m.holds(i) == 0 || m.holds(i)>>len(d.rule.Conditions) != 0 {
			return nil, false
		}
	}
	if extra := m.len() - d.rule.Events; extra > 0 {
		m.forgot(m.time(extra - 1))
		copy(m[sequenceHeader:], m[sequenceHeader+extra*stepSize:])
		m = m[:len(m)-extra*stepSize]
	}
	return m, true
}

// FitCohort implements Comparing.
func (d *sequence) FitCohort(by event.Field, payload []byte) ([]byte, bool) {
	return payload, slices.Contains(d.rule.UsualBy, by) && len(payload) == usualSize && le.Uint32(payload) < mostUsual
}
