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

// Drift holds the parameters of the drift detector, which fires when a measure of an
// entity leaves its usual range.
type Drift struct {
	Measure    DriftMeasure
	Counted    *rules.Condition // nil: all events
	Percentile int              // of [DriftLatency]
	Bucket     time.Duration
	MinEvents  int // minimum for measuring a bucket, and for tracking an entity
	Direction  DriftDirection

	Learn      int           // number of learned buckets before the first is judged
	Deviations int           // the limit is this many deviations from the usual value
	Percent    int           // the limit is at least this percentage of the usual value
	Least      int64         // and at least this far from it: percent, events, or ms
	For        int           // consecutive buckets beyond the limit before a drift is reported
	Until      int           // consecutive buckets back in range before a drift ends
	Settle     time.Duration // a drift that lasts this long becomes the usual state
	Cooldown   time.Duration // event time until a drift is reported again
	Explain    []event.Field // fields that break down an excess
	Weight     uint8         // 0..100
}

// DriftMeasure is the quantity that is measured in a bucket.
type DriftMeasure uint8

// Measures, in the order of their names in rules.
const (
	DriftShare DriftMeasure = iota
	DriftVolume
	DriftLatency
)

// DriftDirection is the side of the usual value that counts as a drift.
type DriftDirection uint8

// Directions, in the order of their names in rules.
const (
	DriftAbove DriftDirection = iota
	DriftBelow
	DriftEither
)

var (
	driftMeasures   = []string{"share", "volume", "latency"}
	driftUnits      = []string{"1/10000", "events", "µs"}
	driftDirections = []string{"above", "below", "either"}
	explainedBy     = []string{"build", "app_version", "device_model", "os", "asn", "net", "country", "route"}
)

const (
	mostExplained = 3 // fields
	driftReach    = 8 * 24 * time.Hour
)

// DriftKind describes the detector to the rules.
func DriftKind() rules.Kind {
	const day = 24 * time.Hour
	return rules.Kind{
		Name: "drift",
		Doc:  "measures an entity every few minutes, and tells when that is not what is usual at this time of day",
		Keys: []rules.Key{
			rules.ChoiceKey("measure", rules.Required, driftMeasures, "share: events of count, in percent of all; volume: how many events; latency: a percentile of latency_us"),
			rules.ConditionKey("count", rules.Optional, "which of the events that match when are counted; a share needs it, otherwise all are where it is absent"),
			rules.CountKey("percentile", rules.Optional, 1, 99, "which percentile of the latency; default 90"),
			rules.DurationKey("bucket", rules.Optional, time.Minute, time.Hour, "length of a measurement; default 5m"),
			rules.CountKey("min_events", rules.Optional, 1, 1_000_000, "minimum number of events for measuring a bucket, and for following an entity; default 20"),
			rules.ChoiceKey("direction", rules.Optional, driftDirections, "on which side of the usual; default above"),
			rules.CountKey("learn", rules.Optional, 1, recentBuckets, "number of learned buckets before one is judged; default 12"),
			rules.CountKey("deviations", rules.Optional, 1, 100, "number of deviations from the usual at the limit; default 6"),
			rules.CountKey("percent", rules.Optional, 0, 10_000, "minimum distance of the limit from the usual, in percent of it; default 50"),
			rules.CountKey("least", rules.Required, 1, 1_000_000, "and at least so much: percent of a share, events of a volume, milliseconds of latency"),
			rules.CountKey("for", rules.Optional, 1, 100, "number of consecutive buckets beyond the limit that fire; default 2"),
			rules.CountKey("until", rules.Optional, 1, 100, "number of consecutive normal buckets after which a drift is over; default 3"),
			rules.DurationKey("settle", rules.Optional, time.Hour, 7*day, "a drift that lasts this long becomes the usual; default 1d"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestMemory, "time until a continuing drift is reported again; default 6h"),
			rules.ListKey("explain", rules.Optional, 1, mostExplained, "fields by which the excess is broken down; default none", rules.ChoiceKey("", rules.Required, explainedBy, "a field")),
			rules.WeightKey("weight", "confidence of the signal, in percent"),
		},
		Compile: compileDrift,
	}
}

