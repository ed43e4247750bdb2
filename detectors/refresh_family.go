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

// RefreshFamily holds the parameters of the refresh family detector, which fires
// when a refresh token is used again after its successor in the family was used.
type RefreshFamily struct {
	Tiers    []ReuseTier      // Weight ascending, each verdict once; never empty
	Shown    *rules.Condition // the matching events that present no refresh token, but whose time of issue shows that a client received a token; nil: none
	Grace    time.Duration    // time after a rotation in which a reuse may be a race
	Tokens   int              // tokens remembered of a family
	Memory   time.Duration    // how long a token is remembered after its last use
	Cooldown time.Duration    // event time until the same weight may fire again for the family
}

// ReuseTier is one step of an answer: a verdict on a reuse, and its weight.
type ReuseTier struct {
	Verdict ReuseVerdict
	Weight  uint8 // 0..100
}

// ReuseVerdict is the verdict on a use of a token.
type ReuseVerdict uint8

// Verdicts. A rule cannot ask for Rightful.
const (
	Rightful    ReuseVerdict = iota
	Race                     // two requests of one client crossed in transit
	StaleClient              // a client keeps using a token that it has replaced
	Theft                    // another party has the token
)

var reuseVerdicts = []string{Race: "race", StaleClient: "stale", Theft: "theft"}

// String returns the verdict's name in rules.
func (v ReuseVerdict) String() string { return reuseVerdicts[v] }

const mostFamilyTokens = 200

// RefreshFamilyKind describes the detector to the rules.
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

// refreshFamily remembers the tokens of a family, and the first user of each. A
// token is replaced once a newer one is used. So a client that never received the
// answer to its refresh, and retries, does nothing wrong.
//
// The payload is a header of 96 bytes, and tokens of 72 in the order in which they
// were first seen:
//
//	0 fired at i64 (Unix ms) · 8 time of the last judged event i64 · 16 weight fired u8 · 17 its verdict u8 · 18 6 unused · 24 the shown token
//	token: id u64 · issued i64 · first i64 · last i64 (Unix ms) · raw offset of the first i64 · raw partition of the first u32 · sender of the first 20 bytes · key of the first u32 · 4 unused
//
// An id is the hash of the token's id. Issued is 0 if no event stated it. A key is
// 32 bits of its hash, 0 if absent. The shown token is the latest time of issue that
// an event without a token has shown. Its id is 0, and its issued is 0 if there was
// no such event.
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
	offset      int64 // of the first event, as source
	source      int32
	by          party // sender of the first event
}

// party is the sender of requests, as far as events show it.
type party struct {
	sender
	key uint32
}

// isOther reports whether two parties must be different: by device, by key, or by
// both network and client. A phone takes its key along, so a party without one on
// another network is a different one.
func (p *party) isOther(o *party) bool {
	keyless := (p.key == 0) != (o.key == 0)
	return p.otherDevice(&o.sender) || differ(p.key, o.key) || p.apart(&o.sender) || keyless && differ(p.net, o.net)
}

// newerThan reports whether t was issued after o. If a time of issue is unknown, the
// first use decides.
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

// without removes a token, in place.
func (m family) without(i int) family {
	copy(m[familyHeader+i*familyToken:], m[familyHeader+(i+1)*familyToken:])
	return m[:len(m)-familyToken]
}

// oldest returns the least recently used token.
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

// read returns a token with the event as its first.
func (d *refreshFamily) read(c *Context) refreshToken {
	return refreshToken{
		issued: c.Event.Num(event.TokenIssued), first: c.Time, last: c.Time, offset: c.Offset, source: c.Source,
		by: party{d.senders.read(c.Event), d.senders.number(c.Event.Text(event.KeyID))},
	}
}

// show records the latest time of issue that a client received, with its first
// event.
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

// and returns the token with one more event.
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

// forget drops tokens that have expired for all events that can still be on time.
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

// find returns the position of a token; −1 if it is not remembered.
func (m family) find(id uint64) int {
	for i := range m.len() {
		if m.id(i) == id {
			return i
		}
	}
	return -1
}

// replacement returns the token that replaced the one at a position: the newer
// token, or the shown one, that was used first. ok is false if there is none.
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

// judge returns the verdict on an event of the token at a position. before is the
// token without the event, or the event's own token if it is the first.
func (d *refreshFamily) judge(m family, at int, here, before *refreshToken) ReuseVerdict {
	other := here.first >= before.first && here.by.isOther(&before.by)
	next, ok := m.replacement(at)
	if !ok || next.first > here.first {
		// A token that one client used repeatedly is not a single-use token.
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

// fire fills in a firing for a verdict, if the rule asks for it.
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

// Fit implements Detector. If former settings allowed more tokens, the least
// recently used are dropped.
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

// Explain implements Detector: the verdict on the event, next to that of each tier.
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
