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

// Replay holds the parameters of the replay detector, which fires when requests are
// sent a second time.
type Replay struct {
	Tiers    []ReplayTier  // Weight ascending, and At ascending among tiers of one sign; never empty
	Window   time.Duration // time in which a nonce must not repeat, and in which signs are counted
	Nonces   int           // nonces remembered of an entity
	Grace    time.Duration // time after the first use of a nonce in which a reuse may be a retry
	Retries  int           // retries of one nonce that do not count as replays
	Skew     time.Duration // how far a client's time may differ from its learned clock
	Learn    int           // number of client times that teach a clock
	Memory   time.Duration // how long a clock is remembered after its last time
	Room     time.Duration // evicting nonces younger than this is a flood
	Cooldown time.Duration // event time until the same weight may fire again for the entity
}

// ReplayTier is one step of an answer: a minimum number of signs of one kind, and
// the weight.
type ReplayTier struct {
	Sign   ReplaySign
	At     int   // 1..32
	Weight uint8 // 0..100
}

// ReplaySign is a sign of a replay.
type ReplaySign uint8

// Signs.
const (
	ReusedNonce ReplaySign = iota // a nonce was used again, and not as a retry
	WrongClock                    // the client's time is off its clock
	Backwards                     // the client's time is before that of an earlier event
	NonceFlood                    // so many nonces that young ones were evicted
	Repeated                      // a retry of a write that was already answered
	replaySigns
)

var replaySignNames = []string{"reused", "wrong_clock", "backwards", "flood", "repeated"}

// String returns the sign's name in rules.
func (s ReplaySign) String() string { return replaySignNames[s] }

const (
	mostNonces     = 1000
	mostReplayAt   = 32
	mostClockTimes = 9
)

// ReplayKind describes the detector to the rules.
func ReplayKind() rules.Kind {
	return rules.Kind{
		Name: "replay",
		Doc:  "finds requests that are sent again: reused nonces, and times that differ from the client's clock",
		Keys: []rules.Key{
			rules.ListKey("tiers", rules.Required, 1, 12, "the steps, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.ChoiceKey("sign", rules.Required, replaySignNames, "reused: a nonce again that is no retry; wrong_clock: client_time differs from the learned clock; backwards: client_time before that of an earlier event; flood: so many nonces that young ones had to be forgotten; repeated: a retry of a request other than GET, HEAD or OPTIONS that had been answered with success"),
				rules.CountKey("at", rules.Required, 1, mostReplayAt, "number inside the window that fires"),
				rules.WeightKey("weight", "confidence of the signal, in percent"))),
			rules.DurationKey("window", rules.Optional, time.Second, 31*24*time.Hour, "how long a nonce must not be reused, and how long signs count; default 10m"),
			rules.CountKey("nonces", rules.Optional, 2, mostNonces, "number of latest nonces remembered per entity; default 256"),
			rules.DurationKey("grace", rules.Optional, 0, time.Hour, "how long after its first use a nonce may be a retry; default 30s"),
			rules.CountKey("retries", rules.Optional, 0, 100, "number of retries allowed with another request id; default 2"),
			rules.DurationKey("skew", rules.Optional, time.Second, 24*time.Hour, "allowed difference between client_time and the learned clock; default 5m"),
			rules.CountKey("learn", rules.Optional, 2, mostClockTimes, "number of agreeing times that teach a clock, or show that it was set; default 5"),
			rules.DurationKey("memory", rules.Optional, time.Minute, longestMemory, "how long a clock is remembered after its last event; default 24h"),
			rules.DurationKey("room", rules.Optional, 0, time.Hour, "forgetting a nonce younger than this for lack of room is a flood; default 5s"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestMemory, "time until the same weight may fire again for the entity; default 1h"),
		},
		Compile: compileReplay,
	}
}

