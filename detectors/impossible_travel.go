package detectors

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/greatcircle"
	"github.com/weirdev/weir/rules"
)

// ImpossibleTravel holds the parameters of the impossible travel detector, which
// fires when an entity appears at two places too far apart for the time in between.
type ImpossibleTravel struct {
	LeastDistance int64            // km beyond both accuracy radii; shorter distances are ignored
	Tiers         []SpeedTier      // Speed and Weight ascending; never empty
	Ignored       *rules.Condition // events from networks that do not tell where their user is
	Weak          *rules.Condition // events from networks that tell it only roughly; nil: none
	WeakRadius    int64            // km, the minimum radius of a weak place
	UnknownRadius int64            // km, if the database states no radius for a place
	TrustedFrom   *rules.Condition // events from which no travel is too fast; nil: none
	TrustedTo     *rules.Condition // events to which no travel is too fast; nil: none

	// Percentages of a tier's weight that remain: if one side is weak, if the same
	// proven device was at both places, and if both places are known.
	WeakPercent, DevicePercent, KnownPercent int

	KnownVisits int           // a place with this many visits is known
	KnownAfter  time.Duration // a place is also known if its first and last visit are this far apart
	Stops       int           // stops remembered of an entity
	Memory      time.Duration // how long stops are remembered, and how long places are after their last visit
	Cooldown    time.Duration // event time until the same weight may fire again for the entity
}

// SpeedTier is one step of an answer: a minimum speed, and its weight.
type SpeedTier struct {
	Speed  int64 // km/h; at least 1
	Weight uint8 // 1..100
}

const (
	mostStops     = 100
	mostVisited   = 10
	visitSpacing  = time.Hour // minimum between two visits of a place that count
	longestMemory = 366 * 24 * time.Hour
)

// ImpossibleTravelKind describes the detector to the rules.
func ImpossibleTravelKind() rules.Kind {
	return rules.Kind{
		Name: "impossible_travel",
		Doc:  "finds an entity at two places between which nobody can travel that fast",
		Keys: []rules.Key{
			rules.CountKey("least_distance", rules.Optional, 1, 20_000, "minimum distance between the two places, without both accuracy radii, km; default 50"),
			rules.ListKey("tiers", rules.Required, 1, 8, "the steps, from the mildest", rules.ObjectKey("", rules.Required, "one step",
				rules.CountKey("speed", rules.Required, 1, 1_000_000, "lowest speed that fires, km/h; airliners fly at up to 900 km/h"),
				rules.CountKey("weight", rules.Required, 1, 100, "confidence of the signal, in percent"))),
			rules.ConditionKey("ignore", rules.Optional, "events whose network does not tell where its user is: they are neither compared nor remembered; default: anonymiser != \"\""),
			rules.ConditionKey("weak", rules.Optional, "events whose network tells only roughly where its user is, such as a mobile operator's"),
			rules.CountKey("weak_radius", rules.Optional, 0, 20_000, "minimum accuracy radius of a weak place, km; default 300"),
			rules.CountKey("weak_percent", rules.Optional, 0, 100, "percent of the weight that remains if one of the two places is weak; default 50; 0: nothing fires"),
			rules.CountKey("unknown_radius", rules.Optional, 0, 20_000, "accuracy radius, if the database states none, km; default 100"),
			rules.ConditionKey("trusted_from", rules.Optional, "events from networks that an entity may leave for any place: never the earlier side"),
			rules.ConditionKey("trusted_to", rules.Optional, "events from networks that an entity may reach from any place: never the later side"),
			rules.CountKey("device_percent", rules.Optional, 0, 100, "percent of the weight that remains if the same device was at both places, with a valid signature or attestation; default 40; 0: nothing fires"),
			rules.CountKey("known_percent", rules.Optional, 0, 100, "percent of the weight that remains if both places are known; default 0: nothing fires"),
			rules.CountKey("known_visits", rules.Optional, 1, 200, "number of visits, at most one an hour, that make a place known; default 10"),
			rules.DurationKey("known_after", rules.Optional, visitSpacing, longestMemory, "time between the first and the last visit that makes a place known; default 14d"),
			rules.CountKey("stops", rules.Optional, 2, mostStops, "number of latest stops remembered per entity; default 20"),
			rules.DurationKey("memory", rules.Optional, time.Hour, longestMemory, "how long stops, and places after their last visit, are remembered; default 30d"),
			rules.DurationKey("cooldown", rules.Optional, time.Second, longestMemory, "time until the same weight may fire again for the entity; default 1h"),
		},
		Compile: compileImpossibleTravel,
	}
}

