package oracle

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// journey is the state of one rule for one entity, as described in
// docs/detectors/impossible_travel.md.
type journey struct {
	rule   *detectors.ImpossibleTravel
	hasher facet.Hasher

	stops   []*stay   // in order of time; those of the same time in order of arrival
	visited []*visits // in order of their first visit
	weight  uint8     // of the last firing; 0: none
	lastAt  int64
}

// stay is an event at a place.
type stay struct {
	arrival
	latitude, longitude, radius int64 // micro-degrees, km
	address, device             uint32
	weak, from, to              bool // results of the rule's conditions
	plausible                   bool
	country                     string
}

// visits are the visits of one place.
type visits struct {
	latitude, longitude int64
	first, last         int64
	count               int
}

func (j *journey) change(s rules.Spec) {
	j.rule = s.(*detectors.ImpossibleTravel)
	j.cut()
}

func (j *journey) arrive(a arrival) (*firing, bool) {
	if !a.event.Has(event.Latitude) || !a.event.Has(event.Longitude) || j.holds(j.rule.Ignored, a.event) {
		return nil, false
	}
	s := j.stay(a)
	if a.watermark != facet.NoWatermark {
		closed := a.watermark - a.lateness - j.rule.Memory.Milliseconds()
		j.stops = slices.DeleteFunc(j.stops, func(s *stay) bool { return s.time <= closed })
		j.visited = slices.DeleteFunc(j.visited, func(v *visits) bool { return v.last <= closed })
	}
	s.plausible = j.plausible(s)
	f := j.fire(s, j.worst(s))
	if s.plausible {
		j.visit(s)
	}
	j.remember(s)
	return f, true
}

func (j *journey) holds(c *rules.Condition, e *event.Event) bool { return c != nil && c.Holds(e) }

func (j *journey) stay(a arrival) *stay {
	e := a.event
	s := &stay{
		arrival: a, latitude: e.Num(event.Latitude), longitude: e.Num(event.Longitude), radius: e.Num(event.GeoRadius),
		address: j.number(e.Text(event.ClientIP)), country: country(e.Text(event.Country)),
		weak: j.holds(j.rule.Weak, e), from: j.holds(j.rule.TrustedFrom, e), to: j.holds(j.rule.TrustedTo, e),
	}
	if e.Text(event.Signature) == "valid" || e.Text(event.Attestation) == "passed" {
		s.device = j.number(e.Text(event.Device))
	}
	s.event = nil // invalid after this
	return s
}

// country returns a code of two capital letters, or nothing.
func country(code string) string {
	if len(code) != 2 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return ""
	}
	return strings.Clone(code)
}

// number identifies a text by 32 bits of its keyed hash; 0 means none.
func (j *journey) number(s string) uint32 {
	if s == "" {
		return 0
	}
	if n := uint32(j.hasher.Text(s)); n != 0 {
		return n
	}
	return 1
}

// before lists the stops up to the time of s, the last first; after lists the later
// ones.
func (j *journey) before(s *stay) (all []*stay) {
	for _, o := range j.stops {
		if o.time <= s.time {
			all = append(all, o)
		}
	}
	slices.Reverse(all)
	return all
}

func (j *journey) after(s *stay) (all []*stay) {
	for _, o := range j.stops {
		if o.time > s.time {
			all = append(all, o)
		}
	}
	return all
}

func (j *journey) plausible(s *stay) bool {
	if j.known(s) {
		return true
	}
	for _, o := range j.before(s) {
		if o.plausible && !o.from {
			t := j.travel(o, s)
			return t.tier < 0 || j.oneDevice(t, append(slices.Clone(j.stops), s))
		}
	}
	return true
}

// travel is the journey from one stay to a later one.
type travel struct {
	from, to         *stay
	distance, beyond int64 // metres
	tier             int   // −1: plausible
	weight           uint8
	lowered          string
}

func (j *journey) travel(from, to *stay) *travel {
	t := &travel{from: from, to: to, tier: -1}
	t.distance = metresBetween(from.latitude, from.longitude, to.latitude, to.longitude)
	t.beyond = t.distance - 1000*j.radius(from) - 1000*j.radius(to)
	switch {
	case from.address != 0 && from.address == to.address:
	case from.from || to.to:
	case t.beyond < 1000*j.rule.LeastDistance:
	default:
		for i, tier := range j.rule.Tiers {
			covered := new(big.Int).Mul(big.NewInt(3600), big.NewInt(t.beyond))
			reached := new(big.Int).Mul(big.NewInt(tier.Speed), new(big.Int).Sub(big.NewInt(to.time), big.NewInt(from.time)))
			if covered.Cmp(reached) >= 0 {
				t.tier = i
			}
		}
	}
	return t
}

func (j *journey) radius(s *stay) int64 {
	r := s.radius
	if r == 0 {
		r = j.rule.UnknownRadius
	}
	if s.weak && r < j.rule.WeakRadius {
		r = j.rule.WeakRadius
	}
	return r
}