func compileReplay(p *rules.Params) rules.Spec {
	t := &Replay{
		Window: p.DurationOr("window", 10*time.Minute), Nonces: p.IntOr("nonces", 256), Grace: p.DurationOr("grace", 30*time.Second), Retries: p.IntOr("retries", 2),
		Skew: p.DurationOr("skew", 5*time.Minute), Learn: p.IntOr("learn", 5), Memory: p.DurationOr("memory", 24*time.Hour), Room: p.DurationOr("room", 5*time.Second),
		Cooldown: p.DurationOr("cooldown", time.Hour),
	}
	if t.Window < t.Grace {
		p.Problem("window", "nonces are forgotten while they may be retried", "make window at least as long as grace")
	}
	if t.Window < t.Room {
		p.Problem("room", "nonces are forgotten sooner anyway", "make room at most as long as window")
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "weight", "this tier can never be seen beside the one before it: it weighs no more", "order the tiers by weight, each with one of its own")
	most := [replaySigns]int{}
	for _, tier := range tiers {
		r := ReplayTier{Sign: ReplaySign(max(slices.Index(replaySignNames, tier.Text("sign")), 0)), At: tier.Int("at"), Weight: tier.Weight("weight")}
		if r.At <= most[r.Sign] {
			tier.Problem("at", "a tier of this sign that weighs less asks for as much", "ask for more, or remove the other")
		}
		most[r.Sign] = r.At
		t.Tiers = append(t.Tiers, r)
	}
	return t
}

// Fields implements [rules.Spec].
func (t *Replay) Fields() []event.Field {
	all := []event.Field{event.Nonce, event.ClientTime, event.RequestID, event.JA4, event.UserAgent, event.Skewed, event.Method, event.Status}
	slices.Sort(all)
	return all
}

// State implements [rules.Spec].
func (t *Replay) State() string { return "nonces" }

// Canonical implements [rules.Spec].
func (t *Replay) Canonical() string {
	s := fmt.Sprintf("window %d nonces %d grace %d retries %d skew %d learn %d memory %d room %d cooldown %d",
		t.Window.Milliseconds(), t.Nonces, t.Grace.Milliseconds(), t.Retries, t.Skew.Milliseconds(), t.Learn,
		t.Memory.Milliseconds(), t.Room.Milliseconds(), t.Cooldown.Milliseconds())
	for _, tier := range t.Tiers {
		s += fmt.Sprintf(" tier %s %d %d", tier.Sign, tier.At, tier.Weight)
	}
	return s
}

// most returns how many marks of each sign are remembered: as many as the largest
// tier asks for.
func (t *Replay) most() (n int) {
	for _, tier := range t.Tiers {
		n = max(n, tier.At)
	}
	return n
}

// Keeps implements [rules.Spec].
func (t *Replay) Keeps() rules.Keeps {
	return rules.Keeps{
		Reach: max(t.Window, t.Memory), After: t.Cooldown,
		Bytes: replayHeader + (int(replaySigns)*t.most()+1)*markSize + (t.Nonces+1)*nonceSize,
	}
}

func (t *Replay) detector(e Environment) Detector {
	return &replay{
		rule: t, most: t.most(), lateness: e.Lateness, window: t.Window.Milliseconds(), grace: t.Grace.Milliseconds(),
		skew: t.Skew.Milliseconds(), memory: t.Memory.Milliseconds(), room: t.Room.Milliseconds(), cooldown: t.Cooldown.Milliseconds(),
		senders: senderReader{hasher: e.Hasher},
	}
}

