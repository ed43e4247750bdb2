package detectors_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/greatcircle"
	"github.com/weirdev/weir/rules"
)

const hour = 3_600_000 // ms

// seen is an event at a place.
type seen struct {
	at        int64 // Unix ms
	place     [3]int64
	ip        string
	device    string
	signed    bool
	network   string // of the anonymiser
	asn       int64
	watermark int64 // 0: none yet
}

var (
	berlin  = [3]int64{52_520_000, 13_405_000, 10}
	potsdam = [3]int64{52_396_000, 13_058_000, 10} // 27 km from Berlin
	hamburg = [3]int64{53_551_100, 9_993_700, 10}  // 255 km
	lagos   = [3]int64{6_524_400, 3_379_200, 20}   // 5,208 km
	tokyo   = [3]int64{35_676_200, 139_650_300, 20}
)

func asn(numbers ...int64) *rules.Condition {
	return &rules.Condition{Holds: func(e *event.Event) bool { return slices.Contains(numbers, e.Num(event.ASN)) }, Fields: []event.Field{event.ASN}, Canonical: "asn"}
}

// travel returns a rule with default parameters and two tiers.
func travel(change func(*detectors.ImpossibleTravel)) *rules.Rule {
	day := 24 * time.Hour
	s := &detectors.ImpossibleTravel{
		LeastDistance: 50, UnknownRadius: 100, WeakRadius: 300, WeakPercent: 50, DevicePercent: 40,
		KnownVisits: 10, KnownAfter: 14 * day, Stops: 20, Memory: 30 * day, Cooldown: time.Hour,
		Ignored: &rules.Condition{Holds: func(e *event.Event) bool { return e.Text(event.Anonymiser) != "" }},
		Tiers:   []detectors.SpeedTier{{Speed: 900, Weight: 40}, {Speed: 3000, Weight: 60}},
	}
	if change != nil {
		change(s)
	}
	return &rules.Rule{ID: "r", Spec: s}
}

// journey runs a rule on one account, event by event.
type journey struct {
	t *testing.T
	d detectors.Detector
	s slot
	n int64 // events so far
	f detectors.Firing
}

func newJourney(t *testing.T, r *rules.Rule) *journey { return &journey{t: t, d: newDetector(t, r)} }

// see returns the weight of the firing; 0 if nothing fires.
func (j *journey) see(a seen) uint8 {
	j.t.Helper()
	var e event.Event
	e.SetNum(event.Latitude, a.place[0])
	e.SetNum(event.Longitude, a.place[1])
	e.SetNum(event.GeoRadius, a.place[2])
	for _, of := range []struct {
		f    event.Field
		text string
	}{{event.ClientIP, a.ip}, {event.Device, a.device}, {event.Anonymiser, a.network}} {
		if of.text != "" {
			e.SetText(of.f, of.text)
		}
	}
	if a.signed {
		e.SetText(event.Signature, "valid")
	}
	e.SetNum(event.ASN, a.asn)
	c := detectors.Context{Event: &e, Source: 3, Offset: 100 + j.n, Time: a.at, Watermark: math.MinInt64, Own: &j.s}
	if a.watermark != 0 {
		c.Watermark, c.Late = a.watermark, a.at < a.watermark-lateness
	}
	j.n++
	fired := j.d.Apply(&c, &j.f)
	if _, ok := j.d.Fit(bytes.Clone(j.s.payload)); j.s.payload != nil && !ok {
		j.t.Fatalf("not of its own form: % x", j.s.payload)
	}
	if !fired {
		return 0
	}
	return j.f.Weight
}

func (j *journey) want(weight uint8, why string, a seen) {
	j.t.Helper()
	if got := j.see(a); got != weight {
		j.t.Errorf("%s: weight %d, want %d", why, got, weight)
	}
}

// cityPair is a line of testdata/impossible_travel/city_pairs.tsv.
type cityPair struct {
	name     string
	from, to [3]int64
	seconds  int64
	beyond   float64 // km
	tier     int64   // km/h; 0: none
}

