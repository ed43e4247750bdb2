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

// TokenTheft holds the parameters of the token theft detector, which fires when two
// parties use one token or session.
type TokenTheft struct {
	Tiers    []TheftTier   // Weight ascending, each sign once; never empty
	Least    int           // minimum number of events on each side of [OtherSoftware]
	Uses     int           // uses remembered of an entity
	Memory   time.Duration // how long a use is remembered after its last event
	Cooldown time.Duration // event time until the same weight may fire again for the entity
}

// TheftTier is one step of an answer: a required sign, and the weight.
type TheftTier struct {
	Sign   TheftSign
	Weight uint8 // 0..100
}

// TheftSign is a sign of a second party.
type TheftSign uint8

// Signs, in the order of their names in rules.
const (
	OtherDevice     TheftSign = iota // a device other than before
	OtherSoftware                    // a different network and client, alternating, without a different device
	Stranger                         // a different device that shares nothing with earlier ones
	TwoDevices                       // two devices at the same time
	OtherKey                         // a different proof key under the same token, or two keys at the same time
	theftSignsCount                  // number of signs
)

var theftSigns = []string{"other_device", "other_software", "stranger", "two_devices", "other_key"}

// String returns the sign's name in rules.
func (s TheftSign) String() string { return theftSigns[s] }

const mostTokenUses = 64

// TokenTheftKind describes the detector to the rules.
func TokenTheftKind() rules.Kind {
	return rules.Kind{
		Name: "token_theft",
		Doc:  "finds a token or a session that two parties use",
		Keys: []rules.Key{
			rules.ListKey("tiers", rules.Required, 1, int64(theftSignsCount), "the signs of a second party, from the mildest", rules.ObjectKey("", rules.Required, "one sign",
				rules.ChoiceKey("sign", rules.Required, theftSigns, "other_device: another device than before; other_software: another network with another client, by turns with the first; stranger: another device, without a network or a client in common; two_devices: devices by turns; other_key: another proof key under the same token"),
				rules.WeightKey("weight", "confidence of the signal, in percent"))),
			rules.CountKey("least_events", rules.Optional, 1, 1000, "minimum number of events from each of the two clients of other_software; default 3"),
			rules.CountKey("uses", rules.Optional, 2, mostTokenUses, "number of latest different uses (device, key, client and network together) remembered per entity; default 16"),
			rules.DurationKey("memory", rules.Optional, time.Minute, longestMemory, "how long a use is remembered after its last event; default 24h"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestMemory, "time until the same weight may fire again for the entity; default 1h"),
		},
		Compile: compileTokenTheft,
	}
}

func compileTokenTheft(p *rules.Params) rules.Spec {
	t := &TokenTheft{
		Least: p.IntOr("least_events", 3), Uses: p.IntOr("uses", 16),
		Memory: p.DurationOr("memory", 24*time.Hour), Cooldown: p.DurationOr("cooldown", time.Hour),
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "weight", "this sign can never be seen beside the one before it: it weighs no more", "order the tiers by weight, each with one of its own")
	for _, tier := range tiers {
		sign := TheftSign(max(slices.Index(theftSigns, tier.Text("sign")), 0))
		if slices.ContainsFunc(t.Tiers, func(o TheftTier) bool { return o.Sign == sign }) {
			tier.Problem("sign", "this sign has a tier already", "keep one of the two")
		}
		t.Tiers = append(t.Tiers, TheftTier{Sign: sign, Weight: tier.Weight("weight")})
	}
	return t
}

// Fields implements [rules.Spec].
func (t *TokenTheft) Fields() []event.Field {
	all := append([]event.Field{event.Token, event.KeyID}, senderFields[:]...)
	slices.Sort(all)
	return all
}

// State implements [rules.Spec].
func (t *TokenTheft) State() string { return "uses" }