// replay remembers nonces, the offset of the client's clock, and the times of signs.
//
// The payload is a header of 136 bytes, marks of 16 in the order in which they came,
// and nonces of 24, also in order of arrival:
//
//	0 fired at i64 · 8 time of the latest event with a client's time i64 · 16 its client's time i64 · 24 time of the youngest evicted nonce i64 (Unix ms)
//	32 first offset of the run i64 · 40 client's time there i64 · 48 offsets of the clock 9 × i64, the last first (ms)
//	120 weight fired u8 · 121 offsets u8 · 122 length of the run u8 · 123 a latest event is present u8 · 124 marks u8 · 125 a nonce was evicted u8 · 126 10 unused
//	mark: time i64 (Unix ms) · sign u8 · 7 unused
//	nonce: hash u64 · first use u48 (Unix ms) · retries u8 · answered u8 (0 or 1) · request u32 · client u32
//
// Request and client are 32 bits of hashes, 0 if absent.
type replay struct {
	rule     *Replay
	most     int   // marks of each sign
	lateness int64 // ms, as all below
	window   int64
	grace    int64
	skew     int64
	memory   int64
	room     int64
	cooldown int64
	senders  senderReader

	seen [replaySigns]bool // signs of the event
}

const (
	replayHeader = 136
	markSize     = 16
	nonceSize    = 24
)

// replays is a view of the payload.
type replays []byte

func (m replays) i64(at int) int64        { return int64(le.Uint64(m[at:])) }
func (m replays) set(at int, v int64)     { le.PutUint64(m[at:], uint64(v)) }
func (m replays) firedAt() int64          { return m.i64(0) }
func (m replays) latest() int64           { return m.i64(8) }
func (m replays) latestClient() int64     { return m.i64(16) }
func (m replays) forgotten() int64        { return m.i64(24) }
func (m replays) runOffset() int64        { return m.i64(32) }
func (m replays) runClient() int64        { return m.i64(40) }
func (m replays) firedWeight() uint8      { return m[120] }
func (m replays) offsets() int            { return int(m[121]) }
func (m replays) run() int                { return int(m[122]) }
func (m replays) hasLatest() bool         { return m[123] == 1 }
func (m replays) marks() int              { return int(m[124]) }
func (m replays) hasForgotten() bool      { return m[125] == 1 }
func (m replays) markTime(i int) int64    { return m.i64(replayHeader + i*markSize) }
func (m replays) markSign(i int) uint8    { return m[replayHeader+i*markSize+8] }
func (m replays) begin() int              { return replayHeader + m.marks()*markSize }
func (m replays) nonces() int             { return (len(m) - m.begin()) / nonceSize }
func (m replays) nonceBytes(i int) []byte { return m[m.begin()+i*nonceSize:][:nonceSize] }
func (m replays) nonceHash(i int) uint64  { return le.Uint64(m.nonceBytes(i)) }
func (m replays) nonceTime(i int) int64 {
	return int64(le.Uint64(m.nonceBytes(i)[8:]) << 16 >> 16)
}

// usedNonce is a nonce with its first use.
type usedNonce struct {
	hash            uint64
	time            int64 // Unix ms, 48 bits
	retries         uint8
	answered        bool // with success
	request, client uint32
}

func (m replays) nonce(i int) usedNonce {
	b := m.nonceBytes(i)
	return usedNonce{hash: le.Uint64(b), time: m.nonceTime(i), retries: b[14], answered: b[15] == 1, request: le.Uint32(b[16:]), client: le.Uint32(b[20:])}
}

func (m replays) putNonce(i int, n *usedNonce) {
	b := m.nonceBytes(i)
	le.PutUint64(b, n.hash)
	le.PutUint64(b[8:], uint64(n.time)&(1<<48-1)|uint64(n.retries)<<48)
	if n.answered {
		b[15] = 1
	}
	le.PutUint32(b[16:], n.request)
	le.PutUint32(b[20:], n.client)
}

func (m replays) withoutNonce(i int) replays {
	at := m.begin() + i*nonceSize
	copy(m[at:], m[at+nonceSize:])
	return m[:len(m)-nonceSize]
}

func (m replays) withoutMark(i int) replays {
	at := replayHeader + i*markSize
	copy(m[at:], m[at+markSize:])
	m[124]--
	return m[:len(m)-markSize]
}

