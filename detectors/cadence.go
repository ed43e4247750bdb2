package detectors

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Cadence holds the parameters of the cadence detector, which fires when an entity's
// attempts are evenly spaced, or go on around the clock.
type Cadence struct {
	Counted  *rules.Condition // the matching events that are attempts; nil: all
	Cancel   *rules.Condition // events that cancel all earlier attempts; nil: none
	Distinct event.Field      // field whose values distinguish attempts; event.None: none
	Shortest time.Duration    // minimum of the median interval
	Longest  time.Duration    // maximum of the median interval; 0: no limit
	Spread   int              // most intervals differ from the median by at most this percentage
	Tiers    []CadenceTier    // Weight ascending; never empty
	Memory   time.Duration    // an attempt this long before the latest is forgotten
	Cooldown time.Duration    // event time until the same weight may fire again for the entity
}

// CadenceTier is one step of an answer: its conditions, and its weight.
type CadenceTier struct {
	At     int           // number of latest attempts that are evenly spaced; at least 3
	Values int           // distinct values among these attempts; 0: no such condition
	Hours  int           // hours with an attempt among the last 24; 0: no such condition
	Lasts  time.Duration // how long attempts have been evenly spaced; 0: no such condition
	Weight uint8         // 0..100
}

const (
	mostAttempts = 64
	mostPause    = 10 // medians; a longer interval ends an evenly spaced run
	hoursOfDay   = 24
)

// spacedBy are the fields whose values can distinguish attempts.
var spacedBy = []string{"account", "client_ip", "device", "ja4", "net", "object", "route", "session", "token", "user_agent"}

// CadenceKind describes the detector to the rules.
func CadenceKind() rules.Kind {
	return rules.Kind{
		Name: "cadence",
		Doc:  "finds an entity that does something at even intervals, or round the clock",
		Keys: []rules.Key{
			rules.ConditionKey("count", rules.Optional, "which of the matching events are attempts; default: all"),
			rules.ConditionKey("cancel", rules.Optional, "which of the matching events cancel all attempts up to their time, such as a successful sign-in"),
			rules.ChoiceKey("distinct", rules.Optional, spacedBy, "the field whose different values tiers may demand with values"),
			rules.DurationKey("interval", rules.Required, time.Second, hoursOfDay*time.Hour, "minimum of the median interval"),
			rules.DurationKey("longest", rules.Optional, time.Second, longestMemory, "maximum of the median interval; default: none"),
			rules.CountKey("spread", rules.Optional, 0, 99, "four of five intervals differ from the median by at most this percentage of it; default 20"),
			rules.ListKey("tiers", rules.Required, 1, 8, "the steps, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.CountKey("at", rules.Required, 3, mostAttempts, "number of latest attempts that must be evenly spaced"),
				rules.CountKey("values", rules.Optional, 1, mostAttempts, "number of different values that they must have in the field of distinct"),
				rules.CountKey("hours", rules.Optional, 1, hoursOfDay, "number of the last 24 hours with an attempt"),
				rules.DurationKey("lasts", rules.Optional, time.Minute, longestMemory, "how long attempts must have been as even all along, in steps of the fewest attempts that a tier with lasts asks for"),
				rules.WeightKey("weight", "confidence of the signal, in percent"))),
			rules.DurationKey("memory", rules.Optional, time.Minute, longestMemory, "an attempt this long before the latest is forgotten; default 24h"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestMemory, "time until the same weight may fire again for the entity; default 1h"),
		},
		Compile: compileCadence,
	}
}