func cityPairs(t *testing.T) (all []cityPair) {
	text, err := os.ReadFile("testdata/impossible_travel/city_pairs.tsv")
	if err != nil {
		t.Fatal(err)
	}
	number := func(s string) float64 {
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	place := func(f []string) [3]int64 {
		return [3]int64{int64(math.Round(1e6 * number(f[0]))), int64(math.Round(1e6 * number(f[1]))), int64(number(f[2]))}
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), "\t")
		all = append(all, cityPair{
			name: f[0] + " to " + f[4], from: place(f[1:]), to: place(f[5:]),
			seconds: int64(number(f[8])), beyond: number(f[9]), tier: int64(number(f[11])),
		})
	}
	return all
}

// textbook returns the tier that a pair reaches by the haversine formula in float64.
func (p cityPair) textbook() (beyond float64, tier int64) {
	rad := func(micro int64) float64 { return float64(micro) / 180e6 * math.Pi }
	half := func(x float64) float64 { return math.Pow(math.Sin(x/2), 2) }
	h := half(rad(p.to[0]-p.from[0])) + math.Cos(rad(p.from[0]))*math.Cos(rad(p.to[0]))*half(rad(p.to[1]-p.from[1]))
	beyond = 2*6371.009*math.Asin(math.Sqrt(h)) - float64(p.from[2]+p.to[2])
	for _, speed := range []int64{900, 3000} {
		if beyond >= 50 && beyond/float64(p.seconds)*3600 >= float64(speed) {
			tier = speed
		}
	}
	return beyond, tier
}

// TestCityPairs checks that those of 200 pairs of cities fire that the formula
// predicts, in either order, and mixed with all others.
func TestCityPairs(t *testing.T) {
	pairs := cityPairs(t)
	if len(pairs) != 200 {
		t.Fatalf("%d pairs", len(pairs))
	}
	weights := map[int64]uint8{0: 0, 900: 40, 3000: 60}
	fired := map[uint8]int{}
	for _, p := range pairs {
		beyond, tier := p.textbook()
		if math.Abs(beyond-p.beyond) > 0.001 || tier != p.tier {
			t.Fatalf("%s: %.3f km, %d km/h; the file has %.3f, %d", p.name, beyond, tier, p.beyond, p.tier)
		}
		a, b := seen{at: start, place: p.from}, seen{at: start + 1000*p.seconds, place: p.to}
		for _, order := range [][2]seen{{a, b}, {b, a}} {
			j := newJourney(t, travel(nil))
			j.want(0, p.name+", the first event", order[0])
			j.want(weights[tier], p.name, order[1])
			if tier > 0 {
				j.evidence(p)
			}
		}
		fired[weights[tier]]++
	}
	if fired[0] < 80 || fired[40] < 20 || fired[60] < 40 {
		t.Errorf("the pairs do not show enough of each tier: %v", fired)
	}

	// All at once, each with its own account, in random order.
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var all []int
		for i := range pairs {
			all = append(all, 2*i, 2*i+1)
		}
		rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		journeys, got := make([]*journey, len(pairs)), make([]uint8, len(pairs))
		for _, n := range all {
			p := pairs[n/2]
			if journeys[n/2] == nil {
				journeys[n/2] = newJourney(t, travel(nil))
			}
			a := seen{at: start, place: p.from}
			if n%2 == 1 {
				a = seen{at: start + 1000*p.seconds, place: p.to}
			}
			got[n/2] += journeys[n/2].see(a)
		}
		for i, p := range pairs {
			if got[i] != weights[p.tier] {
				t.Errorf("seed %d: %s: weight %d, want %d", seed, p.name, got[i], weights[p.tier])
			}
		}
	}
}