// count returns how many marks of a sign are in the window that ends at t.
func (m replays) count(sign ReplaySign, t, window int64) (n int) {
	for i := range m.marks() {
		if at := m.markTime(i); m.markSign(i) == uint8(sign) && at > t-window && at <= t {
			n++
		}
	}
	return n
}

// clock returns the median of the offsets; the lower one for an even number.
func (m replays) clock() int64 {
	var sorted [mostClockTimes]int64
	n := m.offsets()
	for i := range n {
		sorted[i] = m.i64(48 + 8*i)
	}
	slices.Sort(sorted[:n])
	return sorted[(n-1)/2]
}

// learn adds an offset at the front.
func (m replays) learn(offset int64) {
	copy(m[56:120], m[48:112])
	m.set(48, offset)
	m[121] = min(m[121]+1, mostClockTimes)
}

// Apply implements Detector.
func (d *replay) Apply(c *Context, f *Firing) bool {
	name, client := c.Event.Text(event.Nonce), c.Event.Num(event.ClientTime)
	if c.Late || name == "" && client <= 0 {
		return false
	}
	m := replays(c.Own.Payload())
	if m == nil {
		if m = c.Own.Resize(replayHeader); m == nil {
			return false
		}
	}
	m = d.forget(m, c)
	d.seen = [replaySigns]bool{}
	elapsed, known := int64(0), false
	if name != "" {
		m, elapsed, known = d.use(m, c, name)
	}
	if m != nil && !known && client > 0 && c.Event.Num(event.Skewed) == 0 {
		m = d.tick(m, c.Own, client, c.Time)
	}
	c.Counts = d.seen != [replaySigns]bool{}
	return m != nil && c.Counts && d.fire(m, c.Time, elapsed, f)
}

// forget drops entries that are too old for all events that can still be on time.
func (d *replay) forget(m replays, c *Context) replays {
	if c.Watermark == math.MinInt64 {
		return m
	}
	had, oldest := len(m), c.Watermark-d.lateness-d.window
	for i := m.nonces() - 1; i >= 0; i-- {
		if m.nonceTime(i) <= oldest {
			m = m.withoutNonce(i)
		}
	}
	for i := m.marks() - 1; i >= 0; i-- {
		if m.markTime(i) <= oldest {
			m = m.withoutMark(i)
		}
	}
	if m.hasLatest() && m.latest() <= c.Watermark-d.lateness-d.memory {
		clear(m[8:24])
		clear(m[32:120])
		m[121], m[122], m[123] = 0, 0, 0
	}
	if len(m) < had {
		m = c.Own.Resize(len(m))
	}
	return m
}

// use records a nonce. known reports that it was used within the window, and elapsed
// how long ago (ms). It returns nil if there is no room.
func (d *replay) use(m replays, c *Context, name string) (_ replays, elapsed int64, known bool) {
	here := usedNonce{
		hash: d.senders.hasher.Text(name), time: c.Time, answered: succeeded(c.Event), request: d.senders.number(c.Event.Text(event.RequestID)),
		client: d.senders.number(c.Event.Text(event.JA4)) ^ d.senders.agent(c.Event.Text(event.UserAgent)),
	}
	for i := range m.nonces() {
		if m.nonceHash(i) != here.hash {
			continue
		}
		first := m.nonce(i)
		elapsed = max(c.Time-first.time, first.time-c.Time)
		if elapsed >= d.window { // the earlier use has expired
			m.putNonce(i, &here)
			return m, 0, false
		}
		switch {
		case elapsed <= d.grace && first.request != 0 && first.request == here.request:
		case elapsed <= d.grace && int(first.retries) < d.rule.Retries && !differ(first.client, here.client):
			if first.retries++; first.answered && changes(c.Event) {
				m = d.mark(m, c.Own, Repeated, c.Time)
			}
		default:
			m = d.mark(m, c.Own, ReusedNonce, c.Time)
		}
		if m != nil {
			first.time, first.answered = min(first.time, here.time), first.answered || here.answered
			m.putNonce(i, &first)
		}
		return m, elapsed, true
	}
	if m = c.Own.Resize(len(m) + nonceSize); m == nil {
		return nil, 0, false
	}
	m.putNonce(m.nonces()-1, &here)
	if m.nonces() <= d.rule.Nonces {
		return m, 0, false
	}
	oldest := m.oldestNonce()
	gone := m.nonceTime(oldest)
	m = c.Own.Resize(len(m.withoutNonce(oldest)))
	if !m.hasForgotten() || gone > m.forgotten() {
		m.set(24, gone)
		m[125] = 1
	}
	if gone > c.Time-d.room {
		m = d.mark(m, c.Own, NonceFlood, c.Time)
	}
	return m, 0, false
}

