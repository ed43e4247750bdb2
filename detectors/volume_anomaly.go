package detectors

import (
	"fmt"
	"math/bits"
	"slices"
	"sort"
	"time"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// VolumeAnomaly holds the parameters of the volume anomaly detector, which fires
// when an entity calls an operation far more often in a session than nearly all
// others do.
type VolumeAnomaly struct {
	By       []event.Field // the first of these fields that an event has names the cohort to learn from
	Gap      time.Duration // events of an entity further apart than this belong to two sessions
	Learn    int           // minimum of sessions with an operation before anybody is judged by it
	Quantile int           // percentile of the sessions that sets the limit, 50..99
	Cooldown time.Duration // event time until the same weight may fire again for the entity
	Tiers    []VolumeTier
}

// VolumeTier is one step of an answer. Both minimums must be reached.
type VolumeTier struct {
	Percent int // of the limit
	Least   int // calls
	Weight  uint8
}

const (
	mostSessionOperations = 24     // of an entity
	mostCohortOperations  = 46     // of a cohort
	mostVolumes           = 20_000 // sessions with an operation after which its counts are halved
	volumeBuckets         = 48
	mostCalls             = 1 << 30
)

// VolumeAnomalyKind describes the detector to the rules.
func VolumeAnomalyKind() rules.Kind {
	return rules.Kind{
		Name: "volume_anomaly",
		Doc:  "learns how often sessions call each operation, and finds an entity that calls one far more often",
		Keys: []rules.Key{
			rules.ListKey("by", rules.Required, 1, 2, "volumes are learned from those that share the value of the first of these fields that an event has",
				rules.ChoiceKey("", rules.Required, []string{"app_version", "country"}, "a field")),
			rules.DurationKey("session_gap", rules.Optional, time.Second, longestWindow, "events of an entity that are further apart belong to two sessions; default 30m"),
			rules.CountKey("learn", rules.Optional, 1, mostVolumes/2, "number of learned sessions with an operation before anybody is judged by it; default 300"),
			rules.CountKey("quantile", rules.Optional, 50, 99, "percentage of sessions that do not exceed the limit, with 95 percent confidence; default 99"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestStretch, "time until the same weight may fire again for the entity; default 1h"),
			rules.ListKey("tiers", rules.Required, 1, 8, "the steps, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.CountKey("percent", rules.Required, 101, 1_000_000, "fires from so many percent of the limit on"),
				rules.CountKey("least", rules.Required, 1, 1_000_000, "and from so many calls on"),
				rules.WeightKey("weight", "confidence of the signal, in percent"))),
		},
		Compile: compileVolumeAnomaly,
	}
}

func compileVolumeAnomaly(p *rules.Params) rules.Spec {
	s := &VolumeAnomaly{
		By: fieldsOf(p.Texts("by")), Gap: p.DurationOr("session_gap", 30*time.Minute), Learn: p.IntOr("learn", 300),
		Quantile: p.IntOr("quantile", 99), Cooldown: p.DurationOr("cooldown", time.Hour),
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "weight", "this tier can never be seen beside the one before it: it weighs no more", "order the tiers by weight, each with one of its own")
	for _, t := range tiers {
		s.Tiers = append(s.Tiers, VolumeTier{Percent: t.Int("percent"), Least: t.Int("least"), Weight: t.Weight("weight")})
	}
	return s
}

