package detectors

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// RefreshFamily holds the parameters of the detector of that name, which fires when a
// refresh token is used again after the next one of its family was used.
type RefreshFamily struct {
	Tiers    []ReuseTier      // Weight ascending, each verdict once; never empty
	Shown    *rules.Condition // of the events that match the rule, those that present no refresh token, and whose time of issue shows what a client has got; nil: none
	Grace    time.Duration    // after a rotation, in which a reuse may be a race
	Tokens   int              // remembered of a family
	Memory   time.Duration    // how long a token is remembered after it came last
	Cooldown time.Duration    // event time until the same weight may fire again for the family
}

// ReuseTier is one step of an answer: what a reuse was judged to be, and its weight.
type ReuseTier struct {
	Verdict ReuseVerdict
	Weight  uint8 // 0..100
}

// ReuseVerdict is what a use of a token is judged to be.
type ReuseVerdict uint8

// Verdicts. Rightful is none that a rule can ask for.
const (
	Rightful    ReuseVerdict = iota
	Race                     // two requests of one client crossed on their way
	StaleClient              // a client goes on with a token that it has replaced
	Theft                    // somebody else has the token
)

var reuseVerdicts = []string{Race: "race", StaleClient: "stale", Theft: "theft"}

// String is the verdict's name in rules.
func (v ReuseVerdict) String() string { return reuseVerdicts[v] }

const mostFamilyTokens = 200

// RefreshFamilyKind is the detector as rules see it.
func RefreshFamilyKind() rules.Kind {
	return rules.Kind{
		Name: "refresh_family",
		Doc:  "finds refresh tokens that are used again after their replacement, and distinguishes races from theft",
		Keys: []rules.Key{
			rules.ListKey("tiers", rules.Required, 1, 3, "the verdicts on a reuse, from the mildest", rules.ObjectKey("", rules.Required, "one verdict",
				rules.ChoiceKey("verdict", rules.Required, reuseVerdicts[1:], "race: within the grace, from the same device and network; stale: from the same device, but too late for a race, or from another network; theft: from another device, or from another network with another client"),
				rules.WeightKey("weight", "confidence of the signal, in percent"))),
			rules.ConditionKey("shown", rules.Optional, "which of the matching events present no refresh token but one issued with it: its token_issued shows that the client got the answer to a refresh; default: none"),
			rules.DurationKey("grace", rules.Optional, 0, time.Hour, "how long after a token's replacement its use may be a race; default 30s"),
			rules.CountKey("tokens", rules.Optional, 2, mostFamilyTokens, "number of latest tokens remembered per family; default 32"),
			rules.DurationKey("memory", rules.Optional, time.Minute, longestMemory, "how long a token is remembered after its last use; default 30d"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestMemory, "time until the same weight may fire again for the family; default 1h"),
		},
		Compile: compileRefreshFamily,
	}
}

func compileRefreshFamily(p *rules.Params) rules.Spec {
	t := &RefreshFamily{
		Shown: p.Condition("shown"), Grace: p.DurationOr("grace", 30*time.Second), Tokens: p.IntOr("tokens", 32),
		Memory: p.DurationOr("memory", 30*24*time.Hour), Cooldown: p.DurationOr("cooldown", time.Hour),
	}
	if t.Memory < t.Grace {
		p.Problem("memory", "tokens are forgotten before their grace is over", "make memory longer than grace")
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "weight", "this verdict weighs no more than the one before it", "order the tiers by weight, each with one of its own")
	for _, tier := range tiers {
		verdict := ReuseVerdict(max(slices.Index(reuseVerdicts, tier.Text("verdict")), 0))
		if slices.ContainsFunc(t.Tiers, func(o ReuseTier) bool { return o.Verdict == verdict }) {
			tier.Problem("verdict", "this verdict has a tier already", "keep one of the two")
		}
		t.Tiers = append(t.Tiers, ReuseTier{Verdict: verdict, Weight: tier.Weight("weight")})
	}
	return t
}

