package detectors

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// FirstSeen holds the parameters of the first-seen detector, which fires when
// several values of an event are new for its entity.
type FirstSeen struct {
	Values  []event.Field    // watched fields; never empty
	Learn   *rules.Condition // events from which values are learned
	Judge   *rules.Condition // events that are judged; nil: all
	Avoided *AvoidedChallenge

	LearnVisits int           // an entity is judged after this many visits
	LearnTime   time.Duration // or this long after the first event that was learned from
	NewFor      time.Duration // how long a value counts as new
	DoubtedFor  time.Duration // how long a value that met a tier counts as new
	Memory      time.Duration // how long a value is remembered after it was last learned
	Kept        int           // values kept of each field
	Cooldown    time.Duration // event time until the same weight may fire again for the entity
	Tiers       []NewTier     // Weight ascending; never empty
}

// NewTier is one step of an answer: the required new values in one event, and the
// weight.
type NewTier struct {
	At     int           // number of new values
	With   []event.Field // fields that must be among them
	Weight uint8         // 0..100
}

// AvoidedChallenge restricts judgement to events that follow an unsolved challenge
// on another device.
type AvoidedChallenge struct {
	Challenge, Solved *rules.Condition
	Within            time.Duration // time since the challenge
}

const (
	mostWatched = 6
	mostSeen    = 32 // values of a field
)

// watchedFields are the fields whose values can be learned.
var watchedFields = []string{"device", "device_model", "os", "app", "app_version", "country", "city", "asn", "net", "client_ip", "ja4", "key_id"}

// FirstSeenKind describes the detector to the rules.
func FirstSeenKind() rules.Kind {
	return rules.Kind{
		Name: "first_seen",
		Doc:  "learns what an entity usually has, and finds what it has for the first time",
		Keys: []rules.Key{
			rules.ListKey("values", rules.Required, 1, mostWatched, "what is learned of an entity", rules.ChoiceKey("", rules.Required, watchedFields, "a field")),
			rules.ConditionKey("learn", rules.Optional, "which of the events that match when teach; status >= 200 && status < 400 && !account_tried where it is absent"),
			rules.ConditionKey("judge", rules.Optional, "which of the matching events are judged; default: all"),
			rules.ObjectKey("avoided", rules.Optional, "judge only what follows a challenge on another device that is not solved",
				rules.ConditionKey("challenge", rules.Required, "events that ask for a proof on their device"),
				rules.ConditionKey("solved", rules.Required, "events that give it, on the same device"),
				rules.DurationKey("within", rules.Required, time.Second, longestMemory, "how long after the challenge events are judged")),
			rules.CountKey("learn_visits", rules.Optional, 1, 1000, "number of visits, at most one an hour, from which an entity is judged; default 10"),
			rules.DurationKey("learn_time", rules.Optional, time.Minute, longestMemory, "time since the first learned event after which an entity is judged even with fewer visits; default 14d"),
			rules.DurationKey("new_for", rules.Optional, time.Minute, longestMemory, "how long a value is new after it was first seen; default 1d"),
			rules.DurationKey("doubted_for", rules.Optional, time.Minute, longestMemory, "how long a value that reached a tier stays new; default 14d"),
			rules.DurationKey("memory", rules.Optional, time.Minute, longestMemory, "how long a value is remembered after it was last learned; default 28d"),
			rules.CountKey("kept", rules.Optional, 2, mostSeen, "number of values remembered of each field; for an entity with this many, no further one is new; default 8"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestMemory, "time until the same weight may fire again for the entity; default 1d"),
			rules.ListKey("tiers", rules.Required, 1, 8, "the steps, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.CountKey("at", rules.Required, 1, mostWatched, "so many values of one event are new"),
				rules.ListKey("with", rules.Optional, 1, mostWatched, "fields whose values must be among them", rules.ChoiceKey("", rules.Required, watchedFields, "a field")),
				rules.WeightKey("weight", "confidence of the signal, in percent"))),
		},
		Compile: compileFirstSeen,
	}
}