// succeeded reports whether a request was granted.
func succeeded(e *event.Event) bool {
	status := e.Num(event.Status)
	return status >= 200 && status < 300
}

// changes reports whether a request is more than a read.
func changes(e *event.Event) bool {
	switch e.Text(event.Method) {
	case "", "GET", "HEAD", "OPTIONS":
		return false
	}
	return true
}

// oldestNonce returns the nonce with the oldest first use, the first to arrive among
// equals.
func (m replays) oldestNonce() (oldest int) {
	for i := 1; i < m.nonces(); i++ {
		if m.nonceTime(i) < m.nonceTime(oldest) {
			oldest = i
		}
	}
	return oldest
}

// tick records a client's time. Times that are off the clock wait until later ones
// show whether the clock was set.
func (d *replay) tick(m replays, own Slot, client, now int64) replays {
	if !m.hasLatest() || now >= m.latest() {
		back := m.hasLatest() && client < m.latestClient()-d.skew
		m.set(8, now)
		m.set(16, client)
		m[123] = 1
		if back {
			if m = d.mark(m, own, Backwards, now); m == nil {
				return nil
			}
		}
	}
	offset := client - now
	if m.offsets() < d.rule.Learn {
		m.learn(offset)
		return m
	}
	if off := offset - m.clock(); max(off, -off) <= d.skew {
		m = d.flush(m, own, now)
		if m != nil {
			m.learn(offset)
		}
		return m
	}
	if off := offset - m.runOffset(); m.run() == 0 || client <= m.runClient() || max(off, -off) > d.skew {
		if m = d.flush(m, own, now); m == nil {
			return nil
		}
		m.set(32, offset)
	}
	m[122]++
	m.set(40, client)
	if m.run() >= d.rule.Learn { // the clock was set
		for range m.run() {
			m.learn(offset)
		}
		for i := m.run(); i < mostClockTimes; i++ {
			m.set(48+8*i, 0)
		}
		m[121] = m[122]
		d.endRun(m)
	}
	return m
}

// flush counts the times of a run as wrong: the clock was not set.
func (d *replay) flush(m replays, own Slot, now int64) replays {
	n := m.run()
	d.endRun(m)
	for range n {
		if m = d.mark(m, own, WrongClock, now); m == nil {
			return nil
		}
	}
	return m
}

func (d *replay) endRun(m replays) {
	clear(m[32:48])
	m[122] = 0
}

// mark records a sign. If there are more marks than the rule asks for, the oldest is
// dropped.
func (d *replay) mark(m replays, own Slot, sign ReplaySign, now int64) replays {
	d.seen[sign] = true
	if m = own.Resize(len(m) + markSize); m == nil {
		return nil
	}
	at := m.begin()
	copy(m[at+markSize:], m[at:len(m)-markSize])
	clear(m[at : at+markSize])
	m.set(at, now)
	m[at+8] = uint8(sign)
	m[124]++
	if fewer := d.thin(m, sign, d.most); len(fewer) < len(m) {
		m = own.Resize(len(fewer))
	}
	return m
}