// evidence checks the evidence of a pair that fired.
func (j *journey) evidence(p cityPair) {
	j.t.Helper()
	numbers := map[string]int64{}
	for _, e := range j.f.Evidence {
		switch e.Name {
		case "from", "to":
			if want := map[string][3]int64{"from": p.from, "to": p.to}[e.Name]; e.Values != want {
				j.t.Errorf("%s: %s %v, want %v", p.name, e.Name, e.Values, want)
			}
		default:
			numbers[e.Name] = e.Values[0]
		}
	}
	kmh := p.beyond / float64(p.seconds) * 3600
	if math.Abs(float64(numbers["speed_kmh"])-kmh) > 1+kmh/1e5 || numbers["threshold_kmh"] != p.tier ||
		numbers["beyond_radii_km"] != int64(p.beyond) || numbers["elapsed_ms"] != 1000*p.seconds ||
		numbers["distance_km"]-numbers["beyond_radii_km"] != p.from[2]+p.to[2] {
		j.t.Errorf("%s: %v, want %.2f km/h over %.3f km in %d s", p.name, numbers, kmh, p.beyond, p.seconds)
	}
}

// Along the equator distances can be set to the metre, so edges can be hit to the
// metre and the millisecond.
func TestEdges(t *testing.T) {
	// away returns the point this many metres east of the origin.
	away := func(metres, radius int64) [3]int64 {
		east := int64(0)
		for step := int64(1 << 27); step > 0; step >>= 1 {
			if greatcircle.Distance(greatcircle.Point{}, greatcircle.Point{Longitude: int32(min(east+step, 180_000_000))}) < metres {
				east += step
			}
		}
		return [3]int64{0, east + 1, radius}
	}
	origin := [3]int64{0, 0, 10}
	for _, c := range []struct {
		name   string
		metres int64 // from the origin
		radius int64
		after  int64 // ms
		want   uint8
	}{
		{"just the speed", 135_000, 35, 360_000, 40}, // 90 km in 6 minutes
		{"a metre short of it", 135_000 - 1, 35, 360_000, 0},
		{"a millisecond too slow", 135_000, 35, 360_001, 0},
		{"a millisecond faster", 135_000, 35, 359_999, 40},
		{"just the next tier", 135_000, 35, 108_000, 60},
		{"a millisecond below it", 135_000, 35, 108_001, 40},
		{"just the least distance", 95_000, 35, 1000, 60},
		{"a metre below it", 95_000 - 1, 35, 1000, 0},
		{"within the radii", 95_000, 100, 0, 0},
		{"at one moment", 95_000, 35, 0, 60},
		{"a place of unknown radius", 160_000, 0, 1000, 60}, // 100 km is assumed
		{"a metre below it", 160_000 - 1, 0, 1000, 0},
		{"half of the globe in 22 hours", 20_015_000, 10, 22 * hour, 40},
		{"half of the globe in 23 hours", 20_015_000, 10, 23 * hour, 0},
	} {
		there := away(c.metres, c.radius)
		for _, order := range [][2]seen{
			{{at: start, place: origin}, {at: start + c.after, place: there}},
			{{at: start + c.after, place: there}, {at: start, place: origin}},
		} {
			j := newJourney(t, travel(nil))
			j.want(0, c.name, order[0])
			j.want(c.want, c.name, order[1])
		}
	}
}