func compileFirstSeen(p *rules.Params) rules.Spec {
	const day = 24 * time.Hour
	s := &FirstSeen{
		Values: fieldsOf(p.Texts("values")), Learn: p.Condition("learn"), Judge: p.Condition("judge"),
		LearnVisits: p.IntOr("learn_visits", 10), LearnTime: p.DurationOr("learn_time", 14*day),
		NewFor: p.DurationOr("new_for", day), DoubtedFor: p.DurationOr("doubted_for", 14*day), Memory: p.DurationOr("memory", 28*day),
		Kept: p.IntOr("kept", 8), Cooldown: p.DurationOr("cooldown", day),
	}
	if !p.Has("learn") {
		s.Learn = succeeds()
	}
	if p.Has("avoided") {
		a := p.Object("avoided")
		s.Avoided = &AvoidedChallenge{Challenge: a.Condition("challenge"), Solved: a.Condition("solved"), Within: a.Duration("within")}
	}
	for i, f := range s.Values {
		if slices.Contains(s.Values[:i], f) {
			p.Problem("values", f.String()+" is there twice", "name each field once")
		}
	}
	if s.DoubtedFor < s.NewFor {
		p.Problem("doubted_for", "what is in doubt is known sooner than what is not", "make doubted_for at least as long as new_for, which is 1d where it is absent")
	}
	if s.Memory < max(s.NewFor, s.DoubtedFor, s.LearnTime) {
		p.Problem("memory", "values are forgotten before they are known", "make memory at least as long as learn_time, new_for and doubted_for, which are 14d, 1d and 14d where they are absent")
	}
	if s.Avoided != nil && s.Memory < s.Avoided.Within {
		p.Problem("avoided", "challenges are forgotten while they count", "make memory at least as long as within")
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "weight", "this tier can never be seen beside the one before it: it weighs no more", "order the tiers by weight, each with one of its own")
	for _, tier := range tiers {
		t := NewTier{At: tier.Int("at"), With: fieldsOf(tier.Texts("with")), Weight: tier.Weight("weight")}
		if t.At > len(s.Values) {
			tier.Problem("at", "so many values are not watched", "name more fields in values, or ask for fewer")
		}
		for _, f := range t.With {
			if !slices.Contains(s.Values, f) {
				tier.Problem("with", f.String()+" is not watched", "name it in values, beside tiers")
			}
		}
		s.Tiers = append(s.Tiers, t)
	}
	return s
}

// succeeds is the default condition for learning: the entity's request was granted.
func succeeds() *rules.Condition {
	return &rules.Condition{
		Holds: func(e *event.Event) bool {
			status := e.Num(event.Status)
			return status >= 200 && status < 400 && e.Num(event.Tried) == 0
		},
		Fields:    []event.Field{event.Status, event.Tried},
		Canonical: "status >= 200 && status < 400 && !account_tried",
	}
}

func (s *FirstSeen) conditions() (all []*rules.Condition) {
	all = append(all, s.Learn)
	if s.Judge != nil {
		all = append(all, s.Judge)
	}
	if s.Avoided != nil {
		all = append(all, s.Avoided.Challenge, s.Avoided.Solved)
	}
	return all
}