func compileDrift(p *rules.Params) rules.Spec {
	s := &Drift{
		Measure:   DriftMeasure(max(slices.Index(driftMeasures, p.Text("measure")), 0)),
		Direction: DriftDirection(max(slices.Index(driftDirections, p.Text("direction")), 0)),
		Counted:   p.Condition("count"), Percentile: p.IntOr("percentile", 90), Bucket: p.DurationOr("bucket", 5*time.Minute), MinEvents: p.IntOr("min_events", 20),
		Learn: p.IntOr("learn", 12), Deviations: p.IntOr("deviations", 6), Percent: p.IntOr("percent", 50), Least: int64(p.Int("least")),
		For: p.IntOr("for", 2), Until: p.IntOr("until", 3), Settle: p.DurationOr("settle", 24*time.Hour), Cooldown: p.DurationOr("cooldown", 6*time.Hour),
		Explain: fieldsOf(p.Texts("explain")), Weight: p.Weight("weight"),
	}
	if s.Measure == DriftShare && !p.Has("count") {
		p.Problem("measure", "a share needs to know of what", "say with count which events are counted")
	}
	if s.Measure == DriftShare && s.Least > 100 {
		p.Problem("least", "no share is above 100 percent", "ask for less")
	}
	if s.Measure != DriftLatency && p.Has("percentile") {
		p.Problem("percentile", "percentile is of latency, and none is measured", "leave percentile out")
	}
	for i, f := range s.Explain {
		if slices.Contains(s.Explain[:i], f) {
			p.Problem("explain", f.String()+" is there twice", "name each field once")
		}
	}
	return s
}