// worst returns the travel to or from s with the greatest weight; nil if none has
// any.
func (j *journey) worst(s *stay) (worst *travel) {
	var all []*travel
	if !s.to {
		i := slices.IndexFunc(j.before(s), func(o *stay) bool { return !o.from })
		if i >= 0 {
			all = append(all, j.travel(j.before(s)[i], s))
		}
	}
	if !s.from {
		i := slices.IndexFunc(j.after(s), func(o *stay) bool { return !o.to })
		if i >= 0 {
			all = append(all, j.travel(s, j.after(s)[i]))
		}
	}
	for _, t := range all {
		if t.tier >= 0 {
			j.weigh(t, s)
		}
		if t.weight > 0 && (worst == nil || t.weight > worst.weight) {
			worst = t
		}
	}
	return worst
}

func (j *journey) weigh(t *travel, arriving *stay) {
	weight := big.NewRat(int64(j.rule.Tiers[t.tier].Weight), 1)
	lower := func(by string, percent int) {
		weight.Mul(weight, big.NewRat(int64(percent), 100))
		if t.lowered != "" {
			t.lowered += ", "
		}
		t.lowered += by
	}
	if t.from.weak || t.to.weak {
		lower("weak network", j.rule.WeakPercent)
	}
	if j.oneDevice(t, append(slices.Clone(j.stops), arriving)) {
		lower("same device", j.rule.DevicePercent)
	}
	if j.known(t.from) && j.known(t.to) {
		lower("known places", j.rule.KnownPercent)
	}
	t.weight = uint8(new(big.Int).Div(weight.Num(), weight.Denom()).Int64())
}

// oneDevice reports whether the same proven device was at both ends.
func (j *journey) oneDevice(t *travel, all []*stay) bool {
	at := func(end *stay) map[uint32]bool {
		devices := map[uint32]bool{}
		for _, s := range all {
			if s.device != 0 && s.latitude == end.latitude && s.longitude == end.longitude {
				devices[s.device] = true
			}
		}
		return devices
	}
	from := at(t.from)
	for d := range at(t.to) {
		if from[d] {
			return true
		}
	}
	return false
}

// fire holds a firing back during the cooldown unless it weighs more than the last
// one.
func (j *journey) fire(s *stay, t *travel) *firing {
	if t == nil || t.weight <= j.weight && s.time-j.lastAt < j.rule.Cooldown.Milliseconds() {
		return nil
	}
	j.weight, j.lastAt = t.weight, s.time
	elapsed := t.to.time - t.from.time
	f := &firing{tier: t.tier, weight: t.weight, evidence: []facet.Evidence{
		facet.Number("speed_kmh", 3600*t.beyond/max(elapsed, 1)),
		facet.Number("threshold_kmh", j.rule.Tiers[t.tier].Speed),
		facet.Number("distance_km", t.distance/1000),
		facet.Number("beyond_radii_km", t.beyond/1000),
		facet.Number("elapsed_ms", elapsed),
		facet.Place("from", t.from.latitude, t.from.longitude, j.radius(t.from)),
		facet.Place("to", t.to.latitude, t.to.longitude, j.radius(t.to)),
		facet.EventAt("from_event", t.from.source, t.from.offset, t.from.time),
		facet.EventAt("to_event", t.to.source, t.to.offset, t.to.time),
	}}
	for _, text := range [][2]string{{"from_country", t.from.country}, {"to_country", t.to.country}, {"lowered_by", t.lowered}} {
		if text[1] != "" {
			f.evidence = append(f.evidence, facet.Text(text[0], text[1]))
		}
	}
	return f
}

// place returns the visited place that s belongs to; nil if there is none.
func (j *journey) place(s *stay) *visits {
	for _, v := range j.visited {
		if metresBetween(v.latitude, v.longitude, s.latitude, s.longitude) < 1000*j.rule.LeastDistance {
			return v
		}
	}
	return nil
}

func (j *journey) known(s *stay) bool {
	v := j.place(s)
	return v != nil && j.often(v)
}

func (j *journey) often(v *visits) bool {
	return v.count >= j.rule.KnownVisits || v.last-v.first >= j.rule.KnownAfter.Milliseconds()
}

// visit counts a visit, at most one per hour.
func (j *journey) visit(s *stay) {
	const hour, most = 3_600_000, 10
	if v := j.place(s); v != nil {
		if s.time-v.last >= hour {
			v.last, v.count = s.time, v.count+1
		}
		return
	}
	if len(j.visited) == most {
		goes := slices.MinFunc(j.visited, func(a, b *visits) int {
			if known := j.often(a); known != j.often(b) {
				if known {
					return 1
				}
				return -1
			}
			return cmp.Compare(a.last, b.last)
		})
		j.visited = slices.DeleteFunc(j.visited, func(v *visits) bool { return v == goes })
	}
	j.visited = append(j.visited, &visits{s.latitude, s.longitude, s.time, s.time, 1})
}