// thin drops the marks of a sign that exceed a number.
func (d *replay) thin(m replays, sign ReplaySign, most int) replays {
	for {
		n, oldest := 0, -1
		for i := range m.marks() {
			if m.markSign(i) == uint8(sign) {
				if n++; oldest < 0 || m.markTime(i) < m.markTime(oldest) {
					oldest = i
				}
			}
		}
		if n <= most {
			return m
		}
		m = m.withoutMark(oldest)
	}
}

// fire fills in a firing for the heaviest tier that is reached by the event's signs.
func (d *replay) fire(m replays, now, elapsed int64, f *Firing) bool {
	for i := len(d.rule.Tiers) - 1; i >= 0; i-- {
		t := d.rule.Tiers[i]
		n := m.count(t.Sign, now, d.window)
		if !d.seen[t.Sign] || n < t.At {
			continue
		}
		if t.Weight <= m.firedWeight() && now-m.firedAt() < d.cooldown {
			return false
		}
		m.set(0, now)
		m[120] = t.Weight
		f.Tier, f.Weight = i, t.Weight
		f.Evidence = append(f.Evidence[:0],
			facet.Text("sign", replaySignNames[t.Sign]),
			facet.Number("count", int64(n)),
			facet.Number("threshold", int64(t.At)))
		f.Evidence = d.held(f.Evidence, m, now)
		if d.seen[ReusedNonce] {
			f.Evidence = append(f.Evidence, facet.Number("elapsed_ms", elapsed))
		}
		return true
	}
	return false
}

// held describes the remembered state as evidence.
func (d *replay) held(list []facet.Evidence, m replays, now int64) []facet.Evidence {
	complete := d.window
	if m.hasForgotten() {
		complete = max(min(complete, now-m.forgotten()), 0)
	}
	list = append(list, facet.Number("nonces", int64(m.nonces())), facet.Number("complete_ms", complete))
	if m.offsets() >= d.rule.Learn {
		list = append(list, facet.Number("clock_ms", m.clock()))
	}
	return list
}

// Fit implements Detector. If former settings allowed more nonces or marks, the
// oldest are dropped.
func (d *replay) Fit(payload []byte) ([]byte, bool) {
	m := replays(payload)
	if len(m) < replayHeader || len(m) < m.begin() || (len(m)-m.begin())%nonceSize != 0 || m.marks() > int(replaySigns)*mostReplayAt ||
		m.nonces() > mostNonces+1 || m.offsets() > mostClockTimes || m.run() >= mostClockTimes || m[123] > 1 || m[125] > 1 {
		return nil, false
	}
	for i := range m.marks() {
		if m.markSign(i) >= uint8(replaySigns) {
			return nil, false
		}
	}
	for sign := range replaySigns {
		m = d.thin(m, sign, d.most)
	}
	for m.nonces() > d.rule.Nonces {
		gone := m.nonceTime(m.oldestNonce())
		m = m.withoutNonce(m.oldestNonce())
		if !m.hasForgotten() || gone > m.forgotten() {
			m.set(24, gone)
			m[125] = 1
		}
	}
	return m, true
}

// Explain implements Detector: how many marks of each sign are in the window.
func (d *replay) Explain(payload []byte, at int64) (x Explanation) {
	m := replays(payload)
	x.Last = x.First - 1
	if m != nil {
		x.Held = d.held(nil, m, at)
		for i := range m.marks() {
			if t := m.markTime(i); t > at-d.window && t <= at {
				if x.Last < x.First {
					x.First = t
				}
				x.First, x.Last = min(x.First, t), at
			}
		}
	}
	for i, t := range d.rule.Tiers {
		demand := Demand{Tier: i, Weight: t.Weight, What: replaySignNames[t.Sign], Need: int64(t.At)}
		if m != nil {
			demand.Have = int64(m.count(t.Sign, at, d.window))
			if demand.Met() && t.Weight <= m.firedWeight() && at-m.firedAt() < d.cooldown {
				x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "cooldown", Until: m.firedAt() + d.cooldown})
			}
		}
		x.Demands = append(x.Demands, demand)
	}
	return x
}