func TestNetworks(t *testing.T) {
	at := func(minutes int64, a seen) seen { a.at = start + minutes*60_000; return a }
	all := func(s *detectors.ImpossibleTravel) { s.Weak, s.TrustedFrom, s.TrustedTo = asn(1), asn(2, 4), asn(3, 4) }
	for _, c := range []struct {
		name   string
		events []seen
		want   []uint8
	}{
		{"nothing special", []seen{{place: berlin}, {place: lagos}}, []uint8{0, 60}},
		{"through a VPN", []seen{{place: berlin}, {place: lagos, network: "vpn"}}, []uint8{0, 0}},
		{"from a VPN back home", []seen{{place: lagos, network: "tor"}, {place: berlin}}, []uint8{0, 0}},
		{"a VPN does not hide what came before it", []seen{{place: berlin}, {place: tokyo, network: "vpn"}, {place: lagos}}, []uint8{0, 0, 60}},
		{"a weak network arrives", []seen{{place: berlin}, {place: lagos, asn: 1}}, []uint8{0, 30}},
		{"a weak network was before", []seen{{place: lagos, asn: 1}, {place: berlin}}, []uint8{0, 30}},
		{"a weak network near by", []seen{{place: berlin}, {place: hamburg, asn: 1}}, []uint8{0, 0}},
		{"leaving a network that may be left", []seen{{place: berlin, asn: 2}, {place: lagos}}, []uint8{0, 0}},
		{"reaching a network that may be left", []seen{{place: berlin}, {place: lagos, asn: 2}}, []uint8{0, 60}},
		{"reaching a network that may be reached", []seen{{place: berlin}, {place: lagos, asn: 3}}, []uint8{0, 0}},
		{"leaving a network that may be reached", []seen{{place: berlin, asn: 3}, {place: lagos}}, []uint8{0, 60}},
		{"a trusted stop hides nothing", []seen{{place: berlin}, {place: tokyo, asn: 4}, {place: lagos}}, []uint8{0, 0, 60}},
		{"the same address", []seen{{place: berlin, ip: "192.0.2.1"}, {place: lagos, ip: "192.0.2.1"}}, []uint8{0, 0}},
		{"another address", []seen{{place: berlin, ip: "192.0.2.1"}, {place: lagos, ip: "192.0.2.2"}}, []uint8{0, 60}},
		{"the same device with proof", []seen{{place: berlin, device: "d", signed: true}, {place: lagos, device: "d", signed: true}}, []uint8{0, 24}},
		{"the same device without proof", []seen{{place: berlin, device: "d", signed: true}, {place: lagos, device: "d"}}, []uint8{0, 60}},
		{"another device with proof", []seen{{place: berlin, device: "d", signed: true}, {place: lagos, device: "e", signed: true}}, []uint8{0, 60}},
		{"the same device, and another in between", []seen{
			{place: berlin, device: "d", signed: true}, {place: berlin, device: "e", signed: true}, {place: lagos, device: "d", signed: true}}, []uint8{0, 0, 24}},
		{"a weak network, and the same device", []seen{{place: berlin, asn: 1, device: "d", signed: true}, {place: lagos, device: "d", signed: true}}, []uint8{0, 12}},
	} {
		j := newJourney(t, travel(all))
		for i, a := range c.events {
			j.want(c.want[i], fmt.Sprintf("%s, event %d", c.name, i), at(int64(6*i), a))
		}
	}
}

func TestKnownPlaces(t *testing.T) {
	// commute alternates between home and a distant place, at a plausible speed.
	commute := func(j *journey, turns int) (end int64) {
		for i := range int64(turns) {
			j.want(0, "home", seen{at: start + i*48*hour, place: berlin})
			j.want(0, "away", seen{at: start + i*48*hour + 24*hour, place: lagos})
		}
		return start + int64(turns)*48*hour
	}
	slow := func(s *detectors.ImpossibleTravel) { s.KnownAfter = 300 * 24 * time.Hour; s.Memory = s.KnownAfter }

	j := newJourney(t, travel(slow))
	end := commute(j, 10)
	j.want(0, "both are known", seen{at: end, place: berlin})
	j.want(0, "both are known", seen{at: end + 60_000, place: lagos})
	j.want(60, "the third is not", seen{at: end + 120_000, place: tokyo})

	j = newJourney(t, travel(slow))
	end = commute(j, 9)
	j.want(0, "ten visits", seen{at: end, place: berlin})
	j.want(60, "nine visits", seen{at: end + 60_000, place: lagos})

	j = newJourney(t, travel(nil))
	end = commute(j, 8) // 14 days
	j.want(0, "both are known", seen{at: end, place: potsdam})
	j.want(0, "both are known", seen{at: end + 60_000, place: lagos})

	j = newJourney(t, travel(func(s *detectors.ImpossibleTravel) { slow(s); s.KnownPercent = 50 }))
	end = commute(j, 10)
	j.want(0, "home", seen{at: end, place: berlin})
	j.want(30, "half of the weight", seen{at: end + 60_000, place: lagos})

	// Requests that are not visits teach nothing.
	j = newJourney(t, travel(slow))
	for i := range int64(50) {
		j.want(0, "home", seen{at: start + i*60_000, place: berlin})
		j.want(0, "away", seen{at: start + i*60_000 + 48*hour, place: lagos})
	}
	j.want(60, "one visit", seen{at: start + 48*hour + 51*60_000, place: berlin})
}