// Fields implements [rules.Spec].
func (s *FirstSeen) Fields() []event.Field {
	all := slices.Clone(s.Values)
	if s.Avoided != nil {
		all = append(all, event.Device)
	}
	for _, c := range s.conditions() {
		all = append(all, c.Fields...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (s *FirstSeen) State() string { return fmt.Sprint("values of ", s.Values) }

// Canonical implements [rules.Spec].
func (s *FirstSeen) Canonical() string {
	text := fmt.Sprintf("values %v learn %q %d %d new %d %d memory %d kept %d cooldown %d", s.Values, s.Learn.Canonical, s.LearnVisits, s.LearnTime.Milliseconds(),
		s.NewFor.Milliseconds(), s.DoubtedFor.Milliseconds(), s.Memory.Milliseconds(), s.Kept, s.Cooldown.Milliseconds())
	if s.Judge != nil {
		text += fmt.Sprintf(" judge %q", s.Judge.Canonical)
	}
	if a := s.Avoided; a != nil {
		text += fmt.Sprintf(" avoided %q %q %d", a.Challenge.Canonical, a.Solved.Canonical, a.Within.Milliseconds())
	}
	for _, t := range s.Tiers {
		text += fmt.Sprintf(" tier %d %v %d", t.At, t.With, t.Weight)
	}
	return text
}

// Keeps implements [rules.Spec].
func (s *FirstSeen) Keeps() rules.Keeps {
	return rules.Keeps{Reach: s.Memory, After: s.Cooldown, Bytes: seenHeader + len(s.Values)*s.Kept*seenSize}
}

// Raised implements [Adjustable].
func (s *FirstSeen) Raised(what string, need int64) rules.Spec {
	if what != "new" || need > int64(len(s.Values)) {
		return nil
	}
	raised := *s
	raised.Tiers = slices.Clone(s.Tiers)
	for i := range raised.Tiers {
		raised.Tiers[i].At = max(raised.Tiers[i].At, int(need))
	}
	return &raised
}

func (s *FirstSeen) detector(e Environment) Detector {
	d := &firstSeen{
		rule: s, lateness: e.Lateness, learnTime: s.LearnTime.Milliseconds(), newFor: s.NewFor.Milliseconds(), doubtedFor: s.DoubtedFor.Milliseconds(),
		memory: s.Memory.Milliseconds(), cooldown: s.Cooldown.Milliseconds(), hasher: e.Hasher,
	}
	if s.Avoided != nil {
		d.within = s.Avoided.Within.Milliseconds()
	}
	for i, f := range s.Values {
		d.newNames[i], d.usualNames[i] = "new_"+f.String(), "usual_"+f.String()
	}
	for _, t := range s.Tiers {
		with := uint8(0)
		for _, f := range t.With {
			with |= 1 << slices.Index(s.Values, f)
		}
		d.with = append(d.with, with)
	}
	return d
}

// firstSeen remembers an entity's values, and since when each is known.
//
// The payload is a header of 56 bytes, and values of 40 in the order in which they
// were first learned:
//
//	0 fired at i64 · 8 first learned i64 · 16 last visit i64 · 24 challenged at i64 · 32 solved at i64 (Unix ms) ·
//	40 challenged device u32 · 44 device that solved u32 · 48 visits u16 · 50 weight fired u8 · 51 flags u8 · 52 unused 4
//	value: first i64 · last i64 (Unix ms) · hash u32 · visits u16 · index of the field u8 · flags u8 · name 16 bytes
//
// Hashes are 32 bits of the values' hashes, never 0; numbers stand for themselves.
type firstSeen struct {
	rule       *FirstSeen
	with       []uint8 // by tier: bits of the fields that must be new
	lateness   int64   // ms, as all below
	learnTime  int64
	newFor     int64
	doubtedFor int64
	memory     int64
	cooldown   int64
	within     int64
	hasher     Hasher

	newNames, usualNames [mostWatched]string
	numbers              [mostWatched][20]byte       // numbers as texts, for evidence
	usual                [mostWatched][seenName]byte // names, for evidence

	here  [mostWatched]uint32 // hashes of the event's values; 0: none
	at    [mostWatched]int    // their positions in the payload; −1: not remembered
	kept  [mostWatched]int    // number of remembered values of each field
	known [mostWatched]int    // number of known values of each field
	own   uint8               // bits of the fields with a known value
}

const (
	seenHeader = 56
	seenSize   = 40
	seenName   = 16
)

// Flags of the header.
const (
	seenTaught    uint8 = 1 << iota
	seenChallenge       // a challenge is open
	seenFlags     = 1<<iota - 1
)

// Flags of a value.
const (
	seenAtOnce uint8 = 1 << iota // known since it was first seen
	seenDoubted
	seenValueFlags = 1<<iota - 1
)

// seen is a view of the payload.
type seen []byte

func (m seen) i64(at int) int64    { return int64(le.Uint64(m[at:])) }
func (m seen) put(at int, v int64) { le.PutUint64(m[at:], uint64(v)) }

func (m seen) firedAt() int64      { return m.i64(0) }
func (m seen) firstTaught() int64  { return m.i64(8) }
func (m seen) lastVisit() int64    { return m.i64(16) }
func (m seen) challengedAt() int64 { return m.i64(24) }
func (m seen) solvedAt() int64     { return m.i64(32) }
func (m seen) challenged() uint32  { return le.Uint32(m[40:]) }
func (m seen) solved() uint32      { return le.Uint32(m[44:]) }
func (m seen) visits() int         { return int(le.Uint16(m[48:])) }
func (m seen) firedWeight() uint8  { return m[50] }
func (m seen) is(flag uint8) bool  { return m[51]&flag != 0 }
func (m seen) len() int            { return (len(m) - seenHeader) / seenSize }
func (m seen) value(i int) seen    { return m[seenHeader+i*seenSize:][:seenSize] }

// Fields of a value.
func (v seen) first() int64  { return v.i64(0) }
func (v seen) last() int64   { return v.i64(8) }
func (v seen) hash() uint32  { return le.Uint32(v[16:]) }
func (v seen) times() int    { return int(le.Uint16(v[20:])) }
func (v seen) field() int    { return int(v[22]) }
func (v seen) flags() uint8  { return v[23] }
func (v seen) doubt()        { v[23] |= seenDoubted }
func (v seen) name() []byte  { return v[24:seenSize] }
func (v seen) add(times int) { le.PutUint16(v[20:], uint16(min(times, math.MaxUint16))) }

// without removes a value, in place.
func (m seen) without(i int) seen {
	copy(m[seenHeader+i*seenSize:], m[seenHeader+(i+1)*seenSize:])
	return m[:len(m)-seenSize]
}

// Apply implements Detector.
func (d *firstSeen) Apply(c *Context, f *Firing) bool {
	if c.Late {
		return false
	}
	r, e := d.rule, c.Event
	teaches, judged := r.Learn.Holds(e), r.Judge == nil || r.Judge.Holds(e)
	challenge, solved := r.Avoided != nil && r.Avoided.Challenge.Holds(e), r.Avoided != nil && r.Avoided.Solved.Holds(e)
	if !teaches && !judged && !challenge && !solved {
		return false
	}
	c.Counts = teaches || judged
	m := seen(c.Own.Payload())
	if len(m) == 0 {
		if !teaches && !challenge && !solved {
			return false
		}
		if m = c.Own.Resize(seenHeader); m == nil {
			return false
		}
	}
	m = d.forget(m, c)
	d.look(m, c)
	news, tier := uint8(0), -1
	if judged && d.judges(m, c.Time) && d.avoids(m, c) {
		news = d.news()
		tier = d.met(news)
	}
	if tier >= 0 {
		d.doubt(m, news)
	}
	fires := tier >= 0 && !d.cooling(m, r.Tiers[tier].Weight, c.Time)
	if fires {
		d.describe(m, c, news, f, tier)
		m.put(0, c.Time)
		m[50] = f.Weight
	}
	if challenge || solved {
		d.answer(m, c, challenge, solved)
	}
	if teaches {
		d.teach(m, c, news, tier >= 0)
	}
	return fires
}

// forget drops values that have expired for all events that can still be on time. If
// no value is left, learning starts over.
func (d *firstSeen) forget(m seen, c *Context) seen {
	if c.Watermark == math.MinInt64 || m.len() == 0 {
		return m
	}
	oldest, had := c.Watermark-d.lateness-d.memory, len(m)
	for i := m.len() - 1; i >= 0; i-- {
		if m.value(i).last() <= oldest {
			m = m.without(i)
		}
	}
	if len(m) == had {
		return m
	}
	if m = c.Own.Resize(len(m)); m.len() == 0 {
		m[51] &^= seenTaught
	}
	return m
}

// look finds the event's values among the remembered ones.
func (d *firstSeen) look(m seen, c *Context) {
	d.own = 0
	for i, f := range d.rule.Values {
		d.here[i], d.at[i], d.kept[i], d.known[i] = valueHash(d.hasher, c.Event, f), -1, 0, 0
	}
	for i := range m.len() {
		v := m.value(i)
		of, known := v.field(), d.isKnown(v, c.Time)
		d.kept[of]++
		if known {
			d.known[of]++
		}
		if v.hash() == d.here[of] {
			if d.at[of] = i; known {
				d.own |= 1 << of
			}
		}
	}
}

func (d *firstSeen) isKnown(v seen, t int64) bool {
	switch flags := v.flags(); {
	case flags&seenAtOnce != 0:
		return true
	case flags&seenDoubted != 0:
		return t-v.first() >= d.doubtedFor
	}
	return t-v.first() >= d.newFor
}

// judges reports whether enough has been learned about the entity.
func (d *firstSeen) judges(m seen, t int64) bool {
	return m.is(seenTaught) && (m.visits() >= d.rule.LearnVisits || t-m.firstTaught() >= d.learnTime)
}

// avoids reports whether the event meets the rule's condition on challenges: a
// challenge is open on another device. It is true if the rule has none.
func (d *firstSeen) avoids(m seen, c *Context) bool {
	if d.rule.Avoided == nil {
		return true
	}
	since, device := c.Time-m.challengedAt(), valueHash(d.hasher, c.Event, event.Device)
	return m.is(seenChallenge) && since >= 0 && since < d.within && device != 0 && device != m.challenged()
}

// news returns bits of the fields with a new value.
func (d *firstSeen) news() (news uint8) {
	for i := range d.rule.Values {
		if d.here[i] != 0 && d.own&(1<<i) == 0 && d.known[i] > 0 && d.known[i] < d.rule.Kept {
			news |= 1 << i
		}
	}
	return news
}

// met returns the heaviest tier whose conditions are met; −1: none.
func (d *firstSeen) met(news uint8) int {
	for i := len(d.rule.Tiers) - 1; i >= 0; i-- {
		if bits.OnesCount8(news) >= d.rule.Tiers[i].At && news&d.with[i] == d.with[i] {
			return i
		}
	}
	return -1
}

func (d *firstSeen) cooling(m seen, weight uint8, t int64) bool {
	return weight <= m.firedWeight() && t-m.firedAt() < d.cooldown
}

// doubt marks the remembered values that met a tier.
func (d *firstSeen) doubt(m seen, news uint8) {
	for i := range d.rule.Values {
		if news&(1<<i) != 0 && d.at[i] >= 0 {
			m.value(d.at[i]).doubt()
		}
	}
}

// answer opens and closes challenges.
func (d *firstSeen) answer(m seen, c *Context, challenge, solved bool) {
	device := valueHash(d.hasher, c.Event, event.Device)
	if device == 0 {
		return
	}
	if challenge && (m.challenged() == 0 || c.Time >= m.challengedAt()) {
		m.put(24, c.Time)
		le.PutUint32(m[40:], device)
		m[51] |= seenChallenge
		if m.solved() == device && m.solvedAt() >= c.Time {
			m[51] &^= seenChallenge
		}
	}
	if !solved {
		return
	}
	if device == m.challenged() && c.Time >= m.challengedAt() {
		m[51] &^= seenChallenge
	}
	if m.solved() == 0 || c.Time >= m.solvedAt() {
		m.put(32, c.Time)
		le.PutUint32(m[44:], device)
	}
}

// teach remembers the event's values, and counts a visit.
func (d *firstSeen) teach(m seen, c *Context, news uint8, met bool) {
	taught := false
	for i := range d.rule.Values {
		if d.here[i] == 0 {
			continue
		}
		taught = true
		if d.at[i] >= 0 {
			v := m.value(d.at[i])
			if c.Time-v.last() >= visitSpacing.Milliseconds() {
				v.add(v.times() + 1)
			}
			v.put(0, min(v.first(), c.Time))
			v.put(8, max(v.last(), c.Time))
			continue
		}
		flags := uint8(0)
		if !d.judges(m, c.Time) || d.known[i] == 0 || d.known[i] >= d.rule.Kept {
			flags = seenAtOnce
		} else if met && news&(1<<i) != 0 {
			flags = seenDoubted
		}
		if m = d.add(m, c, i, flags); m == nil {
			return
		}
	}
	switch {
	case !taught:
	case !m.is(seenTaught):
		m[51] |= seenTaught
		m.put(8, c.Time)
		m.put(16, c.Time)
		le.PutUint16(m[48:], 1)
	default:
		m.put(8, min(m.firstTaught(), c.Time))
		if c.Time-m.lastVisit() >= visitSpacing.Milliseconds() {
			m.put(16, c.Time)
			le.PutUint16(m[48:], uint16(min(m.visits()+1, math.MaxUint16)))
		}
	}
}

// add remembers a value. If there is no room, it replaces another. It returns nil if
// the record is full.
func (d *firstSeen) add(m seen, c *Context, of int, flags uint8) seen {
	if d.kept[of] >= d.rule.Kept {
		goes := d.goes(m, of, c.Time)
		m = m.without(goes)
		for i := range d.rule.Values {
			if d.at[i] > goes {
				d.at[i]--
			}
		}
	}
	if m = c.Own.Resize(len(m) + seenSize); m == nil {
		return nil
	}
	v := m.value(m.len() - 1)
	clear(v)
	v.put(0, c.Time)
	v.put(8, c.Time)
	le.PutUint32(v[16:], d.here[of])
	v.add(1)
	v[22], v[23] = uint8(of), flags
	copy(v.name(), firstBytes(d.text(c.Event, of), seenName))
	return m
}

// goes returns the value of a field to evict: the least recently seen, unknown
// values first.
func (d *firstSeen) goes(m seen, of int, t int64) int {
	goes, known := -1, false
	for i := range m.len() {
		v := m.value(i)
		if v.field() != of {
			continue
		}
		is := d.isKnown(v, t)
		if goes < 0 || known && !is || known == is && v.last() < m.value(goes).last() {
			goes, known = i, is
		}
	}
	return goes
}

// text returns the event's value of a field. It is valid until the next call for
// that field.
func (d *firstSeen) text(e *event.Event, of int) string {
	f := d.rule.Values[of]
	if !f.Numeric() {
		return e.Text(f)
	}
	b := strconv.AppendInt(d.numbers[of][:0], e.Num(f), 10)
	return unsafe.String(&b[0], len(b))
}

// describe fills in a firing.
func (d *firstSeen) describe(m seen, c *Context, news uint8, f *Firing, tier int) {
	f.Tier, f.Weight = tier, d.rule.Tiers[tier].Weight
	f.Evidence = append(f.Evidence[:0],
		facet.Number("new", int64(bits.OnesCount8(news))),
		facet.Number("visits", int64(m.visits())),
		facet.Number("known_for_ms", max(c.Time-m.firstTaught(), 0)))
	if d.rule.Avoided != nil {
		f.Evidence = append(f.Evidence, facet.Number("challenged_ms", c.Time-m.challengedAt()))
	}
	for i := range d.rule.Values {
		if news&(1<<i) != 0 {
			f.Evidence = append(f.Evidence, facet.Text(d.newNames[i], d.text(c.Event, i)), facet.Text(d.usualNames[i], d.usualName(m, i, c.Time)))
		}
	}
}

// usualName returns the beginning of the known value with most visits.
func (d *firstSeen) usualName(m seen, of int, t int64) string {
	var best seen
	for i := range m.len() {
		v := m.value(i)
		if v.field() == of && d.isKnown(v, t) && (best == nil || v.times() > best.times() || v.times() == best.times() && v.last() > best.last()) {
			best = v
		}
	}
	n := 0
	for n < seenName && best != nil && best.name()[n] != 0 {
		d.usual[of][n] = best.name()[n]
		n++
	}
	return unsafe.String(&d.usual[of][0], n)
}

// Fit implements Detector. If former settings kept more values, the least recently
// seen are dropped.
func (d *firstSeen) Fit(payload []byte) ([]byte, bool) {
	m := seen(payload)
	if len(m) < seenHeader || (len(m)-seenHeader)%seenSize != 0 || m[51]&^seenFlags != 0 {
		return nil, false
	}
	var kept [mostWatched]int
	for i := range m.len() {
		v := m.value(i)
		if v.field() >= len(d.rule.Values) || v.flags()&^seenValueFlags != 0 || v.hash() == 0 || v.first() > v.last() {
			return nil, false
		}
		kept[v.field()]++
	}
	for of := range d.rule.Values {
		if kept[of] > mostSeen {
			return nil, false
		}
		for ; kept[of] > d.rule.Kept; kept[of]-- {
			goes := -1
			for i := range m.len() {
				if v := m.value(i); v.field() == of && (goes < 0 || v.last() < m.value(goes).last()) {
					goes = i
				}
			}
			m = m.without(goes)
		}
	}
	return m, true
}

// Explain implements Detector. The event has already been learned from. So the new
// values are those that were doubted or new at its time.
func (d *firstSeen) Explain(payload []byte, at int64) (x Explanation) {
	m := seen(payload)
	x.Last = x.First - 1
	var news uint8
	visits := int64(0)
	if m != nil {
		visits = int64(m.visits())
		if m.is(seenTaught) {
			x.First, x.Last = min(m.firstTaught(), at), at
		}
		news = d.newAt(m, at)
		x.Held = append(x.Held, facet.Number("values", int64(m.len())), facet.Number("visits", visits))
	}
	learned := m != nil && d.judges(m, at)
	for i, t := range d.rule.Tiers {
		x.Demands = append(x.Demands, Demand{Tier: i, Weight: t.Weight, What: "new", Have: int64(bits.OnesCount8(news)), Need: int64(t.At)})
		if bits.OnesCount8(news) < t.At {
			continue
		}
		switch {
		case news&d.with[i] != d.with[i]:
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "with: other values are new"})
		case !learned:
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "learning", Until: m.firstTaught() + d.learnTime})
		case d.cooling(m, t.Weight, at):
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "cooldown", Until: m.firedAt() + d.cooldown})
		}
	}
	return x
}

// newAt returns bits of the fields with a value that was seen at a moment and was
// new then.
func (d *firstSeen) newAt(m seen, at int64) (news uint8) {
	var known [mostWatched]int
	for i := range m.len() {
		if v := m.value(i); d.isKnown(v, at) {
			known[v.field()]++
		}
	}
	for i := range m.len() {
		if v := m.value(i); v.last() == at && !d.isKnown(v, at) && known[v.field()] > 0 && known[v.field()] < d.rule.Kept {
			news |= 1 << v.field()
		}
	}
	return news
}