func compileImpossibleTravel(p *rules.Params) rules.Spec {
	const day = 24 * time.Hour
	t := &ImpossibleTravel{
		LeastDistance: int64(p.IntOr("least_distance", 50)),
		Ignored:       p.Condition("ignore"),
		Weak:          p.Condition("weak"),
		WeakRadius:    int64(p.IntOr("weak_radius", 300)),
		UnknownRadius: int64(p.IntOr("unknown_radius", 100)),
		TrustedFrom:   p.Condition("trusted_from"),
		TrustedTo:     p.Condition("trusted_to"),
		WeakPercent:   p.IntOr("weak_percent", 50),
		DevicePercent: p.IntOr("device_percent", 40),
		KnownPercent:  p.IntOr("known_percent", 0),
		KnownVisits:   p.IntOr("known_visits", 10),
		KnownAfter:    p.DurationOr("known_after", 14*day),
		Stops:         p.IntOr("stops", 20),
		Memory:        p.DurationOr("memory", 30*day),
		Cooldown:      p.DurationOr("cooldown", time.Hour),
	}
	if !p.Has("ignore") {
		t.Ignored = anonymised()
	}
	if t.Memory < t.KnownAfter {
		p.Problem("memory", "places are forgotten before they can be known", "make memory at least as long as known_after, which is 14d where it is absent")
	}
	for _, of := range []string{"weak_radius", "weak_percent"} {
		if p.Has(of) && !p.Has("weak") {
			p.Problem(of, of+" says how weak places are judged, and none is", "say with weak which events are, or leave "+of+" out")
		}
	}
	tiers := p.List("tiers")
	rules.Ascending(tiers, "speed", "this tier does not wait for more than the one before it", "order the tiers by speed, each with one of its own")
	rules.Ascending(tiers, "weight", "this tier can never be seen: it weighs no more than the one before it", "give later tiers greater weights, or remove this one")
	for _, tier := range tiers {
		t.Tiers = append(t.Tiers, SpeedTier{Speed: int64(tier.Int("speed")), Weight: uint8(tier.Int("weight"))})
	}
	return t
}

// anonymised is the default condition for ignored events.
func anonymised() *rules.Condition {
	return &rules.Condition{
		Holds:     func(e *event.Event) bool { return e.Text(event.Anonymiser) != "" },
		Fields:    []event.Field{event.Anonymiser},
		Canonical: `anonymiser != ""`,
	}
}

func (t *ImpossibleTravel) conditions() [4]*rules.Condition {
	return [4]*rules.Condition{t.Ignored, t.Weak, t.TrustedFrom, t.TrustedTo}
}