// TestAnIntruderIsNotLearned checks that, however often the intruder comes while the
// owner is active.
func TestAnIntruderIsNotLearned(t *testing.T) {
	j := newJourney(t, travel(func(s *detectors.ImpossibleTravel) { s.KnownVisits = 3; s.Cooldown = time.Second }))
	for i := range int64(200) {
		at := start + i*2*hour
		j.see(seen{at: at, place: berlin})
		j.want(60, "the intruder", seen{at: at + 60_000, place: lagos})
		j.want(0, "the intruder again", seen{at: at + 120_000, place: lagos})
	}
	// Once the owner stays away, the place is learned.
	for i := range int64(4) {
		j.see(seen{at: start + (400+24*i)*hour, place: lagos})
	}
	j.want(0, "home and a place that is known by now", seen{at: start + 480*hour, place: berlin})
	j.want(0, "home and a place that is known by now", seen{at: start + 480*hour + 60_000, place: lagos})
}

// TestADeviceThatProvesItselfTeachesPlaces covers a phone that moves from the
// wireless network at home to its operator's gateway elsewhere, and back.
func TestADeviceThatProvesItselfTeachesPlaces(t *testing.T) {
	for _, c := range []struct {
		signed bool
		want   uint8
	}{{true, 0}, {false, 60}} {
		j := newJourney(t, travel(func(s *detectors.ImpossibleTravel) { s.Cooldown = time.Second }))
		for i := range int64(11) {
			j.see(seen{at: start + i*2*hour, place: berlin, device: "d", signed: c.signed})
			j.see(seen{at: start + i*2*hour + 60_000, place: hamburg, device: "d", signed: c.signed})
		}
		j.want(0, "at home", seen{at: start + 22*hour, place: berlin, device: "laptop"})
		j.want(c.want, fmt.Sprint("signed ", c.signed), seen{at: start + 22*hour + 1000, place: hamburg, device: "tablet"})
	}
}

func TestCooldown(t *testing.T) {
	j := newJourney(t, travel(func(s *detectors.ImpossibleTravel) { s.Cooldown = 10 * time.Minute }))
	const minute = 60_000
	j.want(0, "the first", seen{at: start, place: berlin})
	j.want(40, "the lower tier", seen{at: start + 200*minute, place: lagos})
	j.want(60, "more than was said", seen{at: start + 205*minute, place: berlin})
	j.want(0, "no more than was said", seen{at: start + 210*minute, place: lagos})
	j.want(0, "a moment before the cooldown ends", seen{at: start + 215*minute - 1, place: berlin})
	j.want(60, "the cooldown has passed", seen{at: start + 215*minute, place: lagos})
}

func TestLateEventsAndTheirPlacesAreNotRemembered(t *testing.T) {
	j := newJourney(t, travel(nil))
	j.want(0, "the first", seen{at: start, place: berlin})
	j.want(0, "late", seen{at: start + 1000, place: lagos, watermark: start + lateness + 1001})
	j.want(0, "home", seen{at: start + 2*lateness, place: berlin, watermark: start + lateness + 1001})
	j.want(60, "just on time", seen{at: start + 1001, place: lagos, watermark: start + lateness + 1001})
}

func TestStopsAreForgotten(t *testing.T) {
	forgetful := travel(func(s *detectors.ImpossibleTravel) { s.Memory = time.Hour; s.KnownAfter = time.Hour })
	for _, c := range []struct {
		watermark int64
		want      uint8
	}{{start + lateness + hour - 1, 60}, {start + lateness + hour, 0}} {
		j := newJourney(t, forgetful)
		j.want(0, "the first", seen{at: start, place: berlin})
		j.want(c.want, fmt.Sprint("watermark ", c.watermark-start), seen{at: start + hour, place: lagos, watermark: c.watermark})
	}

	j := newJourney(t, travel(func(s *detectors.ImpossibleTravel) { s.Stops = 3 }))
	for i, p := range [][3]int64{berlin, hamburg, potsdam, berlin} {
		j.see(seen{at: start + int64(i)*10*hour, place: p})
	}
	j.want(0, "long before all that is remembered, soon after what is forgotten", seen{at: start + hour/2, place: lagos})
	if n := j.s.payload[10]; n != 3 {
		t.Errorf("%d stops are remembered, want 3", n)
	}
}