// Canonical implements [rules.Spec].
func (t *TokenTheft) Canonical() string {
	s := fmt.Sprintf("least_events %d uses %d memory %d cooldown %d", t.Least, t.Uses, t.Memory.Milliseconds(), t.Cooldown.Milliseconds())
	for _, tier := range t.Tiers {
		s += fmt.Sprintf(" tier %s %d", tier.Sign, tier.Weight)
	}
	return s
}

// Keeps implements [rules.Spec].
func (t *TokenTheft) Keeps() rules.Keeps {
	return rules.Keeps{Reach: t.Memory, After: t.Cooldown, Bytes: usesHeader + (t.Uses+1)*useSize}
}

func (t *TokenTheft) detector(e Environment) Detector {
	return &tokenTheft{rule: t, lateness: e.Lateness, memory: t.Memory.Milliseconds(), cooldown: t.Cooldown.Milliseconds(), senders: senderReader{hasher: e.Hasher}}
}

// tokenTheft remembers the different uses of a token, each with the times of its
// first and last event. So it can distinguish alternating uses from consecutive
// ones. The order of arrival does not matter.
//
// The payload is a header of 12 bytes, and uses of 64 in the order in which they
// were first seen:
//
//	0 fired at i64 (Unix ms) · 8 weight fired u8 · 9 3 unused
//	use: first i64 · last i64 (Unix ms) · raw offset of the last i64 · device u32 · ja4 u32 · agent u32 · net u32 · asn u32 · key u32 · token of the last u32 · raw partition of the last u32 · events u32 · 4 unused
//
// Key and token are 32 bits of the values' hashes, 0 if absent.
type tokenTheft struct {
	rule     *TokenTheft
	lateness int64 // ms
	memory   int64 // ms
	cooldown int64 // ms
	senders  senderReader

	here tokenUse                // the event
	near [mostTokenUses + 1]bool // by use: whether it belongs to here's party
}

const (
	usesHeader = 12
	useSize    = 64
)

// tokenUse is one use of a token: all events that look the same.
type tokenUse struct {
	first, last int64 // Unix ms
	offset      int64 // of the last event, as source
	source      int32
	events      uint32

	sender
	key   uint32
	token uint32 // of the last event
}

// sameLook reports whether two uses look the same.
func (u *tokenUse) sameLook(o *tokenUse) bool {
	return u.sender == o.sender && u.key == o.key
}

// apart reports whether two uses share neither a network nor a client. All networks
// of an operator count as one, because a phone moves among them. That does not apply
// if only one of the uses has a key, because a phone takes its key along.
func (u *tokenUse) apart(o *tokenUse) bool {
	if (u.key == 0) == (o.key == 0) {
		return u.sender.apart(&o.sender)
	}
	return differ(u.net, o.net) && (differ(u.ja4, o.ja4) || differ(u.agent, o.agent))
}

// tokenUses is a view of the payload.
type tokenUses []byte

func (m tokenUses) firedAt() int64     { return int64(le.Uint64(m)) }
func (m tokenUses) firedWeight() uint8 { return m[8] }
func (m tokenUses) len() int           { return (len(m) - usesHeader) / useSize }
func (m tokenUses) bytes(i int) []byte { return m[usesHeader+i*useSize:][:useSize] }
func (m tokenUses) last(i int) int64   { return int64(le.Uint64(m.bytes(i)[8:])) }

func (m tokenUses) fired(weight uint8, at int64) {
	le.PutUint64(m, uint64(at))
	m[8] = weight
}

func (m tokenUses) use(i int) tokenUse {
	b := m.bytes(i)
	return tokenUse{
		first: int64(le.Uint64(b)), last: int64(le.Uint64(b[8:])), offset: int64(le.Uint64(b[16:])),
		sender: getSender(b[24:]), key: le.Uint32(b[44:]), token: le.Uint32(b[48:]),
		source: int32(le.Uint32(b[52:])), events: le.Uint32(b[56:]),
	}
}