// Fields implements [rules.Spec].
func (t *ImpossibleTravel) Fields() []event.Field {
	all := []event.Field{
		event.ClientIP, event.Country, event.Latitude, event.Longitude, event.GeoRadius,
		event.Device, event.Signature, event.Attestation,
	}
	for _, c := range t.conditions() {
		if c != nil {
			all = append(all, c.Fields...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// State implements [rules.Spec].
func (t *ImpossibleTravel) State() string { return "places" }

// Canonical implements [rules.Spec].
func (t *ImpossibleTravel) Canonical() string {
	s := fmt.Sprintf("least_distance %d weak_radius %d unknown_radius %d percent %d %d %d known %d %d stops %d memory %d cooldown %d",
		t.LeastDistance, t.WeakRadius, t.UnknownRadius, t.WeakPercent, t.DevicePercent, t.KnownPercent,
		t.KnownVisits, t.KnownAfter.Milliseconds(), t.Stops, t.Memory.Milliseconds(), t.Cooldown.Milliseconds())
	for i, name := range []string{"ignore", "weak", "trusted_from", "trusted_to"} {
		if c := t.conditions()[i]; c != nil {
			s += fmt.Sprintf(" %s %q", name, c.Canonical)
		}
	}
	for _, tier := range t.Tiers {
		s += fmt.Sprintf(" tier %d %d", tier.Speed, tier.Weight)
	}
	return s
}

// Keeps implements [rules.Spec].
func (t *ImpossibleTravel) Keeps() rules.Keeps {
	return rules.Keeps{Reach: t.Memory, After: t.Cooldown, Bytes: travelHeader + mostVisited*visitedSize + t.Stops*stopSize}
}

func (t *ImpossibleTravel) detector(e Environment) Detector {
	d := &impossibleTravel{
		rule: t, lateness: e.Lateness, memory: t.Memory.Milliseconds(), cooldown: t.Cooldown.Milliseconds(),
		least: t.LeastDistance * 1000, longest: greatcircle.Farthest * msPerHour / 1000 / t.Tiers[0].Speed, hasher: e.Hasher,
	}
	for i, c := range t.conditions() {
		if c != nil {
			d.holds[i] = c.Holds
		}
	}
	return d
}

// impossibleTravel remembers an entity's latest stops, in order of event time, and
// the places that it often visits. An event is compared with the stop before it and
// the stop after it, so the order of arrival does not matter.
//
// The payload is a header of 12 bytes, visited places of 28, and room for stops of
// 40, in order of time:
//
//	0 fired at i64 (Unix ms) · 8 weight fired u8 · 9 visited places u8 · 10 stops u8 · 11 unused
//	visited place: latitude i32 · longitude i32 (micro-degrees) · first visit i64 · last visit i64 (Unix ms) · visits u8 · 3 unused
//	stop: time i64 (Unix ms) · raw offset i64 · latitude i32 · longitude i32 · address u32 · device u32 · raw partition u24 · flags u8 · radius u16 (km) · country 2 bytes
//
// Address and device are 32 bits of the values' hashes, 0 if absent. A device
// without proof counts as absent. Radii and flags are stored as the event stated
// them. The rule in force at the next event decides what they mean.
type impossibleTravel struct {
	rule     *ImpossibleTravel
	holds    [4]rules.Predicate // indexed like conditions; nil: never
	lateness int64              // ms
	memory   int64              // ms
	cooldown int64              // ms
	least    int64              // metres
	longest  int64              // ms after which every place on earth is in reach at the lowest tier's speed
	hasher   Hasher

	before, here, behind stop // the stops that are compared
}

const (
	travelHeader = 12
	visitedSize  = 28
	stopSize     = 40
	mostRadius   = 20_100 // km, the same as for event.GeoRadius
	mostVisits   = math.MaxUint8
	msPerHour    = 3_600_000
)

// Indices into conditions.
const (
	ignoredNetwork = iota
	weakNetwork
	trustedFromNetwork
	trustedToNetwork
)

// Flags of a stop.
const (
	weakStop uint8 = 1 << iota
	trustedFrom
	trustedTo
	implausible // the stop teaches nothing
	stopFlags   = 1<<iota - 1
)

// stop is the place of an entity at a moment.
type stop struct {
	greatcircle.Point
	time, offset    int64
	address, device uint32
	source          int32
	radius          int64 // km, 0: unknown
	flags           uint8
	country         [2]byte
}

func (s stop) is(flag uint8) bool { return s.flags&flag != 0 }

// sameSpot reports whether two stops look the same in a comparison with a third,
// apart from time, address and device.
func (s stop) sameSpot(o *stop) bool {
	const kept = weakStop | trustedFrom | trustedTo
	return s.Point == o.Point && s.radius == o.radius && s.flags&kept == o.flags&kept
}

// travels is a view of the payload.
type travels []byte

func (m travels) firedAt() int64     { return int64(le.Uint64(m)) }
func (m travels) firedWeight() uint8 { return m[8] }
func (m travels) visited() int       { return int(m[9]) }
func (m travels) stops() int         { return int(m[10]) }
func (m travels) begin() int         { return travelHeader + m.visited()*visitedSize }
func (m travels) room() int          { return (len(m) - m.begin()) / stopSize }

func (m travels) stopBytes(i int) []byte { return m[m.begin()+i*stopSize:][:stopSize] }
func (m travels) time(i int) int64       { return int64(le.Uint64(m.stopBytes(i))) }
func (m travels) device(i int) uint32    { return le.Uint32(m.stopBytes(i)[28:]) }

// fired records a firing with its weight and time.
func (m travels) fired(weight uint8, at int64) {
	le.PutUint64(m, uint64(at))
	m[8] = weight
}

func (m travels) stop(i int) stop {
	b := m.stopBytes(i)
	return stop{
		time: int64(le.Uint64(b)), offset: int64(le.Uint64(b[8:])),
		Point:   greatcircle.Point{Latitude: int32(le.Uint32(b[16:])), Longitude: int32(le.Uint32(b[20:]))},
		address: le.Uint32(b[24:]), device: le.Uint32(b[28:]),
		source: int32(le.Uint32(b[32:]) & 0xffffff), flags: b[35],
		radius: int64(le.Uint16(b[36:])), country: [2]byte(b[38:]),
	}
}

func (m travels) putStop(i int, s *stop) {
	b := m.stopBytes(i)
	le.PutUint64(b, uint64(s.time))
	le.PutUint64(b[8:], uint64(s.offset))
	le.PutUint32(b[16:], uint32(s.Latitude))
	le.PutUint32(b[20:], uint32(s.Longitude))
	le.PutUint32(b[24:], s.address)
	le.PutUint32(b[28:], s.device)
	le.PutUint32(b[32:], uint32(s.source)&0xffffff|uint32(s.flags)<<24)
	le.PutUint16(b[36:], uint16(s.radius))
	copy(b[38:], s.country[:])
}

// removeStops removes n stops starting at i. Their room remains.
func (m travels) removeStops(i, n int) {
	if n > 0 {
		copy(m[m.begin()+i*stopSize:], m[m.begin()+(i+n)*stopSize:m.begin()+m.stops()*stopSize])
		m[10] -= uint8(n)
	}
}

// after returns the position of the first stop later than t.
func (m travels) after(t int64) int {
	i := m.stops()
	for i > 0 && m.time(i-1) > t {
		i--
	}
	return i
}

// visited is a place that the entity visited, known or not.
type visited struct {
	greatcircle.Point
	first, last int64 // Unix ms
	visits      uint8
}

func (m travels) visitedBytes(i int) []byte { return m[travelHeader+i*visitedSize:][:visitedSize] }

func (m travels) place(i int) visited {
	b := m.visitedBytes(i)
	return visited{
		Point: greatcircle.Point{Latitude: int32(le.Uint32(b)), Longitude: int32(le.Uint32(b[4:]))},
		first: int64(le.Uint64(b[8:])), last: int64(le.Uint64(b[16:])), visits: b[24],
	}
}

func (m travels) putPlace(i int, v visited) {
	b := m.visitedBytes(i)
	le.PutUint32(b, uint32(v.Latitude))
	le.PutUint32(b[4:], uint32(v.Longitude))
	le.PutUint64(b[8:], uint64(v.first))
	le.PutUint64(b[16:], uint64(v.last))
	b[24] = v.visits
}

// Apply implements Detector.
func (d *impossibleTravel) Apply(c *Context, f *Firing) bool {
	if c.Late || !placed(c.Event) || d.matches(ignoredNetwork, c.Event) {
		return false
	}
	c.Counts = true
	m := travels(c.Own.Payload())
	if len(m) == 0 {
		if m = c.Own.Resize(travelHeader + stopSize); m == nil {
			return false
		}
	}
	d.here = d.stopOf(c)
	m = d.forget(m, c)
	at, place := m.after(c.Time), d.placeOf(m, d.here.Point)
	plausible := d.plausible(m, at, place)
	fired := d.compare(m, at, f)
	if plausible {
		m = d.learn(m, c.Own, place)
	} else {
		d.here.flags |= implausible
	}
	d.remember(m, c.Own, at)
	return fired
}

func (d *impossibleTravel) matches(condition int, e *event.Event) bool {
	return d.holds[condition] != nil && d.holds[condition](e)
}

// placed reports whether an event has coordinates that can be stored.
func placed(e *event.Event) bool {
	return e.Has(event.Latitude) && e.Has(event.Longitude) && onEarth(e.Num(event.Latitude), e.Num(event.Longitude)) &&
		e.Num(event.GeoRadius) >= 0 && e.Num(event.GeoRadius) <= mostRadius
}

// stopOf returns the stop of the event.
func (d *impossibleTravel) stopOf(c *Context) stop {
	e := c.Event
	s := stop{
		Point:  greatcircle.Point{Latitude: int32(e.Num(event.Latitude)), Longitude: int32(e.Num(event.Longitude))},
		radius: e.Num(event.GeoRadius), time: c.Time, offset: c.Offset, source: c.Source,
		address: d.number(e.Text(event.ClientIP)),
	}
	if e.Text(event.Signature) == "valid" || e.Text(event.Attestation) == "passed" {
		s.device = d.number(e.Text(event.Device))
	}
	for condition, flag := range [...]uint8{weakNetwork: weakStop, trustedFromNetwork: trustedFrom, trustedToNetwork: trustedTo} {
		if flag != 0 && d.matches(condition, e) {
			s.flags |= flag
		}
	}
	if code := e.Text(event.Country); len(code) == len(s.country) {
		copy(s.country[:], code)
	}
	return s
}

// number hashes a text to 32 bits; 0 if it is empty.
func (d *impossibleTravel) number(text string) uint32 {
	if text == "" {
		return 0
	}
	return max(uint32(d.hasher.Text(text)), 1)
}

// forget drops entries that have expired for all events that can still be on time.
func (d *impossibleTravel) forget(m travels, c *Context) travels {
	if c.Watermark == math.MinInt64 {
		return m
	}
	oldest := c.Watermark - d.lateness - d.memory
	m.removeStops(0, m.after(oldest))
	for i := m.visited() - 1; i >= 0; i-- {
		if m.place(i).last <= oldest {
			m = d.unlearn(m, c.Own, i)
		}
	}
	return m
}

// leg is the journey between two stops.
type leg struct {
	from, to         *stop
	distance, beyond int64 // metres; beyond is without both radii
	elapsed          int64 // ms
	tier             int   // −1: plausible
}

// leg measures the journey from one stop to a later one.
func (d *impossibleTravel) leg(from, to *stop) leg {
	l := leg{from: from, to: to, elapsed: to.time - from.time, tier: -1}
	sameAddress := from.address != 0 && from.address == to.address
	if sameAddress || from.is(trustedFrom) || to.is(trustedTo) || from.Point == to.Point || l.elapsed > d.longest {
		return l
	}
	l.distance = greatcircle.Distance(from.Point, to.Point)
	l.beyond = l.distance - 1000*(d.radius(from)+d.radius(to))
	if l.beyond < d.least {
		return l
	}
	for l.tier+1 < len(d.rule.Tiers) && l.faster(d.rule.Tiers[l.tier+1].Speed) {
		l.tier++
	}
	return l
}

// faster reports whether the leg requires at least this speed, in km/h.
func (l *leg) faster(speed int64) bool { return l.beyond*(msPerHour/1000) >= speed*l.elapsed }

func (d *impossibleTravel) radius(s *stop) int64 {
	r := s.radius
	if r == 0 {
		r = d.rule.UnknownRadius
	}
	if s.is(weakStop) {
		r = max(r, d.rule.WeakRadius)
	}
	return r
}

// plausible reports whether the place of d.here may be learned. It may if it is a
// known place, or if the journey from the last plausible stop was not too fast, or
// if the same device was at both.
func (d *impossibleTravel) plausible(m travels, at, place int) bool {
	if d.isKnown(m, place) {
		return true
	}
	for i := at - 1; i >= 0; i-- {
		if d.before = m.stop(i); !d.before.is(implausible | trustedFrom) {
			l := d.leg(&d.before, &d.here)
			return l.tier < 0 || d.sameDevice(m, &d.before)
		}
	}
	return true
}

// compare fires for the journey to d.here from the stop before it, or from d.here to
// the stop after it, whichever weighs more.
func (d *impossibleTravel) compare(m travels, at int, f *Firing) bool {
	var best finding
	for i := at - 1; i >= 0; i-- {
		if d.before = m.stop(i); !d.before.is(trustedFrom) {
			best = d.weigh(m, d.leg(&d.before, &d.here), &d.before)
			break
		}
	}
	for i := at; i < m.stops(); i++ {
		if d.behind = m.stop(i); !d.behind.is(trustedTo) {
			if next := d.weigh(m, d.leg(&d.here, &d.behind), &d.behind); next.weight > best.weight {
				best = next
			}
			break
		}
	}
	if best.weight == 0 || best.weight <= m.firedWeight() && d.here.time-m.firedAt() < d.cooldown {
		return false
	}
	m.fired(best.weight, d.here.time)
	f.Tier, f.Weight = best.tier, best.weight
	f.Evidence = d.evidence(f.Evidence[:0], &best)
	return true
}

// finding is a leg with its weight; 0 if it is plausible.
type finding struct {
	leg
	weight  uint8
	lowered int // bits of the reasons for a lower weight
}

// Reasons for a lower weight.
const (
	byWeakNetwork = 1 << iota
	bySameDevice
	byKnownPlaces
)

// weigh computes the lowered weight of a leg between d.here, which is not remembered
// yet, and another stop.
func (d *impossibleTravel) weigh(m travels, l leg, other *stop) finding {
	f := finding{leg: l}
	if l.tier < 0 {
		return f
	}
	weight, whole := int(d.rule.Tiers[l.tier].Weight), 1
	if d.here.is(weakStop) || other.is(weakStop) {
		f.lowered, weight, whole = f.lowered|byWeakNetwork, weight*d.rule.WeakPercent, whole*100
	}
	if d.sameDevice(m, other) {
		f.lowered, weight, whole = f.lowered|bySameDevice, weight*d.rule.DevicePercent, whole*100
	}
	if d.isKnown(m, d.placeOf(m, d.here.Point)) && d.isKnown(m, d.placeOf(m, other.Point)) {
		f.lowered, weight, whole = f.lowered|byKnownPlaces, weight*d.rule.KnownPercent, whole*100
	}
	f.weight = uint8(weight / whole)
	return f
}

// sameDevice reports whether the same proven device was at d.here and at other.
func (d *impossibleTravel) sameDevice(m travels, other *stop) bool {
	if m.deviceAt(other.Point, d.here.device) {
		return true
	}
	for i := range m.stops() {
		if s := m.stop(i); s.Point == d.here.Point && m.deviceAt(other.Point, s.device) {
			return true
		}
	}
	return false
}

// deviceAt reports whether a proven device was at a place.
func (m travels) deviceAt(p greatcircle.Point, device uint32) bool {
	for i := 0; device != 0 && i < m.stops(); i++ {
		if s := m.stop(i); s.device == device && s.Point == p {
			return true
		}
	}
	return false
}

// placeOf returns the first visited place that p belongs to, which is one less than
// the least distance away; −1 if there is none.
func (d *impossibleTravel) placeOf(m travels, p greatcircle.Point) int {
	const perDegree = 111_000 // metres, slightly rounded up
	for i := range m.visited() {
		k := m.place(i).Point
		north := int64(k.Latitude) - int64(p.Latitude)
		if k == p || max(north, -north)*perDegree/1_000_000 < d.least && greatcircle.Distance(k, p) < d.least {
			return i
		}
	}
	return -1
}

func (d *impossibleTravel) isKnown(m travels, place int) bool {
	if place < 0 {
		return false
	}
	v := m.place(place)
	return int(v.visits) >= d.rule.KnownVisits || v.last-v.first >= d.rule.KnownAfter.Milliseconds()
}

// learn counts a visit.
func (d *impossibleTravel) learn(m travels, own Slot, place int) travels {
	if place >= 0 {
		v := m.place(place)
		if d.here.time-v.last >= visitSpacing.Milliseconds() {
			v.last, v.visits = d.here.time, uint8(min(int(v.visits)+1, mostVisits))
			m.putPlace(place, v)
		}
		return m
	}
	if m.visited() == mostVisited {
		m = d.unlearn(m, own, d.leastVisited(m))
	}
	grown := travels(own.Resize(len(m) + visitedSize))
	if grown == nil {
		return m
	}
	n, from := grown.visited(), grown.begin()
	copy(grown[from+visitedSize:], grown[from:len(grown)-visitedSize])
	clear(grown[from : from+visitedSize])
	grown[9]++
	grown.putPlace(n, visited{Point: d.here.Point, first: d.here.time, last: d.here.time, visits: 1})
	return grown
}

// leastVisited returns the place with the oldest last visit, unknown places first.
func (d *impossibleTravel) leastVisited(m travels) (least int) {
	for i := 1; i < m.visited(); i++ {
		known, than := d.isKnown(m, i), d.isKnown(m, least)
		if !known && than || known == than && m.place(i).last < m.place(least).last {
			least = i
		}
	}
	return least
}

// unlearn forgets a visited place.
func (d *impossibleTravel) unlearn(m travels, own Slot, i int) travels {
	copy(m[travelHeader+i*visitedSize:], m[travelHeader+(i+1)*visitedSize:])
	m[9]--
	return own.Resize(len(m) - visitedSize)
}

// remember stores a stop. Of a run of stops at one spot it keeps the first and the
// last, and the last of each device. Beyond the bound the oldest stop is dropped,
// which may be the new one.
func (d *impossibleTravel) remember(m travels, own Slot, at int) {
	switch i := m.redundant(at, &d.here); {
	case i == at:
		return
	case i > at:
		m.removeStops(i-1, 1)
	case i >= 0:
		m.removeStops(i, 1)
		at--
	}
	if extra := m.stops() + 1 - d.rule.Stops; extra > 0 {
		if at < extra {
			m.removeStops(0, extra-1)
			return
		}
		m.removeStops(0, extra)
		at -= extra
	}
	n := m.stops()
	if n == m.room() {
		grown := travels(own.Resize(len(m) + stopSize))
		if grown == nil {
			return
		}
		m = grown
	}
	from := m.begin() + at*stopSize
	copy(m[from+stopSize:], m[from:m.begin()+n*stopSize])
	m[10]++
	m.putStop(at, &d.here)
}

// redundant finds the stop that need not be kept, in the list with s inserted at at;
// −1 if there is none. There is at most one, because there was none before.
func (m travels) redundant(at int, s *stop) int {
	first, last := at, at // of the run
	for first > 0 && m.stop(first-1).sameSpot(s) {
		first--
	}
	for last < m.stops() && m.stop(last).sameSpot(s) {
		last++
	}
	device := func(i int) uint32 {
		switch {
		case i < at:
			return m.device(i)
		case i > at:
			return m.device(i - 1)
		}
		return s.device
	}
	for i := first + 1; i < last; i++ {
		for later := i + 1; later <= last; later++ {
			if device(i) == device(later) {
				return i
			}
		}
	}
	return -1
}

// evidence describes a finding as evidence.
func (d *impossibleTravel) evidence(list []facet.Evidence, f *finding) []facet.Evidence {
	from, to := f.from, f.to
	list = append(list,
		facet.Number("speed_kmh", f.beyond*(msPerHour/1000)/max(f.elapsed, 1)),
		facet.Number("threshold_kmh", d.rule.Tiers[f.tier].Speed),
		facet.Number("distance_km", f.distance/1000),
		facet.Number("beyond_radii_km", f.beyond/1000),
		facet.Number("elapsed_ms", f.elapsed),
		facet.Place("from", int64(from.Latitude), int64(from.Longitude), d.radius(from)),
		facet.Place("to", int64(to.Latitude), int64(to.Longitude), d.radius(to)),
		facet.EventAt("from_event", from.source, from.offset, from.time),
		facet.EventAt("to_event", to.source, to.offset, to.time))
	if code := countryCode(from.country); code != "" {
		list = append(list, facet.Text("from_country", code))
	}
	if code := countryCode(to.country); code != "" {
		list = append(list, facet.Text("to_country", code))
	}
	if f.lowered != 0 {
		list = append(list, facet.Text("lowered_by", lowerings[f.lowered]))
	}
	return list
}

// lowerings are the texts for the reasons for a lower weight.
var lowerings = [8]string{
	byWeakNetwork:                                "weak network",
	bySameDevice:                                 "same device",
	byKnownPlaces:                                "known places",
	byWeakNetwork | bySameDevice:                 "weak network, same device",
	byWeakNetwork | byKnownPlaces:                "weak network, known places",
	bySameDevice | byKnownPlaces:                 "same device, known places",
	byWeakNetwork | bySameDevice | byKnownPlaces: "weak network, same device, known places",
}

// countryCodes holds all pairs of letters, so that a code needs no allocation.
var countryCodes = func() string {
	var b []byte
	for first := byte('A'); first <= 'Z'; first++ {
		for second := byte('A'); second <= 'Z'; second++ {
			b = append(b, first, second)
		}
	}
	return string(b)
}()

// countryCode returns a code as text; "" if it is not a valid code.
func countryCode(c [2]byte) string {
	if c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z' {
		return ""
	}
	i := 2 * (26*int(c[0]-'A') + int(c[1]-'A'))
	return countryCodes[i : i+2]
}

// Fit implements Detector. If former settings allowed more stops, the oldest are
// dropped.
func (d *impossibleTravel) Fit(payload []byte) ([]byte, bool) {
	m := travels(payload)
	if !m.valid() {
		return nil, false
	}
	if most := m.begin() + d.rule.Stops*stopSize; len(m) > most {
		m.removeStops(0, max(m.stops()-d.rule.Stops, 0))
		m = m[:most]
	}
	return m, true
}

// valid reports whether the payload has the detector's format.
func (m travels) valid() bool {
	if len(m) < travelHeader || m.visited() > mostVisited || len(m) < m.begin() || (len(m)-m.begin())%stopSize != 0 ||
		m.room() > mostStops || m.stops() > m.room() {
		return false
	}
	for i := range m.visited() {
		if v := m.place(i); !onEarth(int64(v.Latitude), int64(v.Longitude)) || v.first > v.last || v.visits == 0 {
			return false
		}
	}
	for i := range m.stops() {
		s := m.stop(i)
		if !onEarth(int64(s.Latitude), int64(s.Longitude)) || s.radius > mostRadius || s.flags&^stopFlags != 0 || i > 0 && s.time < m.time(i-1) {
			return false
		}
	}
	return true
}

// onEarth reports whether micro-degrees are valid coordinates.
func onEarth(latitude, longitude int64) bool {
	return max(latitude, -latitude) <= 90_000_000 && max(longitude, -longitude) <= 180_000_000
}

// Explain implements Detector. It gives the distance beyond the radii between the
// event's place and the one before it, and the distance required. If the event is
// not among the stops, it uses the entity's last stop.
func (d *impossibleTravel) Explain(payload []byte, at int64) (x Explanation) {
	m := travels(payload)
	here, from := -1, -1
	x.Last = x.First - 1
	if m != nil {
		last := m.after(at) - 1
		if last >= 0 && m.time(last) == at {
			here, last = last, last-1
		}
		for from = last; from >= 0 && d.trustedAt(m, from); from-- {
		}
		x.Held = append(x.Held, facet.Number("stops", int64(m.stops())), facet.Number("known_places", int64(d.knownPlaces(m))))
	}
	var l leg
	if from >= 0 {
		s := m.stop(from)
		l = leg{elapsed: at - s.time, tier: -1}
		if here >= 0 {
			to := m.stop(here)
			l = d.leg(&s, &to)
		}
		x.First, x.Last = s.time, at
		x.Held = append(x.Held,
			facet.Place("from", int64(s.Latitude), int64(s.Longitude), d.radius(&s)),
			facet.EventAt("from_event", s.source, s.offset, s.time),
			facet.Number("elapsed_ms", l.elapsed))
	}
	for i, t := range d.rule.Tiers {
		demand := Demand{Tier: i, Weight: t.Weight, What: "stops", Need: 1}
		if from >= 0 {
			demand.What, demand.Have, demand.Need = "beyond_radii_km", max(l.beyond, 0)/1000, d.outOfReach(t.Speed, l.elapsed)
			if l.tier >= i {
				demand.Need = min(demand.Need, demand.Have) // the comparison is in metres
			}
		}
		x.Demands = append(x.Demands, demand)
	}
	if from >= 0 && l.tier >= 0 && m.firedWeight() > 0 && at-m.firedAt() < d.cooldown {
		x.HeldBack = append(x.HeldBack, HeldBack{Tier: l.tier, By: "cooldown", Until: m.firedAt() + d.cooldown})
	}
	return x
}

func (d *impossibleTravel) trustedAt(m travels, i int) bool {
	s := m.stop(i)
	return s.is(trustedFrom)
}

// outOfReach returns the distance beyond the radii, in km, that requires at least
// this speed. It may exceed the distance of any two places.
func (d *impossibleTravel) outOfReach(speed, elapsed int64) int64 {
	elapsed = min(elapsed, d.longest+1)
	return max(d.rule.LeastDistance, (speed*elapsed+msPerHour-1)/msPerHour)
}

func (d *impossibleTravel) knownPlaces(m travels) (n int) {
	for i := range m.visited() {
		if d.isKnown(m, i) {
			n++
		}
	}
	return n
}