// TestStayingTakesLittleRoom checks that an account that stays at one place evicts
// nothing.
func TestStayingTakesLittleRoom(t *testing.T) {
	j := newJourney(t, travel(nil))
	j.see(seen{at: start, place: lagos})
	for i := range int64(10_000) {
		j.want(0, "at home", seen{at: start + 24*hour + i*1000, place: berlin, ip: fmt.Sprint("192.0.2.", i%200), device: fmt.Sprint("d", i%2), signed: true})
	}
	if n := j.s.payload[10]; n > 4 {
		t.Errorf("%d stops are remembered, want 4: where it was, the first, and the last of each device", n)
	}
	j.want(60, "gone", seen{at: start + 24*hour + 10_001_000, place: lagos})
}

func TestAnyNumberOfPlacesIsBounded(t *testing.T) {
	r := travel(nil)
	j, rng := newJourney(t, r), rand.New(rand.NewPCG(1, 1))
	for i := range int64(2_000) {
		j.see(seen{at: start + i*24*hour, place: [3]int64{rng.Int64N(180_000_001) - 90_000_000, rng.Int64N(360_000_001) - 180_000_000, rng.Int64N(20_101)},
			device: fmt.Sprint(i), signed: true, ip: fmt.Sprint(i)})
		if most := r.Spec.Keeps().Bytes; len(j.s.payload) > most {
			t.Fatalf("%d bytes, want %d at most", len(j.s.payload), most)
		}
	}
}

// TestTravelsOfAnyFormAreReadOrRefused checks that payloads accepted by Fit do no
// harm.
func TestTravelsOfAnyFormAreReadOrRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	j := newJourney(t, travel(nil))
	for i := range int64(12) {
		j.see(seen{at: start + i*24*hour, place: [][3]int64{berlin, lagos, tokyo}[i%3], device: "d", signed: i%2 == 0})
	}
	good, read := bytes.Clone(j.s.payload), 0
	for range 20_000 {
		b := bytes.Clone(good)[:rng.IntN(len(good)+1)]
		if rng.IntN(2) == 0 {
			b = bytes.Clone(good)
		}
		for range rng.IntN(4) {
			if len(b) > 0 {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
		}
		if read += hostile(t, b); t.Failed() {
			return
		}
	}
	if read < 1000 {
		t.Errorf("only %d were of the form", read)
	}
	for _, b := range [][]byte{nil, make([]byte, 11), make([]byte, 13), make([]byte, 12+101*40)} {
		if hostile(t, b) == 1 {
			t.Errorf("%d bytes are taken", len(b))
		}
	}
}

// hostile continues with a payload if it has the right format.
func hostile(t *testing.T, b []byte) (read int) {
	t.Helper()
	j := newJourney(t, travel(nil))
	kept, ok := j.d.Fit(b)
	if !ok {
		return 0
	}
	j.s.payload = kept
	j.d.Explain(kept, start+hour)
	for i, p := range [][3]int64{lagos, berlin, hamburg} {
		j.see(seen{at: start + int64(i)*hour, place: p, device: "d", signed: true, watermark: start})
	}
	return 1
}

func FuzzImpossibleTravel(f *testing.F) {
	j := newJourney(&testing.T{}, travel(nil))
	for i := range int64(4) {
		j.see(seen{at: start + i*24*hour, place: [][3]int64{berlin, lagos}[i%2]})
	}
	f.Add(j.s.payload)
	f.Add(make([]byte, 12))
	f.Fuzz(func(t *testing.T, b []byte) { hostile(t, b) })
}

func TestTravelWithoutRoomBreaksNothing(t *testing.T) {
	for most := range 200 {
		d, s := newDetector(t, travel(nil)), &room{most: most}
		for i := range int64(20) {
			var e event.Event
			p := [][3]int64{berlin, lagos, tokyo}[i%3]
			e.SetNum(event.Latitude, p[0])
			e.SetNum(event.Longitude, p[1])
			d.Apply(&detectors.Context{Event: &e, Time: start + i*24*hour, Watermark: math.MinInt64, Own: s}, new(detectors.Firing))
			if _, ok := d.Fit(bytes.Clone(s.b)); s.b != nil && !ok {
				t.Fatalf("room for %d: % x", most, s.b)
			}
		}
	}
}