// Fields implements [rules.Spec].
func (s *Drift) Fields() []event.Field {
	all := slices.Clone(s.Explain)
	if s.Counted != nil {
		all = append(all, s.Counted.Fields...)
	}
	if s.Measure == DriftLatency {
		all = append(all, event.LatencyMicros)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (s *Drift) State() string {
	text := fmt.Sprintf("%s in %d by %v", driftMeasures[s.Measure], s.Bucket.Milliseconds(), s.Explain)
	if s.Counted != nil {
		text += " of " + s.Counted.Canonical
	}
	if s.Measure == DriftLatency {
		text += fmt.Sprintf(" p%d", s.Percentile)
	}
	return text
}

// Canonical implements [rules.Spec].
func (s *Drift) Canonical() string {
	return fmt.Sprintf("%s least %d %s learn %d deviations %d percent %d at-least %d for %d until %d settle %d cooldown %d weight %d", s.State(), s.MinEvents,
		driftDirections[s.Direction], s.Learn, s.Deviations, s.Percent, s.Least, s.For, s.Until, s.Settle.Milliseconds(), s.Cooldown.Milliseconds(), s.Weight)
}

// Keeps implements [rules.Spec].
func (s *Drift) Keeps() rules.Keeps {
	return rules.Keeps{Reach: driftReach, After: s.Cooldown, Bytes: driftSize, Ahead: 2 * s.Bucket}
}

func (s *Drift) detector(e Environment) Detector {
	d := &drift{rule: s, bucket: s.Bucket.Milliseconds(), settle: s.Settle.Milliseconds(), cooldown: s.Cooldown.Milliseconds(), lateness: e.Lateness, hasher: e.Hasher}
	for i, f := range s.Explain {
		d.names[i], d.percents[i] = "by_"+f.String(), "by_"+f.String()+"_percent"
	}
	return d
}

// drift measures buckets of time, and compares each with the usual value.
//
// The payload of an entity that is not tracked yet is the newest bucket i64 · its
// events u32 · 4 unused. That of a tracked entity is a header of 80 bytes:
//
//	0 fired at i64 (Unix ms) · 8 next bucket to be closed i64 · 16 latest bucket with an event i64 · 24 first bucket beyond the limit i64 ·
//	32 hour being learned i64 · 40 sum of its buckets u64 · 48 their number u32 · 52 recently learned buckets u8 · 53 position of the next u8 ·
//	54 consecutive buckets off u8 · 55 consecutive buckets back u8 · 56 flags u8 · 57 unused 3 · 60 usual u32 · 64 limit u32 · 68 value u32, of the last judged bucket · 72 latest event i64 (Unix ms)
//
// 24 recently learned values u32; means of 24 hours × 7 days u32, each plus one, 0:
// none; the usual counts of six values of three fields, each hash u32 · events u32
// (16ths); and three open buckets by number modulo 3, each events u32 · counted u32
// · six values of three fields, each hash u32 · events u32 · name 24 bytes · a
// histogram of 64 bins u32.
type drift struct {
	rule     *Drift
	bucket   int64 // ms, as all below
	settle   int64
	cooldown int64
	lateness int64
	hasher   Hasher

	names, percents [mostExplained]string
	number          [20]byte
	sorted          [recentBuckets]int64
	base            usualLevel
	explained       [mostExplained][explainName]byte // names, for evidence
}

const (
	driftSmall    = 16
	driftHeader   = 80
	recentBuckets = 24
	levelBuckets  = 6 // the last of these, which define the usual value
	daysKept      = 7
	daysNeeded    = 3
	quietBuckets  = 72
	openBuckets   = 3
	explainKept   = 6
	explainName   = 24
	driftBins     = 64
	usualParts    = 16 // parts of an event
	usualRate     = 8  // an eighth of the difference is learned each time

	driftRecent   = driftHeader
	driftSeason   = driftRecent + 4*recentBuckets
	driftUsual    = driftSeason + 4*hoursOfDay*daysKept
	driftOpen     = driftUsual + 8*explainKept*mostExplained
	heavySize     = 8 + explainName
	openHistogram = 8 + heavySize*explainKept*mostExplained
	openSize      = openHistogram + 4*driftBins
	driftSize     = driftOpen + openBuckets*openSize
)

// Flags.
const (
	driftIsOff   uint8 = 1 << iota // the entity has drifted
	driftHasHour                   // an hour is being learned
	driftFlags   = 1<<iota - 1
)

// measured is a view of the payload, or of a part of it.
type measured []byte

func (m measured) i64(at int) int64    { return int64(le.Uint64(m[at:])) }
func (m measured) put(at int, v int64) { le.PutUint64(m[at:], uint64(v)) }
func (m measured) u32(at int) int64    { return int64(le.Uint32(m[at:])) }
func (m measured) set(at int, v int64) { le.PutUint32(m[at:], uint32(min(v, math.MaxUint32))) }
func (m measured) firedAt() int64      { return m.i64(0) }
func (m measured) next() int64         { return m.i64(8) }
func (m measured) latest() int64       { return m.i64(16) }
func (m measured) since() int64        { return m.i64(24) }
func (m measured) hour() int64         { return m.i64(32) }
func (m measured) seen() int64         { return m.i64(72) }
func (m measured) recent() int         { return int(m[52]) }
func (m measured) is(flag uint8) bool  { return m[56]&flag != 0 }
func (m measured) usual() int64        { return m.u32(60) }
func (m measured) open(n int64) measured {
	return m[driftOpen+openSize*int(uint64(n)%openBuckets):][:openSize]
}

func (m measured) season(hour int64, day int64) measured {
	return m[driftSeason+4*(daysKept*int(uint64(hour)%hoursOfDay)+int(uint64(day)%daysKept)):][:4]
}

// usually returns the usual counts of a field's values.
func (m measured) usually(of int) measured {
	return m[driftUsual+8*explainKept*of:][:8*explainKept]
}

// Fields of an open bucket.
func (b measured) events() int64             { return b.u32(0) }
func (b measured) counted() int64            { return b.u32(4) }
func (b measured) heavy(of, i int) measured  { return b[8+heavySize*(explainKept*of+i):][:heavySize] }
func (b measured) bin(i int) measured        { return b[openHistogram+4*i:][:4] }
func (m measured) increase(at int, by int64) { m.set(at, m.u32(at)+by) }

// Apply implements Detector.
func (d *drift) Apply(c *Context, f *Firing) bool {
	if c.Late {
		return false
	}
	holds := d.rule.Counted == nil || d.rule.Counted.Holds(c.Event)
	if d.rule.Measure != DriftShare && !holds || d.rule.Measure == DriftLatency && !c.Event.Has(event.LatencyMicros) {
		return false
	}
	n := floorDiv(c.Time, d.bucket)
	m := measured(c.Own.Payload())
	if len(m) == driftSize && c.Watermark != math.MinInt64 && m.seen() <= c.Watermark-d.lateness-driftReach.Milliseconds() {
		m, c.Timer = c.Own.Resize(0), 0
	}
	if len(m) < driftSize {
		d.follow(m, c, n)
		return false
	}
	m.put(72, max(m.seen(), c.Time))
	fired := d.closeUpTo(m, c, n-openBuckets, f)
	if n >= m.next() {
		c.Counts = d.count(m, c.Event, n, holds)
	}
	c.Timer = d.due(m)
	return fired
}

// Due implements Timed.
func (d *drift) Due(c *Context, f *Firing) bool {
	m := measured(c.Own.Payload())
	if len(m) != driftSize {
		return false
	}
	fired := d.closeUpTo(m, c, floorDiv(c.Time, d.bucket)-1, f)
	c.Timer = d.due(m)
	return fired
}

// floorDiv divides, and rounds down.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// follow counts the events of an entity that is not tracked yet, until one bucket
// has enough.
func (d *drift) follow(m measured, c *Context, n int64) {
	if len(m) == 0 {
		if m = c.Own.Resize(driftSmall); m == nil {
			return
		}
		m.put(0, n)
	}
	switch was := m.i64(0); {
	case n < was:
		return
	case n > was:
		m.put(0, n)
		m.set(8, 0)
	}
	m.increase(8, 1)
	if m.u32(8) < int64(d.rule.MinEvents) {
		return
	}
	if m = c.Own.Resize(driftSize); m == nil {
		return
	}
	clear(m)
	m.put(8, n+1)
	m.put(16, n)
	m.put(72, c.Time)
	c.Timer = d.due(m)
}

// due returns the end of the next bucket with events; 0 if there is none.
func (d *drift) due(m measured) int64 {
	if !d.anyOpen(m) && (d.rule.Measure != DriftVolume || m.next()-m.latest() > quietBuckets) {
		return 0
	}
	return (m.next() + 1) * d.bucket
}

func (d *drift) anyOpen(m measured) bool {
	for n := range int64(openBuckets) {
		if m.open(n).events() > 0 {
			return true
		}
	}
	return false
}

// count adds an event to its bucket. It reports whether the event is counted.
func (d *drift) count(m measured, e *event.Event, n int64, holds bool) bool {
	b := m.open(n)
	b.increase(0, 1)
	m.put(16, max(m.latest(), n))
	if d.rule.Measure == DriftLatency {
		latency := max(e.Num(event.LatencyMicros), 1)
		b.bin(binOf(latency)).increase(0, 1)
		holds = latency > m.usual()+m.u32(64)
	}
	if !holds {
		return false
	}
	b.increase(4, 1)
	for i, f := range d.rule.Explain {
		if hash := valueHash(d.hasher, e, f); hash != 0 {
			d.heavier(b, i, hash, e)
		}
	}
	return true
}

// binOf returns the bin of a latency. There are two bins for each power of two.
func binOf(v int64) int {
	e := bits.Len64(uint64(v)) - 1
	if e >= driftBins/2 {
		return driftBins - 1
	}
	if e == 0 {
		return 0
	}
	return 2*e + int(v>>(e-1)&1)
}

// leastOf returns the lower bound of a bin.
func leastOf(bin int) int64 {
	if bin < 2 {
		return 1
	}
	return int64(2+bin%2) << (bin/2 - 1)
}

// heavier counts a value. If there is no room, it replaces the rarest one.
func (d *drift) heavier(b measured, of int, hash uint32, e *event.Event) {
	rarest := 0
	for i := range explainKept {
		h := b.heavy(of, i)
		if le.Uint32(h) == hash && h.u32(4) > 0 {
			h.increase(4, 1)
			return
		}
		if h.u32(4) < b.heavy(of, rarest).u32(4) {
			rarest = i
		}
	}
	h := b.heavy(of, rarest)
	count := h.u32(4) + 1
	clear(h)
	le.PutUint32(h, hash)
	h.set(4, count)
	f := d.rule.Explain[of]
	if f.Numeric() {
		copy(h[8:], strconv.AppendInt(d.number[:0], e.Num(f), 10))
	} else {
		copy(h[8:], firstBytes(e.Text(f), explainName))
	}
}

// closeUpTo closes all buckets up to one, in order. It reports whether the rule
// fires. If it fires several times, the first firing is reported.
func (d *drift) closeUpTo(m measured, c *Context, to int64, f *Firing) (fired bool) {
	for m.next() <= to {
		n := m.next()
		quiet := n-m.latest() > quietBuckets
		if !d.anyOpen(m) && (quiet || d.rule.Measure != DriftVolume) {
			if to-m.latest() > quietBuckets {
				m[52], m[53] = 0, 0
			}
			m.put(8, to+1)
			return fired
		}
		b := m.open(n)
		if value, ok := d.measure(b); ok && !(quiet && b.events() == 0) {
			tell := d.judge(m, b, n, value, c.Time)
			if tell && !fired {
				d.describe(m, b, value, f)
				fired = true
			}
		}
		clear(b)
		m.put(8, n+1)
	}
	return fired
}

// measure returns the value of a bucket; ok is false if it has too few events.
func (d *drift) measure(b measured) (value int64, ok bool) {
	n := b.events()
	switch {
	case d.rule.Measure == DriftVolume:
		return n, true
	case n < int64(d.rule.MinEvents):
		return 0, false
	case d.rule.Measure == DriftShare:
		return 10_000 * b.counted() / n, true
	}
	at, before := (int64(d.rule.Percentile)*n+99)/100, int64(0)
	for i := range driftBins {
		if before += b.bin(i).u32(0); before >= at {
			return leastOf(i), true
		}
	}
	return leastOf(driftBins - 1), true
}

// usualLevel is the usual value of a bucket, with the allowed distance from it.
type usualLevel struct {
	usual, limit int64
	days         bool // taken from the same hour of other days
	known        int  // number of days or buckets
}

// judge compares a bucket with the usual value, and learns from it. It reports
// whether the rule fires.
func (d *drift) judge(m, b measured, n, value, now int64) (fires bool) {
	if m.is(driftIsOff) && n*d.bucket-m.since()*d.bucket >= d.settle {
		d.forget(m)
	}
	d.passHours(m, n)
	drifted := m.is(driftIsOff)
	if !d.level(m, b, n) {
		if !drifted {
			d.learn(m, b, value)
		}
		return false
	}
	limit := d.base.limit
	m.set(60, d.base.usual)
	m.set(64, limit)
	m.set(68, value)
	away := value - d.base.usual
	switch d.rule.Direction {
	case DriftBelow:
		away = -away
	case DriftEither:
		away = max(away, -away)
	}
	off := away >= limit
	switch {
	case off:
		if m[54] == 0 && !drifted {
			m.put(24, n)
		}
		m[54], m[55] = uint8(min(int(m[54])+1, math.MaxUint8)), 0
		began := !drifted && int(m[54]) >= d.rule.For
		if began {
			m[56] |= driftIsOff
		}
		if fires = began || drifted && now-m.firedAt() >= d.cooldown; fires {
			m.put(0, now)
		}
	case away <= limit/2:
		m[54], m[55] = 0, uint8(min(int(m[55])+1, math.MaxUint8))
		if drifted && int(m[55]) >= d.rule.Until {
			m[56] &^= driftIsOff
			m[55] = 0
		}
	default:
		m[54], m[55] = 0, 0
	}
	if !off && !drifted {
		d.learn(m, b, min(max(value, d.base.usual-limit), d.base.usual+limit))
	}
	return fires
}

// forget starts over.
func (d *drift) forget(m measured) {
	clear(m[24:72])
	clear(m[driftRecent:driftOpen])
}

// passHours records the mean of a finished hour, and drops days that are too old.
func (d *drift) passHours(m measured, n int64) {
	hour := floorDiv(n*d.bucket, msPerHour)
	if m.is(driftHasHour) && hour <= m.hour() {
		return
	}
	if m.is(driftHasHour) {
		was := m.hour()
		day, today := floorDiv(was, hoursOfDay), floorDiv(hour, hoursOfDay)
		if buckets := m.u32(48); buckets > 0 {
			m.season(was, day).set(0, min(m.i64(40)/buckets, math.MaxUint32-1)+1)
		}
		for gone := max(day+1, today-daysKept+1); gone <= today; gone++ {
			for h := range int64(hoursOfDay) {
				m.season(h, gone).set(0, 0)
			}
		}
	}
	m[56] |= driftHasHour
	m.put(32, hour)
	m.put(40, 0)
	m.set(48, 0)
}

// level computes the usual value of a bucket. It returns false if too little has
// been learned.
func (d *drift) level(m, b measured, n int64) bool {
	usual, spread, ok := int64(0), int64(0), m.recent() >= d.rule.Learn
	d.base = usualLevel{known: m.recent()}
	if ok {
		usual, spread = d.lately(m)
	}
	hour := floorDiv(n*d.bucket, msPerHour)
	days := d.sorted[:0]
	for day := range int64(daysKept) {
		if v := m.season(hour, day).u32(0); v > 0 {
			days = append(days, v-1)
		}
	}
	if len(days) >= daysNeeded {
		d.base.days, d.base.known = true, len(days)
		between := int64(0)
		usual, between = medianOf(days)
		spread, ok = max(spread, between), true
	}
	chance := int64(0)
	switch events := b.events(); d.rule.Measure {
	case DriftShare:
		p := min(max(usual, 100, 10_000/events), 9_900)
		chance = squareRoot(p * (10_000 - p) / events)
	case DriftVolume:
		chance = squareRoot(usual)
	}
	units := [...]int64{DriftShare: 100, DriftVolume: 1, DriftLatency: 1000}
	d.base.usual = usual
	d.base.limit = max(int64(d.rule.Deviations)*max(3*spread/2, chance), int64(d.rule.Percent)*usual/100, d.rule.Least*units[d.rule.Measure])
	return ok
}

// lately returns the median of the recently learned buckets, and the spread between
// neighbours. A rise or fall over hours does not affect that spread.
func (d *drift) lately(m measured) (usual, spread int64) {
	back := func(i int) int64 {
		return m.u32(driftRecent + 4*((int(m[53])+recentBuckets-1-i)%recentBuckets))
	}
	if n := m.recent() - 1; n > 0 {
		apart := d.sorted[:n]
		for i := range apart {
			apart[i] = max(back(i)-back(i+1), back(i+1)-back(i))
		}
		slices.Sort(apart)
		spread = 7 * apart[(n+1)/2-1] / 10
	}
	last := d.sorted[:min(m.recent(), levelBuckets)]
	for i := range last {
		last[i] = back(i)
	}
	slices.Sort(last)
	return last[(len(last)+1)/2-1], spread
}

// medianOf sorts values. It returns their median, and the median of their distances
// from it.
func medianOf(all []int64) (median, spread int64) {
	slices.Sort(all)
	at := (len(all)+1)/2 - 1
	median = all[at]
	for i, v := range all {
		all[i] = max(v-median, median-v)
	}
	slices.Sort(all)
	return median, all[at]
}

// squareRoot returns the square root, rounded down.
func squareRoot(n int64) (root int64) {
	for bit := int64(1) << 31; bit > 0; bit >>= 1 {
		if r := root | bit; r*r <= n {
			root = r
		}
	}
	return root
}

// learn adds a bucket to the history, with the given value.
func (d *drift) learn(m, b measured, value int64) {
	value = max(value, 0)
	m.set(driftRecent+4*int(m[53]), value)
	m[52], m[53] = uint8(min(m.recent()+1, recentBuckets)), (m[53]+1)%recentBuckets
	m.put(40, m.i64(40)+value)
	m.increase(48, 1)
	for of := range d.rule.Explain {
		d.learnHeavy(m.usually(of), b, of)
	}
}

// learnHeavy updates the usual counts of a field's values.
func (d *drift) learnHeavy(u, b measured, of int) {
	for i := range explainKept {
		if was := u.u32(8*i + 4); was > 0 {
			u.set(8*i+4, was+(usualParts*b.countOf(of, le.Uint32(u[8*i:]))-was)/usualRate)
		}
	}
	for i := range explainKept {
		h := b.heavy(of, i)
		teaches := usualParts * h.u32(4) / usualRate
		if teaches == 0 || u.usualOf(le.Uint32(h)) > 0 {
			continue
		}
		least := 0
		for j := range explainKept {
			if u.u32(8*j+4) < u.u32(8*least+4) {
				least = j
			}
		}
		if teaches > u.u32(8*least+4) {
			le.PutUint32(u[8*least:], le.Uint32(h))
			u.set(8*least+4, teaches)
		}
	}
}

// countOf returns the number of counted events in a bucket with a value.
func (b measured) countOf(of int, hash uint32) int64 {
	for i := range explainKept {
		if h := b.heavy(of, i); le.Uint32(h) == hash {
			return h.u32(4)
		}
	}
	return 0
}

// usualOf returns the usual count of a value, in 16ths of an event.
func (u measured) usualOf(hash uint32) int64 {
	for i := range explainKept {
		if le.Uint32(u[8*i:]) == hash {
			return u.u32(8*i + 4)
		}
	}
	return 0
}

// describe fills in a firing with the results of judge.
func (d *drift) describe(m, b measured, value int64, f *Firing) {
	baseline := "lately"
	if d.base.days {
		baseline = "time of day"
	}
	f.Tier, f.Weight = 0, d.rule.Weight
	f.Evidence = append(f.Evidence[:0],
		facet.Text("measure", driftMeasures[d.rule.Measure]), facet.Text("unit", driftUnits[d.rule.Measure]),
		facet.Number("value", value), facet.Number("usual", d.base.usual), facet.Number("limit", d.base.limit), facet.Number("events", b.events()),
		facet.Text("baseline", baseline), facet.Number("known", int64(d.base.known)), facet.Number("since", m.since()*d.bucket))
	total := b.counted() - d.base.usual*b.events()/10_000
	switch d.rule.Measure {
	case DriftVolume:
		total = b.events() - d.base.usual
	case DriftLatency:
		total = b.counted() - int64(100-d.rule.Percentile)*b.events()/100
	}
	if total <= 0 || value < d.base.usual {
		return
	}
	for of := range d.rule.Explain {
		most, at := int64(0), -1
		for i := range explainKept {
			h := b.heavy(of, i)
			if above := usualParts*h.u32(4) - m.usually(of).usualOf(le.Uint32(h)); h.u32(4) > 0 && above > most {
				most, at = above, i
			}
		}
		if at < 0 {
			continue
		}
		name := d.explained[of][:]
		copy(name, b.heavy(of, at)[8:])
		end := slices.Index(name, 0)
		if end < 0 {
			end = len(name)
		}
		f.Evidence = append(f.Evidence, facet.Text(d.names[of], unsafe.String(&name[0], end)),
			facet.Number(d.percents[of], min(100*most/(usualParts*total), 100)))
	}
}

// Fit implements Detector.
func (d *drift) Fit(payload []byte) ([]byte, bool) {
	m := measured(payload)
	far := func(n, length int64) bool { return n < -farTime/length || n > farTime/length }
	switch {
	case len(m) == driftSmall:
		return m, !far(m.i64(0), d.bucket)
	case len(m) != driftSize || m.recent() > recentBuckets || m[53] >= recentBuckets || m[56]&^driftFlags != 0 ||
		far(m.next(), d.bucket) || far(m.latest(), d.bucket) || m.latest() >= m.next()+openBuckets || far(m.since(), d.bucket) ||
		far(m.hour(), msPerHour) || m.i64(40) < 0 || m.i64(40) > farTime:
		return nil, false
	}
	return m, true
}

// Explain implements Detector: the last judged value, and its limit.
func (d *drift) Explain(payload []byte, at int64) (x Explanation) {
	m := measured(payload)
	x.Last = x.First - 1
	var away, limit, row int64
	if len(m) == driftSize {
		x.First, x.Last = (m.next()-int64(d.rule.For))*d.bucket, m.next()*d.bucket-1
		away, limit, row = m.u32(68)-m.usual(), m.u32(64), int64(m[54])
		switch d.rule.Direction {
		case DriftBelow:
			away = -away
		case DriftEither:
			away = max(away, -away)
		}
		x.Held = append(x.Held, facet.Number("value", m.u32(68)), facet.Number("usual", m.usual()), facet.Number("learned", int64(m.recent())))
	}
	x.Demands = []Demand{
		{Weight: d.rule.Weight, What: "away", Have: away, Need: max(limit, 1)},
		{Weight: d.rule.Weight, What: "buckets", Have: row, Need: int64(d.rule.For)},
	}
	if x.Demands[0].Met() && x.Demands[1].Met() && at-m.firedAt() < d.cooldown {
		x.HeldBack = append(x.HeldBack, HeldBack{By: "cooldown", Until: m.firedAt() + d.cooldown})
	}
	return x
}