func compileCadence(p *rules.Params) rules.Spec {
	t := &Cadence{
		Counted: p.Condition("count"), Cancel: p.Condition("cancel"), Distinct: p.Field("distinct"),
		Shortest: p.Duration("interval"), Longest: p.Duration("longest"),
		Spread: p.IntOr("spread", 20), Memory: p.DurationOr("memory", 24*time.Hour), Cooldown: p.DurationOr("cooldown", time.Hour),
	}
	if t.Longest > 0 && t.Longest < t.Shortest {
		p.Problem("longest", "no interval is both as long as interval and no longer than longest", "make longest at least as long as interval")
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "weight", "this tier can never be seen beside the one before it: it weighs no more", "order the tiers by weight, each with one of its own")
	for _, tier := range tiers {
		c := CadenceTier{At: tier.Int("at"), Values: tier.Int("values"), Hours: tier.Int("hours"), Lasts: tier.Duration("lasts"), Weight: tier.Weight("weight")}
		if c.Values > 0 && t.Distinct == event.None {
			tier.Problem("values", "there is no field whose values could be counted", "name it with distinct, beside tiers")
		}
		if c.Values > c.At {
			tier.Problem("values", "so few attempts never have so many values", "ask for as many values as attempts, or fewer")
		}
		// At least half of the intervals are as long as the median.
		if time.Duration(c.At/2)*t.Shortest >= t.Memory {
			tier.Problem("at", "attempts are forgotten before there are so many at this interval", "make memory longer, or ask for fewer attempts")
		}
		t.Tiers = append(t.Tiers, c)
	}
	return t
}