// load compiles a rule with these parameters.
func load(t *testing.T, parameters string) (*detectors.ImpossibleTravel, error) {
	t.Helper()
	file := "rules:\n  - id: r\n    title: x\n    entity: account\n    when: status < 400\n    impossible_travel:\n      " +
		strings.ReplaceAll(parameters, "\n", "\n      ") +
		"\n    signal: {category: fraud, reason: x, half_life: 1h}\n    phase: observe\n"
	set, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte(file)}}, detectors.All())
	if err != nil {
		return nil, err
	}
	return set.Rules[0].Spec.(*detectors.ImpossibleTravel), nil
}

const twoTiers = "tiers: [{speed: 900, weight: 40}, {speed: 3000, weight: 60}]\n"

func TestParametersOfATravelThatCannotBe(t *testing.T) {
	for _, c := range []struct{ name, parameters, want string }{
		{"no tiers", "cooldown: 1h", `the key "tiers" is missing`},
		{"a slower tier later", "tiers: [{speed: 900, weight: 40}, {speed: 900, weight: 60}]", "does not wait for more"},
		{"a milder tier later", "tiers: [{speed: 900, weight: 40}, {speed: 1000, weight: 40}]", "can never be seen"},
		{"places that are forgotten before they are known", twoTiers + "memory: 7d", "forgotten before they can be known"},
		{"a share of what is not told", twoTiers + "weak_percent: 10", "none is"},
		{"a radius of what is not told", twoTiers + "weak_radius: 10", "none is"},
		{"more stops than there is room for", twoTiers + "stops: 101", "101"},
	} {
		if _, err := load(t, c.parameters); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestParametersOfATravel checks that each parameter changes Canonical, and none
// changes the name of the state.
func TestParametersOfATravel(t *testing.T) {
	plain, err := load(t, twoTiers)
	if err != nil {
		t.Fatal(err)
	}
	want := travel(nil).Spec.(*detectors.ImpossibleTravel)
	want.Ignored = plain.Ignored
	if !reflect.DeepEqual(plain, want) {
		t.Errorf("defaults %+v, want %+v", plain, want)
	}
	if plain.Ignored.Canonical != `anonymiser != ""` {
		t.Errorf("ignored by default: %s", plain.Ignored.Canonical)
	}
	seen := map[string]string{plain.Canonical(): "the defaults"}
	for _, p := range []string{
		"least_distance: 60", "ignore: asn == 1", "weak: asn == 1", "weak: asn == 1\nweak_radius: 10", "weak: asn == 1\nweak_percent: 10",
		"unknown_radius: 10", "trusted_from: asn == 1", "trusted_to: asn == 1", "device_percent: 0", "known_percent: 10", "known_visits: 9",
		"known_after: 13d", "stops: 19", "memory: 31d", "cooldown: 2h",
	} {
		s, err := load(t, twoTiers+p)
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		if was, ok := seen[s.Canonical()]; ok {
			t.Errorf("%s is the same as %s", p, was)
		}
		seen[s.Canonical()] = p
		if s.State() != plain.State() {
			t.Errorf("%s: the state is another", p)
		}
		if !slices.IsSorted(s.Fields()) {
			t.Errorf("%s: fields %v are out of order", p, s.Fields())
		}
		if strings.Contains(p, "asn") && !slices.Contains(s.Fields(), event.ASN) {
			t.Errorf("%s: fields %v lack what the condition reads", p, s.Fields())
		}
	}
}

// TestTravelExplanation checks the distance that is out of reach.
func TestTravelExplanation(t *testing.T) {
	j := newJourney(t, travel(nil))
	x := j.d.Explain(nil, start)
	if len(x.Held) != 0 || len(x.Demands) != 2 || x.Demands[0] != (detectors.Demand{Tier: 0, Weight: 40, What: "stops", Need: 1}) {
		t.Errorf("of nothing: %+v", x)
	}
	j.see(seen{at: start, place: berlin})
	x = j.d.Explain(j.s.payload, start+hour)
	want := []detectors.Demand{
		{Tier: 0, Weight: 40, What: "beyond_radii_km", Need: 900},
		{Tier: 1, Weight: 60, What: "beyond_radii_km", Need: 3000},
	}
	if !slices.Equal(x.Demands, want) {
		t.Errorf("demands %+v, want %+v", x.Demands, want)
	}
	if !slices.Contains(x.Held, facet.Place("from", berlin[0], berlin[1], berlin[2])) || !slices.Contains(x.Held, facet.EventAt("from_event", 3, 100, start)) {
		t.Errorf("held %+v", x.Held)
	}
	x = j.d.Explain(j.s.payload, start+1)
	if x.Demands[0].Need != 50 {
		t.Errorf("at once %+v, want the least distance", x.Demands)
	}
	j.see(seen{at: start + hour, place: tokyo})
	x = j.d.Explain(j.s.payload, start+hour)
	if !x.Demands[1].Met() || x.Demands[1].Need != 3000 || x.Demands[1].Have < 8000 || x.First != start || x.Last != start+hour {
		t.Errorf("an hour later in Tokyo: %+v", x)
	}
}

func TestImpossibleTravelAllocatesNothing(t *testing.T) {
	d := newDetector(t, travel(func(s *detectors.ImpossibleTravel) { s.Cooldown = 0 }))
	s := &room{most: 4096}
	s.b = make([]byte, 0, 4096)
	var events [3]event.Event
	for i, p := range [][3]int64{berlin, lagos, tokyo} {
		events[i].SetNum(event.Latitude, p[0])
		events[i].SetNum(event.Longitude, p[1])
		events[i].SetText(event.Country, "DE")
	}
	c, f := detectors.Context{Watermark: math.MinInt64, Own: inPlace{s}}, detectors.Firing{Evidence: make([]facet.Evidence, 0, facet.MostEvidence)}
	n, fired := int64(0), 0
	if allocs := testing.AllocsPerRun(1000, func() {
		c.Event, c.Time = &events[n%3], start+n*1000
		if d.Apply(&c, &f) {
			fired++
		}
		n++
	}); allocs != 0 || fired < 900 {
		t.Errorf("%v allocations, fired %d times", allocs, fired)
	}
}

// inPlace grows as long as there is room.
type inPlace struct{ *room }

func (r inPlace) Payload() []byte {
	if len(r.b) == 0 {
		return nil
	}
	return r.b
}

func (r inPlace) Resize(n int) []byte {
	had := len(r.b)
	r.b = r.b[:n]
	clear(r.b[min(had, n):])
	return r.b
}

func BenchmarkImpossibleTravel(b *testing.B) {
	for _, c := range []struct {
		name   string
		places int
		step   int64
	}{{"staying", 1, 1000}, {"commuting", 2, 12 * hour}, {"everywhere", 30, 24 * hour}} {
		b.Run(c.name, func(b *testing.B) {
			d := newDetector(b, travel(nil))
			s := &room{b: make([]byte, 0, 4096)}
			rng := rand.New(rand.NewPCG(1, 1))
			events := make([]event.Event, c.places)
			for i := range events {
				events[i].SetNum(event.Latitude, rng.Int64N(140_000_000)-70_000_000)
				events[i].SetNum(event.Longitude, rng.Int64N(360_000_000)-180_000_000)
				events[i].SetNum(event.GeoRadius, 20)
				events[i].SetText(event.ClientIP, fmt.Sprint("192.0.2.", i))
			}
			ctx, f := detectors.Context{Watermark: math.MinInt64, Own: inPlace{s}}, detectors.Firing{Evidence: make([]facet.Evidence, 0, facet.MostEvidence)}
			b.ReportAllocs()
			n := int64(0)
			for b.Loop() {
				ctx.Event, ctx.Time = &events[n%int64(c.places)], start+n*c.step
				d.Apply(&ctx, &f)
				n++
			}
			b.ReportMetric(float64(len(s.b)), "bytes/entity")
		})
	}
}