// Fields implements [rules.Spec].
func (t *RefreshFamily) Fields() []event.Field {
	all := append([]event.Field{event.Token, event.TokenIssued, event.KeyID}, senderFields[:]...)
	if t.Shown != nil {
		all = append(all, t.Shown.Fields...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (t *RefreshFamily) State() string { return "family" }

// Canonical implements [rules.Spec].
func (t *RefreshFamily) Canonical() string {
	s := fmt.Sprintf("grace %d tokens %d memory %d cooldown %d", t.Grace.Milliseconds(), t.Tokens, t.Memory.Milliseconds(), t.Cooldown.Milliseconds())
	if t.Shown != nil {
		s += fmt.Sprintf(" shown %q", t.Shown.Canonical)
	}
	for _, tier := range t.Tiers {
		s += fmt.Sprintf(" tier %s %d", tier.Verdict, tier.Weight)
	}
	return s
}

// Keeps implements [rules.Spec].
func (t *RefreshFamily) Keeps() rules.Keeps {
	return rules.Keeps{Reach: t.Memory, After: t.Cooldown, Bytes: familyHeader + (t.Tokens+1)*familyToken}
}

func (t *RefreshFamily) detector(e Environment) Detector {
	return &refreshFamily{
		rule: t, lateness: e.Lateness, grace: t.Grace.Milliseconds(), memory: t.Memory.Milliseconds(), cooldown: t.Cooldown.Milliseconds(),
		senders: senderReader{hasher: e.Hasher},
	}
}

// refreshFamily remembers the tokens of a family, and who used each first. A token is
// replaced once a newer one is used; so a client that never got the answer to its
// refresh, and asks again, does nothing wrong.
//
// The payload is a header of 96 bytes, and tokens of 72 in the order in which they
// were first seen:
//
//	0 fired at i64 (Unix ms) · 8 time of the event judged last i64 · 16 weight fired u8 · 17 its verdict u8 · 18 6 unused · 24 what was shown, a token
//	token: id u64 · issued i64 · first i64 · last i64 (Unix ms) · raw offset of the first i64 · raw partition of the first u32 · sender of the first 20 bytes · key of the first u32 · 4 unused
//
// An id is the hash of the token's; issued is 0 where no event said it. A key is 32
// bits of its hash, 0 where there is none. What was shown is the latest time of issue,
// with id 0, and issued 0 where nothing was.
type refreshFamily struct {
	rule     *RefreshFamily
	lateness int64 // ms
	grace    int64 // ms
	memory   int64 // ms
	cooldown int64 // ms
	senders  senderReader
}

const (
	familyHeader = shownAt + familyToken
	familyToken  = 72
	shownAt      = 24
)

// refreshToken is one token of a family.
type refreshToken struct {
	id          uint64
	issued      int64 // Unix ms, 0: unknown
	first, last int64 // Unix ms
	offset      int64 // of the first, as source
	source      int32
	by          party // of the first
}

// party is who sends requests, as far as they show it.
type party struct {
	sender
	key uint32
}

// isOther reports whether two cannot be one: by their devices, by their keys, or by
// network and client. A phone takes its key along, so one that has none elsewhere is
// another.
func (p *party) isOther(o *party) bool {
	keyless := (p.key == 0) != (o.key == 0)
	return p.otherDevice(&o.sender) || differ(p.key, o.key) || p.apart(&o.sender) || keyless && differ(p.net, o.net)
}

// newerThan reports whether t was issued after o, or where that is not known of both,
// used after it.
func (t *refreshToken) newerThan(o *refreshToken) bool {
	if t.issued > 0 && o.issued > 0 {
		return t.issued > o.issued
	}
	return t.first > o.first
}

// family is a view of the payload.
type family []byte

func (m family) firedAt() int64     { return int64(le.Uint64(m)) }
func (m family) judgedAt() int64    { return int64(le.Uint64(m[8:])) }
func (m family) firedWeight() uint8 { return m[16] }
func (m family) judged() uint8      { return m[17] }
func (m family) len() int           { return (len(m) - familyHeader) / familyToken }
func (m family) bytes(i int) []byte { return m[familyHeader+i*familyToken:][:familyToken] }
func (m family) id(i int) uint64    { return le.Uint64(m.bytes(i)) }
func (m family) last(i int) int64   { return int64(le.Uint64(m.bytes(i)[24:])) }

func (m family) token(i int) refreshToken { return getToken(m.bytes(i)) }
func (m family) shown() refreshToken      { return getToken(m[shownAt:familyHeader]) }

func getToken(b []byte) refreshToken {
	return refreshToken{
		id: le.Uint64(b), issued: int64(le.Uint64(b[8:])), first: int64(le.Uint64(b[16:])), last: int64(le.Uint64(b[24:])),
		offset: int64(le.Uint64(b[32:])), source: int32(le.Uint32(b[40:])), by: party{getSender(b[44:]), le.Uint32(b[64:])},
	}
}

func (m family) put(i int, t *refreshToken) { t.put(m.bytes(i)) }

func (t *refreshToken) put(b []byte) {
	for n, v := range [...]int64{int64(t.id), t.issued, t.first, t.last, t.offset} {
		le.PutUint64(b[8*n:], uint64(v))
	}
	le.PutUint32(b[40:], uint32(t.source))
	putSender(b[44:], &t.by.sender)
	le.PutUint32(b[64:], t.by.key)
}

// without takes a token out, in place.
func (m family) without(i int) family {
	copy(m[familyHeader+i*familyToken:], m[familyHeader+(i+1)*familyToken:])
	return m[:len(m)-familyToken]
}

// oldest is the token that came last before all others did.
func (m family) oldest() (oldest int) {
	for i := 1; i < m.len(); i++ {
		if m.last(i) < m.last(oldest) {
			oldest = i
		}
	}
	return oldest
}

// Apply implements Detector.
func (d *refreshFamily) Apply(c *Context, f *Firing) bool {
	name := c.Event.Text(event.Token)
	if c.Late || name == "" {
		return false
	}
	if d.rule.Shown != nil && d.rule.Shown.Holds(c.Event) {
		d.show(c)
		return false
	}
	c.Counts = true
	m := family(c.Own.Payload())
	if m == nil {
		if m = c.Own.Resize(familyHeader); m == nil {
			return false
		}
	}
	m = d.forget(m, c)
	here := d.read(c)
	here.id = d.senders.hasher.Text(name)
	at := m.find(here.id)
	if at < 0 {
		if m = c.Own.Resize(len(m) + familyToken); m == nil {
			return false
		}
		at = m.len() - 1
		m.put(at, &here)
	}
	before := m.token(at)
	m.put(at, before.and(&here))
	verdict := d.judge(m, at, &here, &before)
	le.PutUint64(m[8:], uint64(c.Time))
	m[17] = uint8(verdict)
	fired := d.fire(m, at, verdict, &before, c.Time, f)
	if m.len() > d.rule.Tokens {
		c.Own.Resize(len(m.without(m.oldest())))
	}
	return fired
}

// read is a token of which the event is the first.
func (d *refreshFamily) read(c *Context) refreshToken {
	return refreshToken{
		issued: c.Event.Num(event.TokenIssued), first: c.Time, last: c.Time, offset: c.Offset, source: c.Source,
		by: party{d.senders.read(c.Event), d.senders.number(c.Event.Text(event.KeyID))},
	}
}

// show keeps the latest time of issue of what a client has got, and its first event.
func (d *refreshFamily) show(c *Context) {
	issued := c.Event.Num(event.TokenIssued)
	if issued == 0 {
		return
	}
	m := family(c.Own.Payload())
	if m == nil {
		if m = c.Own.Resize(familyHeader); m == nil {
			return
		}
	}
	if was := m.shown(); was.issued > issued || was.issued == issued && was.first <= c.Time {
		return
	}
	here := d.read(c)
	here.put(m[shownAt:familyHeader])
}

// and is the token with one more event.
func (t refreshToken) and(here *refreshToken) *refreshToken {
	if t.issued == 0 {
		t.issued = here.issued
	}
	if here.first < t.first {
		t.first, t.offset, t.source, t.by = here.first, here.offset, here.source, here.by
	}
	t.last = max(t.last, here.last)
	return &t
}

// forget drops tokens that are older than the memory for every event that can be on
// time.
func (d *refreshFamily) forget(m family, c *Context) family {
	if c.Watermark == math.MinInt64 {
		return m
	}
	had := len(m)
	for i := m.len() - 1; i >= 0; i-- {
		if m.last(i) <= c.Watermark-d.lateness-d.memory {
			m = m.without(i)
		}
	}
	if len(m) < had {
		m = c.Own.Resize(len(m))
	}
	return m
}

// find is the place of a token; −1 where it is not remembered.
func (m family) find(id uint64) int {
	for i := range m.len() {
		if m.id(i) == id {
			return i
		}
	}
	return -1
}

// replacement is the token that replaced the one at a place: of those that are newer,
// what was shown among them, the one that was used first. ok is false where there is none.
func (m family) replacement(at int) (by refreshToken, ok bool) {
	t := m.token(at)
	for i := range m.len() {
		if o := m.token(i); i != at && o.newerThan(&t) && (!ok || o.first < by.first) {
			by, ok = o, true
		}
	}
	if o := m.shown(); t.issued > 0 && o.issued > t.issued && (!ok || o.first < by.first) {
		by, ok = o, true
	}
	return by, ok
}

// judge says what an event of the token at a place is. before is the token as it was,
// or of the event itself where that is its first.
func (d *refreshFamily) judge(m family, at int, here, before *refreshToken) ReuseVerdict {
	other := here.first >= before.first && here.by.isOther(&before.by)
	next, ok := m.replacement(at)
	if !ok || next.first > here.first {
		// A token that one client used again and again is none that is used once.
		if other && before.last-before.first <= d.grace {
			return Theft
		}
		return Rightful
	}
	switch {
	case other || here.by.isOther(&next.by):
		return Theft
	case here.first-next.first <= d.grace && !here.by.otherNetwork(&next.by.sender):
		return Race
	}
	return StaleClient
}

// fire speaks of a verdict, if the rule asks for it.
func (d *refreshFamily) fire(m family, at int, verdict ReuseVerdict, before *refreshToken, now int64, f *Firing) bool {
	tier := slices.IndexFunc(d.rule.Tiers, func(t ReuseTier) bool { return t.Verdict == verdict })
	if tier < 0 {
		return false
	}
	weight := d.rule.Tiers[tier].Weight
	if weight <= m.firedWeight() && now-m.firedAt() < d.cooldown {
		return false
	}
	le.PutUint64(m, uint64(now))
	m[16] = weight
	f.Tier, f.Weight = tier, weight
	f.Evidence = append(f.Evidence[:0],
		facet.Text("verdict", reuseVerdicts[verdict]),
		facet.Number("tokens", int64(m.len())),
		facet.EventAt("first_event", before.source, before.offset, before.first))
	if next, ok := m.replacement(at); ok && next.first <= now {
		f.Evidence = append(f.Evidence,
			facet.EventAt("replaced_event", next.source, next.offset, next.first),
			facet.Number("elapsed_ms", now-next.first))
	}
	return true
}

// Fit implements Detector. Of a payload that former settings let grow, the tokens go
// that came last before all others did.
func (d *refreshFamily) Fit(payload []byte) ([]byte, bool) {
	m := family(payload)
	if len(m) < familyHeader || (len(m)-familyHeader)%familyToken != 0 || m.len() > mostFamilyTokens+1 || m.judged() > uint8(Theft) {
		return nil, false
	}
	if t := m.shown(); t.first > t.last || t.source < 0 || t.issued < 0 {
		return nil, false
	}
	for i := range m.len() {
		if t := m.token(i); t.first > t.last || t.source < 0 || t.issued < 0 {
			return nil, false
		}
	}
	for m.len() > d.rule.Tokens {
		m = m.without(m.oldest())
	}
	return m, true
}

// Explain implements Detector: what the event was judged to be, beside what each tier
// asks for.
func (d *refreshFamily) Explain(payload []byte, at int64) (x Explanation) {
	m := family(payload)
	x.Last = x.First - 1
	is := Rightful
	if m != nil {
		x.Held = append(x.Held, facet.Number("tokens", int64(m.len())))
		if m.judgedAt() == at {
			is = ReuseVerdict(m.judged())
		}
		for i := range m.len() {
			t := m.token(i)
			if t.last != at {
				continue
			}
			x.First, x.Last = t.first, at
			if next, ok := m.replacement(i); ok && next.first <= at {
				x.First = min(x.First, next.first)
				x.Held = append(x.Held, facet.EventAt("replaced_event", next.source, next.offset, next.first), facet.Number("elapsed_ms", at-next.first))
			}
			break
		}
	}
	for tier, t := range d.rule.Tiers {
		demand := Demand{Tier: tier, Weight: t.Weight, What: reuseVerdicts[t.Verdict], Need: 1}
		if t.Verdict == is {
			demand.Have = 1
			if t.Weight <= m.firedWeight() && at-m.firedAt() < d.cooldown {
				x.HeldBack = append(x.HeldBack, HeldBack{Tier: tier, By: "cooldown", Until: m.firedAt() + d.cooldown})
			}
		}
		x.Demands = append(x.Demands, demand)
	}
	return x
}