func (m tokenUses) put(i int, u *tokenUse) {
	b := m.bytes(i)
	le.PutUint64(b, uint64(u.first))
	le.PutUint64(b[8:], uint64(u.last))
	le.PutUint64(b[16:], uint64(u.offset))
	putSender(b[24:], &u.sender)
	le.PutUint32(b[44:], u.key)
	le.PutUint32(b[48:], u.token)
	le.PutUint32(b[52:], uint32(u.source))
	le.PutUint32(b[56:], u.events)
}

// without removes a use, in place.
func (m tokenUses) without(i int) tokenUses {
	copy(m[usesHeader+i*useSize:], m[usesHeader+(i+1)*useSize:])
	return m[:len(m)-useSize]
}

// oldest returns the use with the earliest last event.
func (m tokenUses) oldest() (oldest int) {
	for i := 1; i < m.len(); i++ {
		if m.last(i) < m.last(oldest) {
			oldest = i
		}
	}
	return oldest
}

// Apply implements Detector.
func (d *tokenTheft) Apply(c *Context, f *Firing) bool {
	if c.Late || !d.see(c) {
		return false
	}
	c.Counts = true
	m := tokenUses(c.Own.Payload())
	if m == nil {
		if m = c.Own.Resize(usesHeader); m == nil {
			return false
		}
	}
	m = d.forget(m, c)
	if m = d.remember(m, c.Own); m == nil {
		return false
	}
	fired := d.judge(m, f)
	if m.len() > d.rule.Uses {
		c.Own.Resize(len(m.without(m.oldest())))
	}
	return fired
}

// see reads the event's use of the token. It returns false if nothing is known about
// it.
func (d *tokenTheft) see(c *Context) bool {
	e := c.Event
	d.here = tokenUse{
		first: c.Time, last: c.Time, offset: c.Offset, source: c.Source, events: 1,
		sender: d.senders.read(e), key: d.senders.number(e.Text(event.KeyID)), token: d.senders.number(e.Text(event.Token)),
	}
	u := &d.here
	return u.device|u.key|u.ja4|u.agent|u.net != 0
}