// remember stores s, and forgets stops according to the documentation.
func (j *journey) remember(s *stay) {
	j.stops = slices.Insert(j.stops, len(j.before(s)), s)
	for i := 0; i < len(j.stops); i++ {
		if j.redundant(i) {
			j.stops = slices.Delete(j.stops, i, i+1)
			i = -1
		}
	}
	j.cut()
}

// cut forgets the oldest stops that exceed the bound.
func (j *journey) cut() {
	if extra := len(j.stops) - j.rule.Stops; extra > 0 {
		j.stops = j.stops[extra:]
	}
}

// redundant reports whether a stop is inside a run at one spot and is not the last
// of its device there.
func (j *journey) redundant(i int) bool {
	spot := func(k int) bool {
		a, b := j.stops[i], j.stops[k]
		return a.latitude == b.latitude && a.longitude == b.longitude && a.radius == b.radius &&
			a.weak == b.weak && a.from == b.from && a.to == b.to
	}
	if i == 0 || !spot(i-1) {
		return false
	}
	for k := i + 1; k < len(j.stops) && spot(k); k++ {
		if j.stops[k].device == j.stops[i].device {
			return true
		}
	}
	return false
}

const earth = 6_371_009 // metres

// metresBetween returns the great-circle distance, rounded to the nearest metre. The
// float64 result is off by less than a millimetre. If that leaves a choice between
// two metres, it is computed with 200 bits.
func metresBetween(lat1, lon1, lat2, lon2 int64) int64 {
	if lat1 == lat2 && lon1 == lon2 {
		return 0
	}
	a, b := onSphere(lat1, lon1), onSphere(lat2, lon2)
	var apart, together float64 // squares of a−b and a+b
	for i := range a {
		apart, together = apart+(a[i]-b[i])*(a[i]-b[i]), together+(a[i]+b[i])*(a[i]+b[i])
	}
	d := 2 * earth * math.Atan2(math.Sqrt(apart), math.Sqrt(together))
	if math.Abs(d-math.Floor(d)-0.5) > 0.001 {
		return int64(math.Floor(d + 0.5))
	}
	return newSphere().metresBetween(lat1, lon1, lat2, lon2)
}

func onSphere(lat, lon int64) [3]float64 {
	sinLat, cosLat := math.Sincos(float64(lat) * math.Pi / 180e6)
	sinLon, cosLon := math.Sincos(float64(lon) * math.Pi / 180e6)
	return [3]float64{cosLat * cosLon, cosLat * sinLon, sinLat}
}

// sphere computes with 200 bits.
type sphere struct{ pi *big.Float }

func wide(x float64) *big.Float        { return new(big.Float).SetPrec(200).SetFloat64(x) }
func plus(a, b *big.Float) *big.Float  { return wide(0).Add(a, b) }
func times(a, b *big.Float) *big.Float { return wide(0).Mul(a, b) }
func over(a, b *big.Float) *big.Float  { return wide(0).Quo(a, b) }

// newSphere computes π as 4·arctan 1.
func newSphere() sphere { return sphere{times(wide(4), arcTangent(wide(1), wide(1)))} }

func (s sphere) metresBetween(lat1, lon1, lat2, lon2 int64) int64 {
	a, b := s.point(lat1, lon1), s.point(lat2, lon2)
	apart, together := wide(0), wide(0)
	for i := range a {
		less, more := wide(0).Sub(a[i], b[i]), plus(a[i], b[i])
		apart, together = plus(apart, times(less, less)), plus(together, times(more, more))
	}
	d := times(wide(2*earth), arcTangent(wide(0).Sqrt(apart), wide(0).Sqrt(together)))
	nearest, _ := plus(d, wide(0.5)).Int64()
	return nearest
}

func (s sphere) point(lat, lon int64) [3]*big.Float {
	sinLat, cosLat := s.sineCosine(lat)
	sinLon, cosLon := s.sineCosine(lon)
	return [3]*big.Float{times(cosLat, cosLon), times(cosLat, sinLon), sinLat}
}

// sineCosine sums the series of e^ix.
func (s sphere) sineCosine(micro int64) (sine, cosine *big.Float) {
	x := over(times(wide(float64(micro)), s.pi), wide(180e6))
	parts := [2]*big.Float{wide(0), wide(0)} // even and odd powers
	term := wide(1)
	for k := range 70 {
		if k%4 < 2 {
			parts[k%2] = plus(parts[k%2], term)
		} else {
			parts[k%2] = wide(0).Sub(parts[k%2], term)
		}
		term = over(times(term, x), wide(float64(k+1)))
	}
	return parts[1], parts[0]
}

// arcTangent computes the angle of y/x: it halves the angle ten times, and sums the
// series for the rest.
func arcTangent(y, x *big.Float) *big.Float {
	for range 10 {
		x = plus(x, wide(0).Sqrt(plus(times(x, x), times(y, y))))
	}
	t := over(y, x)
	sum, power, square := wide(0), t, times(t, t)
	for k := range 14 {
		sum = plus(sum, over(power, wide(float64(2*k+1))))
		power = wide(0).Neg(times(power, square))
	}
	return times(sum, wide(1<<10))
}