// Fields implements [rules.Spec].
func (s *VolumeAnomaly) Fields() []event.Field {
	all := append(slices.Clone(s.By), event.Method, event.Route)
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (s *VolumeAnomaly) State() string { return fmt.Sprintf("volumes by %d", s.By) }

// Canonical implements [rules.Spec].
func (s *VolumeAnomaly) Canonical() string {
	return fmt.Sprintf("by %d gap %d learn %d quantile %d cooldown %d tiers %d", s.By, s.Gap.Milliseconds(), s.Learn, s.Quantile, s.Cooldown.Milliseconds(), s.Tiers)
}

// Keeps implements [rules.Spec].
func (s *VolumeAnomaly) Keeps() rules.Keeps {
	return rules.Keeps{
		Reach: s.Gap, After: s.Cooldown, Bytes: volumeHeader + mostSessionOperations*volumeSize, Ahead: s.Gap,
		Cohort: rules.KeepsOfCohort{Reach: usualReach, Bytes: volumesSize},
	}
}

func (s *VolumeAnomaly) detector(e Environment) Detector {
	return &volumeAnomaly{rule: s, gap: s.Gap.Milliseconds(), cooldown: s.Cooldown.Milliseconds(), hasher: e.Hasher}
}

// volumeAnomaly counts an entity's calls in a session, compares them with the
// sessions of its cohort, and adds the session to the cohort when it is over.
//
// Of an entity the payload is a header of 48 bytes, and 8 for each operation:
//
//	0 fired at i64 · 8 session begins i64 · 16 its last event i64 (Unix ms) · 24 key of the cohort u64 ·
//	32 weight fired u8 · 33 flags u8 · 34 last operation called u8 · 35 unused · 36 limit of that u32 · 40 sessions that set it u32 · 44 unused 4
//	operation: number u32 · calls u32
//
// Of a cohort it is: operations u8 · 7 unused; then for each of 46 operations its
// number u32, sessions with it u32, its name, 40 bytes, and 48 counts u16: the
// sessions in each bucket of calls. Numbers are 32 bits of the name's hash.
type volumeAnomaly struct {
	rule     *VolumeAnomaly
	gap      int64 // ms
	cooldown int64 // ms
	hasher   Hasher
	name     []byte // of an operation
}

const (
	volumeHeader = 48
	volumeSize   = 8

	volumesAt     = 8
	volumeCounts  = 8 + operationName
	volumesOfOne  = volumeCounts + 2*volumeBuckets
	volumesSize   = volumesAt + mostCohortOperations*volumesOfOne
	noOperation   = -1
	confidence    = 2706 // 1.645², in thousandths: one-sided, 95 percent
	wholeQuantile = 100
)

// Flags of an entity's payload.
const (
	volumeReached uint8 = 1 << iota // a tier was reached in this session
	volumeFired
	volumeFlags = 1<<iota - 1
)

// session is a view of an entity's payload.
type session []byte

func (m session) firedAt() int64      { return int64(le.Uint64(m)) }
func (m session) begin() int64        { return int64(le.Uint64(m[8:])) }
func (m session) last() int64         { return int64(le.Uint64(m[16:])) }
func (m session) cohort() uint64      { return le.Uint64(m[24:]) }
func (m session) firedWeight() uint8  { return m[32] }
func (m session) is(flag uint8) bool  { return m[33]&flag != 0 }
func (m session) called() int         { return int(m[34]) }
func (m session) limit() int64        { return int64(le.Uint32(m[36:])) }
func (m session) learned() int64      { return int64(le.Uint32(m[40:])) }
func (m session) len() int            { return (len(m) - volumeHeader) / volumeSize }
func (m session) bytes(i int) []byte  { return m[volumeHeader+i*volumeSize:][:volumeSize] }
func (m session) number(i int) uint32 { return le.Uint32(m.bytes(i)) }
func (m session) calls(i int) int64   { return int64(le.Uint32(m.bytes(i)[4:])) }

func (m session) found(limit, sessions int64) {
	le.PutUint32(m[36:], uint32(limit))
	le.PutUint32(m[40:], uint32(sessions))
}

// volumes is a view of a cohort's payload.
type volumes []byte

func (v volumes) operations() int       { return int(v[0]) }
func (v volumes) of(i int) volumes      { return v[volumesAt+i*volumesOfOne:][:volumesOfOne] }
func (v volumes) number(i int) uint32   { return le.Uint32(v.of(i)) }
func (v volumes) sessions(i int) int64  { return int64(le.Uint32(v.of(i)[4:])) }
func (v volumes) count(i, b int) []byte { return v.of(i)[volumeCounts+2*b:][:2] }
func (v volumes) with(i, b int) int64   { return int64(le.Uint16(v.count(i, b))) }

// find returns the index of an operation, noOperation if there is none.
func (v volumes) find(number uint32) int {
	for i := range v.operations() {
		if v.number(i) == number {
			return i
		}
	}
	return noOperation
}

// learn counts a session. If the operation has many, all its counts are halved.
func (v volumes) learn(i int, calls int64) {
	b := bucketOf(calls)
	le.PutUint16(v.count(i, b), uint16(min(v.with(i, b)+1, mostVolumes)))
	sessions := v.sessions(i) + 1
	if sessions >= mostVolumes {
		sessions = 0
		for b := range volumeBuckets {
			half := v.with(i, b) / 2
			le.PutUint16(v.count(i, b), uint16(half))
			sessions += half
		}
	}
	le.PutUint32(v.of(i)[4:], uint32(sessions))
}

// limit returns the number of calls that a quantile of the sessions does not exceed,
// as an upper bound with 95 percent confidence; 0 if there are too few sessions.
func (v volumes) limit(i, quantile int) int64 {
	rank, n := UpperRank(v.sessions(i), quantile), int64(0)
	for b := range volumeBuckets {
		if n += v.with(i, b); n >= rank {
			return mostIn(b)
		}
	}
	return 0
}

// UpperRank returns the rank, from 1, of the upper bound of a quantile (percent,
// 1..99) with 95 percent confidence, among n values in ascending order. It is above
// n if n values are too few.
func UpperRank(n int64, quantile int) int64 {
	q := int64(quantile)
	spread := n * q * (wholeQuantile - q) * confidence / 1000
	root := int64(sort.Search(1<<20, func(r int) bool { return int64(r)*int64(r) >= spread }))
	return (n*q + root + wholeQuantile - 1) / wholeQuantile
}

// bucketOf returns the bucket of a number of calls: 1, 2 and 3 have one each, and
// after that each doubling has four.
func bucketOf(calls int64) int {
	if calls < 4 {
		return int(calls) - 1
	}
	octave := bits.Len64(uint64(calls)) - 3
	return min(3+4*octave+int(calls>>octave&3), volumeBuckets-1)
}

// mostIn returns the greatest number of calls in a bucket.
func mostIn(b int) int64 {
	if b < 3 {
		return int64(b) + 1
	}
	return int64(5+(b-3)%4)<<((b-3)/4) - 1
}

// Apply implements Detector.
func (d *volumeAnomaly) Apply(c *Context, f *Firing) bool {
	if c.Late || !c.Event.Has(event.Route) {
		return false
	}
	cohort := d.cohortOf(c)
	if cohort == nil {
		return false
	}
	m, v := session(c.Own.Payload()), volumes(cohort.Payload())
	if len(m) == 0 {
		if m = c.Own.Resize(volumeHeader); m == nil {
			return false
		}
	}
	if m.len() > 0 {
		switch {
		case m.cohort() != cohort.Key():
			m = d.end(m, c, nil)
		case c.Time > m.last()+d.gap:
			m = d.end(m, c, v)
		case c.Time < m.begin()-d.gap:
			return false
		}
	}
	c.Counts = true
	if m.len() == 0 {
		le.PutUint64(m[8:], uint64(c.Time))
		le.PutUint64(m[16:], uint64(c.Time))
		le.PutUint64(m[24:], cohort.Key())
	}
	le.PutUint64(m[8:], uint64(min(m.begin(), c.Time)))
	le.PutUint64(m[16:], uint64(max(m.last(), c.Time)))
	number, place := d.operation(c.Event, v)
	m, at := d.count(m, c, number)
	if m.len() > 0 {
		c.Timer = m.last() + d.gap
	}
	return at != noOperation && d.judge(m, at, v, place, c, f)
}

// Due implements Timed: the session is over.
func (d *volumeAnomaly) Due(c *Context, _ *Firing) bool {
	m := session(c.Own.Payload())
	if m.len() == 0 {
		return false
	}
	var v volumes
	if cohort := c.Recall(m.cohort()); cohort != nil && len(cohort.Payload()) == volumesSize {
		v = cohort.Payload()
	}
	d.end(m, c, v)
	return false
}

// cohortOf returns the event's cohort, with room for its payload; nil if the event
// has none.
func (d *volumeAnomaly) cohortOf(c *Context) Cohort {
	for _, by := range d.rule.By {
		cohort := c.Cohort(by)
		if cohort == nil {
			continue
		}
		if len(cohort.Payload()) != volumesSize && cohort.Resize(volumesSize) == nil {
			return nil
		}
		return cohort
	}
	return nil
}

// end closes the session, and adds it to the cohort, unless that is nil.
func (d *volumeAnomaly) end(m session, c *Context, v volumes) session {
	if v != nil && !m.is(volumeReached) {
		for i := range m.len() {
			if at := v.find(m.number(i)); at != noOperation {
				v.learn(at, m.calls(i))
			}
		}
	}
	m[33] &^= volumeReached
	m[34] = 0
	m.found(0, 0)
	return c.Own.Resize(volumeHeader)
}

// operation returns the number of the event's operation, and its index in the
// cohort. It adds the operation if there is room.
func (d *volumeAnomaly) operation(e *event.Event, v volumes) (number uint32, place int) {
	d.name = append(append(append(d.name[:0], e.Text(event.Method)...), ' '), e.Text(event.Route)...)
	number = uint32(d.hasher.Text(unsafe.String(&d.name[0], len(d.name))))
	place = v.find(number)
	if place == noOperation && v.operations() < mostCohortOperations {
		place = v.operations()
		v[0]++
		le.PutUint32(v.of(place), number)
		copy(v.of(place)[8:volumeCounts], d.name)
	}
	return number, place
}

// count counts a call, and returns its index; noOperation if there is no room.
func (d *volumeAnomaly) count(m session, c *Context, number uint32) (session, int) {
	at := 0
	for at < m.len() && m.number(at) != number {
		at++
	}
	if at == m.len() {
		if at == mostSessionOperations {
			return m, noOperation
		}
		if m = c.Own.Resize(len(m) + volumeSize); m == nil {
			return c.Own.Payload(), noOperation
		}
		le.PutUint32(m.bytes(at), number)
	}
	le.PutUint32(m.bytes(at)[4:], uint32(min(m.calls(at)+1, mostCalls)))
	m[34] = uint8(at)
	return m, at
}

// judge compares the calls of an operation with the limit of the cohort.
func (d *volumeAnomaly) judge(m session, at int, v volumes, place int, c *Context, f *Firing) bool {
	m.found(0, 0)
	if place == noOperation {
		return false
	}
	sessions := v.sessions(place)
	m.found(0, sessions)
	if sessions < int64(d.rule.Learn) {
		return false
	}
	limit := v.limit(place, d.rule.Quantile)
	m.found(limit, sessions)
	for i, t := range slices.Backward(d.rule.Tiers) {
		if !t.reached(m.calls(at), limit) {
			continue
		}
		m[33] |= volumeReached
		if m.is(volumeFired) && t.Weight <= m.firedWeight() && c.Time-m.firedAt() < d.cooldown {
			return false
		}
		m[33] |= volumeFired
		m[32] = t.Weight
		le.PutUint64(m, uint64(c.Time))
		f.Tier, f.Weight = i, t.Weight
		f.Evidence = append(f.Evidence[:0],
			facet.Text("operation", string(d.name)),
			facet.Number("calls", m.calls(at)),
			facet.Number("limit", limit),
			facet.Number("sessions", sessions),
			facet.Number("first_ms", m.begin()),
			facet.Number("last_ms", m.last()))
		return true
	}
	return false
}

// needs returns how many calls a tier requires; 0 if the limit is unknown.
func (t VolumeTier) needs(limit int64) int64 {
	if limit == 0 {
		return 0
	}
	return max(int64(t.Least), (int64(t.Percent)*limit+99)/100)
}

func (t VolumeTier) reached(calls, limit int64) bool { return limit > 0 && calls >= t.needs(limit) }

// Fit implements Detector.
func (d *volumeAnomaly) Fit(payload []byte) ([]byte, bool) {
	m := session(payload)
	if len(m) < volumeHeader || (len(m)-volumeHeader)%volumeSize != 0 || m.len() > mostSessionOperations ||
		m[33]&^volumeFlags != 0 || m.called() >= max(m.len(), 1) || !near1970(m.begin()) || !near1970(m.last()) {
		return nil, false
	}
	for i := range m.len() {
		if m.calls(i) < 1 || m.calls(i) > mostCalls {
			return nil, false
		}
	}
	return m, true
}

// FitCohort implements Comparing.
func (d *volumeAnomaly) FitCohort(by event.Field, payload []byte) ([]byte, bool) {
	v := volumes(payload)
	if !slices.Contains(d.rule.By, by) || len(v) != volumesSize || v.operations() > mostCohortOperations {
		return nil, false
	}
	for i := range v.operations() {
		if v.sessions(i) >= mostVolumes {
			return nil, false
		}
	}
	return v, true
}

// Explain implements Detector: the operation that was called last.
func (d *volumeAnomaly) Explain(payload []byte, at int64) (x Explanation) {
	m := session(payload)
	if m == nil {
		m = make(session, volumeHeader)
	}
	calls := int64(0)
	x.Last = x.First - 1
	if m.len() > 0 {
		calls = m.calls(m.called())
		x.First, x.Last = m.begin(), m.last()
		x.Held = append(x.Held, facet.Number("calls", calls), facet.Number("limit", m.limit()), facet.Number("sessions", m.learned()))
	}
	for i, t := range d.rule.Tiers {
		x.Demands = append(x.Demands, Demand{Tier: i, Weight: t.Weight, What: "sessions", Have: m.learned(), Need: int64(d.rule.Learn)})
		if m.limit() == 0 {
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "too few sessions to know the quantile"})
			continue
		}
		x.Demands = append(x.Demands, Demand{Tier: i, Weight: t.Weight, What: "calls", Have: calls, Need: t.needs(m.limit())})
		if t.reached(calls, m.limit()) && m.is(volumeFired) && t.Weight <= m.firedWeight() && at-m.firedAt() < d.cooldown {
			x.HeldBack = append(x.HeldBack, HeldBack{Tier: i, By: "cooldown", Until: m.firedAt() + d.cooldown})
		}
	}
	return x
}