// forget drops uses that have expired for all events that can still be on time.
func (d *tokenTheft) forget(m tokenUses, c *Context) tokenUses {
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

// remember adds the event to the uses, and returns them; nil if there is no room.
func (d *tokenTheft) remember(m tokenUses, own Slot) tokenUses {
	for i := range m.len() {
		u := m.use(i)
		if !u.sameLook(&d.here) {
			continue
		}
		u.first, u.events = min(u.first, d.here.first), min(u.events, math.MaxUint32-1)+1
		if d.here.last >= u.last {
			u.last, u.offset, u.source, u.token = d.here.last, d.here.offset, d.here.source, d.here.token
		}
		m.put(i, &u)
		return m
	}
	if m = own.Resize(len(m) + useSize); m != nil {
		m.put(m.len()-1, &d.here)
	}
	return m
}

// judge fires for the heaviest sign found.
func (d *tokenTheft) judge(m tokenUses, f *Firing) bool {
	if d.isAlone(m) {
		return false
	}
	for tier := len(d.rule.Tiers) - 1; tier >= 0; tier-- {
		t := d.rule.Tiers[tier]
		other := d.other(m, t.Sign)
		if other < 0 {
			continue
		}
		if t.Weight <= m.firedWeight() && d.here.last-m.firedAt() < d.cooldown {
			return false
		}
		m.fired(t.Weight, d.here.last)
		f.Tier, f.Weight = tier, t.Weight
		f.Evidence = d.evidence(f.Evidence[:0], m, t.Sign, other)
		return true
	}
	return false
}

// isAlone reports whether no other use differs from the event in anything that a
// sign needs. That is true of nearly all tokens.
func (d *tokenTheft) isAlone(m tokenUses) bool {
	for i := range m.len() {
		u := m.use(i)
		if u.otherDevice(&d.here.sender) || differ(u.key, d.here.key) || u.apart(&d.here) {
			return false
		}
	}
	return true
}

// other returns the use that shows a sign together with the event, the one with the
// latest event if there are several; −1 if there is none.
func (d *tokenTheft) other(m tokenUses, sign TheftSign) int {
	switch sign {
	case OtherDevice:
		return d.latest(m, func(u tokenUse) bool { return u.otherDevice(&d.here.sender) })
	case Stranger:
		if d.hasCommon(m) {
			return -1
		}
		return d.latest(m, func(u tokenUse) bool { return u.otherDevice(&d.here.sender) })
	case TwoDevices:
		own := d.span(m, func(u tokenUse) bool { return u.device == d.here.device })
		return d.latest(m, func(u tokenUse) bool {
			return u.otherDevice(&d.here.sender) && own.meets(d.span(m, func(o tokenUse) bool { return o.device == u.device }))
		})
	case OtherKey:
		own := d.span(m, func(u tokenUse) bool { return u.key == d.here.key })
		return d.latest(m, func(u tokenUse) bool {
			return differ(u.key, d.here.key) && (u.token != 0 && u.token == d.here.token && !d.replaced(m, u.key) ||
				own.meets(d.span(m, func(o tokenUse) bool { return o.key == u.key })))
		})
	case OtherSoftware:
		return d.otherParty(m)
	}
	return -1
}

// replaced reports whether the event's key has taken the place of another in the same
// app: a use with the one and a use with the other share device, network and client.
// Where keys belong to releases, an update does that.
func (d *tokenTheft) replaced(m tokenUses, key uint32) bool {
	for i := range m.len() {
		own := m.use(i)
		if own.key != d.here.key || own.device == 0 {
			continue
		}
		for j := range m.len() {
			if u := m.use(j); u.key == key && u.device == own.device && u.net != 0 && own.net != 0 && !u.otherNetwork(&own.sender) &&
				u.ja4 == own.ja4 && u.agent == own.agent && u.ja4|u.agent != 0 {
				return true
			}
		}
	}
	return false
}

// latest returns the use with the latest event among those for which holds is true;
// −1 if there is none.
func (d *tokenTheft) latest(m tokenUses, holds func(tokenUse) bool) int {
	latest := -1
	for i := range m.len() {
		if u := m.use(i); (latest < 0 || u.last > m.last(latest)) && holds(u) {
			latest = i
		}
	}
	return latest
}

// hasCommon reports whether the event's device shares a network or a client with
// other devices, or may do so.
func (d *tokenTheft) hasCommon(m tokenUses) bool {
	for i := range m.len() {
		own := m.use(i)
		if own.device != d.here.device {
			continue
		}
		for j := range m.len() {
			if u := m.use(j); u.otherDevice(&d.here.sender) && !u.apart(&own) {
				return true
			}
		}
	}
	return false
}

// tokenSpan is the time from the first event of some uses to their last.
type tokenSpan struct{ first, last int64 }

func (s tokenSpan) meets(o tokenSpan) bool { return max(s.first, o.first) <= min(s.last, o.last) }

// span returns the span of the uses for which holds is true. There is at least one.
func (d *tokenTheft) span(m tokenUses, holds func(tokenUse) bool) tokenSpan {
	s := tokenSpan{math.MaxInt64, math.MinInt64}
	for i := range m.len() {
		if u := m.use(i); holds(u) {
			s.first, s.last = min(s.first, u.first), max(s.last, u.last)
		}
	}
	return s
}

// otherParty splits the uses without a different device into the event's party,
// whose uses are connected by a shared network or client, and the rest. It returns
// the latest of the rest if the two alternate.
func (d *tokenTheft) otherParty(m tokenUses) int {
	n := m.len()
	clear(d.near[:n])
	for i := range n {
		u := m.use(i)
		d.near[i] = u.sameLook(&d.here)
	}
	for grown := true; grown; {
		grown = false
		for i := range n {
			u := m.use(i)
			if d.near[i] || u.otherDevice(&d.here.sender) {
				continue
			}
			for j := range n {
				if o := m.use(j); d.near[j] && !u.apart(&o) {
					d.near[i], grown = true, true
					break
				}
			}
		}
	}
	var events [2]int
	spans := [2]tokenSpan{{math.MaxInt64, math.MinInt64}, {math.MaxInt64, math.MinInt64}}
	latest := -1
	for i := range n {
		u, side := m.use(i), 0
		if u.otherDevice(&d.here.sender) {
			continue
		}
		if !d.near[i] {
			if side = 1; latest < 0 || u.last > m.last(latest) {
				latest = i
			}
		}
		s := &spans[side]
		s.first, s.last = min(s.first, u.first), max(s.last, u.last)
		events[side] += int(u.events)
	}
	if latest < 0 || !spans[0].meets(spans[1]) || min(events[0], events[1]) < d.rule.Least {
		return -1
	}
	return latest
}

// evidence describes the sign that the event shows with another use.
func (d *tokenTheft) evidence(list []facet.Evidence, m tokenUses, sign TheftSign, other int) []facet.Evidence {
	u := m.use(other)
	return append(d.held(list, m),
		facet.Text("sign", theftSigns[sign]),
		facet.EventAt("other_event", u.source, u.offset, u.last),
		facet.Number("elapsed_ms", max(d.here.last-u.last, u.last-d.here.last)))
}

// held describes the remembered uses as evidence.
func (d *tokenTheft) held(list []facet.Evidence, m tokenUses) []facet.Evidence {
	return append(list,
		facet.Number("devices", m.distinct(func(u tokenUse) uint32 { return u.device })),
		facet.Number("keys", m.distinct(func(u tokenUse) uint32 { return u.key })),
		facet.Number("networks", m.distinct(func(u tokenUse) uint32 { return u.net })),
		facet.Number("uses", int64(m.len())))
}

// distinct counts the distinct values of the uses.
func (m tokenUses) distinct(of func(tokenUse) uint32) (n int64) {
next:
	for i := range m.len() {
		u := m.use(i)
		if of(u) == 0 {
			continue
		}
		for j := range i {
			if o := m.use(j); of(o) == of(u) {
				continue next
			}
		}
		n++
	}
	return n
}

// Fit implements Detector. If former settings allowed more uses, those with the
// earliest last event are dropped.
func (d *tokenTheft) Fit(payload []byte) ([]byte, bool) {
	m := tokenUses(payload)
	if len(m) < usesHeader || (len(m)-usesHeader)%useSize != 0 || m.len() > mostTokenUses+1 {
		return nil, false
	}
	for i := range m.len() {
		if u := m.use(i); u.first > u.last || u.source < 0 || u.events == 0 {
			return nil, false
		}
	}
	for m.len() > d.rule.Uses {
		m = m.without(m.oldest())
	}
	return m, true
}

// Explain implements Detector: for each tier, how many uses show its sign with the
// latest one.
func (d *tokenTheft) Explain(payload []byte, at int64) (x Explanation) {
	m := tokenUses(payload)
	x.Last = x.First - 1
	if m != nil {
		x.Held = d.held(nil, m)
	}
	latest := -1
	if m != nil {
		latest = d.latest(m, func(u tokenUse) bool { return u.last <= at })
	}
	for tier, t := range d.rule.Tiers {
		demand := Demand{Tier: tier, Weight: t.Weight, What: theftSigns[t.Sign], Need: 1}
		if latest >= 0 {
			d.here = m.use(latest)
			if x.Last < x.First {
				x.First, x.Last = d.here.first, d.here.last
			}
			if other := d.other(m, t.Sign); other >= 0 {
				u := m.use(other)
				x.First, x.Last = min(x.First, u.first), max(x.Last, u.last)
				demand.Have = 1
				if t.Weight <= m.firedWeight() && at-m.firedAt() < d.cooldown {
					x.HeldBack = append(x.HeldBack, HeldBack{Tier: tier, By: "cooldown", Until: m.firedAt() + d.cooldown})
				}
			}
		}
		x.Demands = append(x.Demands, demand)
	}
	return x
}