// Fields implements [rules.Spec].
func (t *Cadence) Fields() (all []event.Field) {
	if t.Distinct != event.None {
		all = append(all, t.Distinct)
	}
	for _, c := range []*rules.Condition{t.Counted, t.Cancel} {
		if c != nil {
			all = append(all, c.Fields...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (t *Cadence) State() string {
	if t.Distinct == event.None {
		return "attempts"
	}
	return "attempts " + t.Distinct.String()
}

// Canonical implements [rules.Spec].
func (t *Cadence) Canonical() string {
	s := fmt.Sprintf("interval %d longest %d spread %d memory %d cooldown %d", t.Shortest.Milliseconds(), t.Longest.Milliseconds(), t.Spread, t.Memory.Milliseconds(), t.Cooldown.Milliseconds())
	if t.Distinct != event.None {
		s += " distinct " + t.Distinct.String()
	}
	if t.Counted != nil {
		s += fmt.Sprintf(" count %q", t.Counted.Canonical)
	}
	if t.Cancel != nil {
		s += fmt.Sprintf(" cancel %q", t.Cancel.Canonical)
	}
	for _, tier := range t.Tiers {
		s += fmt.Sprintf(" tier %d %d %d %d %d", tier.At, tier.Values, tier.Hours, tier.Lasts.Milliseconds(), tier.Weight)
	}
	return s
}

// most returns the number of attempts that are remembered.
func (t *Cadence) most() (most int) {
	for _, tier := range t.Tiers {
		most = max(most, tier.At)
	}
	return most
}

// step returns how many attempts must be even at each attempt of an evenly spaced
// run: the fewest that a tier with lasts asks for, or 0 without such a tier.
func (t *Cadence) step() (step int) {
	for _, tier := range t.Tiers {
		if tier.Lasts > 0 && (step == 0 || tier.At < step) {
			step = tier.At
		}
	}
	return step
}

// Keeps implements [rules.Spec].
func (t *Cadence) Keeps() rules.Keeps {
	return rules.Keeps{Reach: max(t.Memory, hoursOfDay*time.Hour), After: t.Cooldown, Bytes: attemptsHeader + t.most()*attemptSize}
}

func (t *Cadence) detector(e Environment) Detector {
	return &cadence{
		rule: t, most: t.most(), step: t.step(), shortest: t.Shortest.Milliseconds(), longest: t.Longest.Milliseconds(),
		memory: t.Memory.Milliseconds(), cooldown: t.Cooldown.Milliseconds(), hasher: e.Hasher,
	}
}

// cadence remembers the times of the latest attempts, in order of event time, and
// the hours with attempts. The order of arrival does not matter.
//
// The payload is a header of 40 bytes, and attempts of 12 in order of time:
//
//	0 fired at i64 · 8 cancelled up to i64 (Unix ms; 0: never) · 16 latest hour i64 (since 1970) · 24 hours u32 (bit n: n hours before it) · 28 weight fired u8 · 29 3 unused
//	32 even since i64 (Unix ms; 0: not even)
//	attempt: time i64 (Unix ms) · value u32 (of its hash; 0: none)
type cadence struct {
	rule              *Cadence
	most              int
	step              int   // attempts over which evenness is tracked; 0: it is not tracked
	shortest, longest int64 // ms
	memory            int64 // ms
	cooldown          int64 // ms
	hasher            Hasher

	intervals, off [mostAttempts]int64  // of the judged attempts, sorted
	values         [mostAttempts]uint32 // of the judged attempts, sorted
}

const (
	attemptsHeader = 40
	attemptSize    = 12
	farTime        = 1 << 52 // ms; bound on the distance of event times from 1970
)

// attempts is a view of the payload.
type attempts []byte

func (m attempts) firedAt() int64     { return int64(le.Uint64(m)) }
func (m attempts) cancelled() int64   { return int64(le.Uint64(m[8:])) }
func (m attempts) latestHour() int64  { return int64(le.Uint64(m[16:])) }
func (m attempts) hours() uint32      { return le.Uint32(m[24:]) }
func (m attempts) firedWeight() uint8 { return m[28] }
func (m attempts) len() int           { return (len(m) - attemptsHeader) / attemptSize }
func (m attempts) bytes(i int) []byte { return m[attemptsHeader+i*attemptSize:][:attemptSize] }
func (m attempts) time(i int) int64   { return int64(le.Uint64(m.bytes(i))) }
func (m attempts) value(i int) uint32 { return le.Uint32(m.bytes(i)[8:]) }
func (m attempts) activeHours() int   { return bits.OnesCount32(m.hours()) }
func (m attempts) evenSince() int64   { return int64(le.Uint64(m[32:])) }
func (m attempts) even(since int64)   { le.PutUint64(m[32:], uint64(since)) }
func (m attempts) cancel(t int64)     { le.PutUint64(m[8:], uint64(t)) }

func (m attempts) fired(weight uint8, at int64) {
	le.PutUint64(m, uint64(at))
	m[28] = weight
}

func (m attempts) put(i int, t int64, value uint32) {
	b := m.bytes(i)
	le.PutUint64(b, uint64(t))
	le.PutUint32(b[8:], value)
}

// wasActive marks the hour of a time as active.
func (m attempts) wasActive(t int64) {
	hour, latest, hours := t/msPerHour, m.latestHour(), m.hours()
	switch {
	case hours == 0 || hour-latest >= hoursOfDay:
		latest, hours = hour, 1
	case hour > latest:
		latest, hours = hour, hours<<(hour-latest)&(1<<hoursOfDay-1)|1
	case latest-hour < hoursOfDay:
		hours |= 1 << (latest - hour)
	}
	le.PutUint64(m[16:], uint64(latest))
	le.PutUint32(m[24:], hours)
}

// upTo returns the number of attempts no later than t.
func (m attempts) upTo(t int64) int {
	n := m.len()
	for n > 0 && m.time(n-1) > t {
		n--
	}
	return n
}

// withoutFirst removes the first n attempts, in place.
func (m attempts) withoutFirst(n int) attempts {
	copy(m[attemptsHeader:], m[attemptsHeader+n*attemptSize:])
	return m[:len(m)-n*attemptSize]
}

// Apply implements Detector.
func (d *cadence) Apply(c *Context, f *Firing) bool {
	cancels := d.rule.Cancel != nil && d.rule.Cancel.Holds(c.Event)
	if c.Late || !cancels && d.rule.Counted != nil && !d.rule.Counted.Holds(c.Event) {
		return false
	}
	m := attempts(c.Own.Payload())
	if m == nil {
		if m = c.Own.Resize(attemptsHeader); m == nil {
			return false
		}
	}
	if cancels {
		m.cancel(max(m.cancelled(), c.Time))
		if n := m.upTo(c.Time); n > 0 {
			m.even(0)
			c.Own.Resize(len(m.withoutFirst(n)))
		}
		return false
	}
	c.Counts = true
	m.wasActive(c.Time)
	if m.cancelled() != 0 && c.Time <= m.cancelled() {
		return false
	}
	if m = d.remember(m, c); m == nil {
		return false
	}
	if d.step > 0 {
		d.follow(m)
	}
	return d.judge(m, c.Time, f)
}

// follow keeps track of when the evenly spaced run began.
func (d *cadence) follow(m attempts) {
	if m.len() < d.step {
		return
	}
	switch p := d.pace(m, d.step); {
	case !d.isEven(p) || p.longest > mostPause*p.median:
		m.even(0)
	case m.evenSince() == 0:
		m.even(p.first)
	}
}

// remember adds an attempt, and drops those that are too old or exceed the bound. It
// returns nil if the attempt itself is dropped.
func (d *cadence) remember(m attempts, c *Context) attempts {
	latest := c.Time
	if n := m.len(); n > 0 {
		latest = max(latest, m.time(n-1))
	}
	if gone := m.upTo(latest - d.memory); gone > 0 {
		m = c.Own.Resize(len(m.withoutFirst(gone)))
	}
	at := m.upTo(c.Time)
	if c.Time <= latest-d.memory || m.len() == d.most && at == 0 {
		return nil
	}
	if m.len() == d.most {
		// Dropping the first attempt makes room, and shifts the rest.
		at--
		copy(m[attemptsHeader:attemptsHeader+at*attemptSize], m[attemptsHeader+attemptSize:])
	} else {
		if m = c.Own.Resize(len(m) + attemptSize); m == nil {
			return nil
		}
		copy(m[attemptsHeader+(at+1)*attemptSize:], m[attemptsHeader+at*attemptSize:])
	}
	m.put(at, c.Time, d.valueOf(c.Event))
	return m
}

// valueOf returns 32 bits of the hash of the distinguishing value; 0 if the event
// has none.
func (d *cadence) valueOf(e *event.Event) uint32 {
	if d.rule.Distinct == event.None || e.Text(d.rule.Distinct) == "" {
		return 0
	}
	return max(uint32(d.hasher.Text(e.Text(d.rule.Distinct))), 1)
}

// pace describes the spacing of the latest attempts.
type pace struct {
	attempts int
	median   int64 // interval, ms
	longest  int64 // interval, ms
	spread   int64 // percent of the median, rounded up
	values   int   // number of distinct values
	first    int64 // Unix ms, of the earliest attempt
	last     int64
}

// pace measures the n latest attempts, or all if there are fewer.
func (d *cadence) pace(m attempts, n int) (p pace) {
	if n = min(n, m.len()); n == 0 {
		return pace{spread: 100}
	}
	from := m.len() - n
	p = pace{attempts: n, spread: 100, first: m.time(from), last: m.time(m.len() - 1)}
	for i := range n {
		d.values[i] = m.value(from + i)
	}
	values := d.values[:n]
	slices.Sort(values)
	for i, v := range values {
		if v != 0 && (i == 0 || v != values[i-1]) {
			p.values++
		}
	}
	if n < 2 {
		return p
	}
	intervals, off := d.intervals[:n-1], d.off[:n-1]
	for i := range intervals {
		intervals[i] = m.time(from+i+1) - m.time(from+i)
	}
	slices.Sort(intervals)
	p.median, p.longest = intervals[(n-2)/2], intervals[n-2]
	for i, v := range intervals {
		off[i] = max(v-p.median, p.median-v)
	}
	slices.Sort(off)
	if most := off[(4*(n-1)+4)/5-1]; p.median > 0 {
		p.spread = min((100*most+p.median-1)/p.median, 100)
	}
	return p
}

// isEven reports whether the pace satisfies the rule.
func (d *cadence) isEven(p pace) bool {
	return p.median >= d.shortest && (d.longest == 0 || p.median <= d.longest) && p.spread <= int64(d.rule.Spread)
}

// lasting returns how long attempts have been even (ms).
func (m attempts) lasting() int64 {
	if m.evenSince() == 0 || m.len() == 0 {
		return 0
	}
	return m.time(m.len()-1) - m.evenSince()
}

// holds reports whether the pace satisfies a tier.
func (d *cadence) holds(tier CadenceTier, p pace, m attempts) bool {
	return p.attempts >= tier.At && d.isEven(p) && p.values >= tier.Values &&
		m.activeHours() >= tier.Hours && m.lasting() >= tier.Lasts.Milliseconds()
}

// judge fires for the heaviest tier that holds.
func (d *cadence) judge(m attempts, at int64, f *Firing) bool {
	for i := len(d.rule.Tiers) - 1; i >= 0; i-- {
		tier := d.rule.Tiers[i]
		if m.len() < tier.At || m.activeHours() < tier.Hours || m.lasting() < tier.Lasts.Milliseconds() {
			continue
		}
		if tier.Weight <= m.firedWeight() && at-m.firedAt() < d.cooldown {
			return false
		}
		p := d.pace(m, tier.At)
		if !d.holds(tier, p, m) {
			continue
		}
		m.fired(tier.Weight, at)
		f.Tier, f.Weight = i, tier.Weight
		f.Evidence = d.held(f.Evidence[:0], m, p)
		return true
	}
	return false
}

// held describes a pace as evidence.
func (d *cadence) held(list []facet.Evidence, m attempts, p pace) []facet.Evidence {
	list = append(list,
		facet.Number("attempts", int64(p.attempts)),
		facet.Number("median_ms", p.median),
		facet.Number("spread_percent", p.spread),
		facet.Number("hours", int64(m.activeHours())))
	if d.rule.Distinct != event.None {
		list = append(list, facet.Number("values", int64(p.values)))
	}
	if d.step > 0 {
		list = append(list, facet.Number("lasting_ms", m.lasting()))
	}
	return append(list, facet.Number("first_ms", p.first), facet.Number("last_ms", p.last))
}

// Fit implements Detector. If former settings allowed more attempts, the earliest
// are dropped.
func (d *cadence) Fit(payload []byte) ([]byte, bool) {
	m := attempts(payload)
	if len(m) < attemptsHeader || (len(m)-attemptsHeader)%attemptSize != 0 || m.len() > mostAttempts ||
		m.hours() >= 1<<hoursOfDay || m.latestHour() < -farTime || m.latestHour() > farTime || m.evenSince() < -farTime || m.evenSince() > farTime {
		return nil, false
	}
	for i := range m.len() {
		if t := m.time(i); t < -farTime || t > farTime || i > 0 && t < m.time(i-1) {
			return nil, false
		}
	}
	if extra := m.len() - d.most; extra > 0 {
		m = m.withoutFirst(extra)
	}
	return m, true
}

// Explain implements Detector.
func (d *cadence) Explain(payload []byte, at int64) (x Explanation) {
	m := attempts(payload)
	if m == nil {
		m = make(attempts, attemptsHeader)
	}
	x.Last = x.First - 1
	if p := d.pace(m, d.most); p.attempts > 0 {
		x.First, x.Last = p.first, p.last
		x.Held = d.held(nil, m, p)
	}
	for i, tier := range d.rule.Tiers {
		p := d.pace(m, tier.At)
		demand := func(what string, have, need int64) {
			x.Demands = append(x.Demands, Demand{Tier: i, Weight: tier.Weight, What: what, Have: have, Need: need})
		}
		demand("attempts", int64(p.attempts), int64(tier.At))
		demand("median_ms", p.median, d.shortest)
		demand("evenness_percent", 100-p.spread, 100-int64(d.rule.Spread))
		if tier.Values > 0 {
			demand("values", int64(p.values), int64(tier.Values))
		}
		if tier.Hours > 0 {
			demand("hours", int64(m.activeHours()), int64(tier.Hours))
		}
		if tier.Lasts > 0 {
			demand("lasting_ms", m.lasting(), tier.Lasts.Milliseconds())
		}
		if d.longest > 0 && p.median > d.longest {
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "longest"})
		}
		if d.holds(tier, p, m) && tier.Weight <= m.firedWeight() && at-m.firedAt() < d.cooldown {
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "cooldown", Until: m.firedAt() + d.cooldown})
		}
	}
	return x
}
