package greatcircle_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/weirdev/weir/internal/greatcircle"
)

const (
	north = 90_000_000
	east  = 180_000_000
)

// haversine is the textbook's formula in float64, with an arc tangent that is as
// good near antipodes as near 0. It is off by less than a millimetre.
func haversine(a, b greatcircle.Point) float64 {
	rad := func(micro int64) float64 { return float64(micro) * math.Pi / 180e6 }
	sin2 := func(x float64) float64 { return math.Sin(x/2) * math.Sin(x/2) }
	cos := math.Cos(rad(int64(a.Latitude))) * math.Cos(rad(int64(b.Latitude)))
	dlon := rad(int64(a.Longitude) - int64(b.Longitude))
	near := sin2(rad(int64(a.Latitude)-int64(b.Latitude))) + cos*sin2(dlon)
	far := sin2(rad(int64(a.Latitude)+int64(b.Latitude))) + cos*math.Cos(dlon/2)*math.Cos(dlon/2)
	return 2 * greatcircle.Radius * math.Atan2(math.Sqrt(near), math.Sqrt(far))
}

func check(t *testing.T, a, b greatcircle.Point) {
	t.Helper()
	got := greatcircle.Distance(a, b)
	if off := math.Abs(float64(got) - haversine(a, b)); off > 0.501 {
		t.Errorf("%v to %v: %d m, float64 has %.4f", a, b, got, haversine(a, b))
	}
	if back := greatcircle.Distance(b, a); back != got {
		t.Errorf("%v to %v: %d m, and %d m back", a, b, got, back)
	}
	if got < 0 || got > greatcircle.Farthest {
		t.Errorf("%v to %v: %d m", a, b, got)
	}
}

func TestDistancesOfKnownPlaces(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b greatcircle.Point
		want int64
	}{
		{"the same place", greatcircle.Point{52_520_000, 13_405_000}, greatcircle.Point{52_520_000, 13_405_000}, 0},
		{"a micro-degree of latitude", greatcircle.Point{}, greatcircle.Point{Latitude: 1}, 0},
		{"ten micro-degrees of latitude", greatcircle.Point{}, greatcircle.Point{Latitude: 10}, 1},
		{"a degree of latitude", greatcircle.Point{}, greatcircle.Point{Latitude: 1_000_000}, 111_195},
		{"a degree of longitude at 60° north", greatcircle.Point{Latitude: 60_000_000}, greatcircle.Point{60_000_000, 1_000_000}, 55_597},
		{"pole to pole", greatcircle.Point{Latitude: north}, greatcircle.Point{Latitude: -north}, greatcircle.Farthest},
		{"the pole by any longitude", greatcircle.Point{north, 0}, greatcircle.Point{north, 123_456_789}, 0},
		{"half around the equator", greatcircle.Point{}, greatcircle.Point{Longitude: east}, greatcircle.Farthest},
		{"antipodes", greatcircle.Point{41_900_000, 12_500_000}, greatcircle.Point{-41_900_000, -167_500_000}, greatcircle.Farthest},
		{"over the date line", greatcircle.Point{0, 179_500_000}, greatcircle.Point{0, -179_500_000}, 111_195},
		{"the date line from both sides", greatcircle.Point{10_000_000, east}, greatcircle.Point{10_000_000, -east}, 0},
		{"a quarter of the globe", greatcircle.Point{}, greatcircle.Point{0, 90_000_000}, 10_007_558},
		{"over the pole", greatcircle.Point{80_000_000, 0}, greatcircle.Point{80_000_000, east}, 2_223_902},
	} {
		if got := greatcircle.Distance(c.a, c.b); got != c.want {
			t.Errorf("%s: %d m, want %d", c.name, got, c.want)
		}
		check(t, c.a, c.b)
	}
}

// pair makes two points: anywhere, close together, nearly antipodal, at poles and on
// meridians that meet.
func pair(rng *rand.Rand) (a, b greatcircle.Point) {
	any := func() greatcircle.Point {
		return greatcircle.Point{rng.Int32N(2*north+1) - north, rng.Int32N(2*east+1) - east}
	}
	near := func(p greatcircle.Point) greatcircle.Point {
		by := int32(1) << rng.IntN(25)
		return greatcircle.Point{min(max(p.Latitude+rng.Int32N(2*by)-by, -north), north), p.Longitude + rng.Int32N(2*by) - by}
	}
	a = any()
	switch rng.IntN(5) {
	case 0:
		return a, any()
	case 1:
		return a, near(a)
	case 2:
		return a, near(greatcircle.Point{-a.Latitude, a.Longitude + east})
	case 3:
		return near(greatcircle.Point{Latitude: north}), near(greatcircle.Point{Latitude: []int32{north, -north}[rng.IntN(2)]})
	default:
		return near(greatcircle.Point{}), near(greatcircle.Point{Longitude: []int32{0, east / 2, east}[rng.IntN(3)]})
	}
}

// TestDistancesAreThoseOfFloat64 bounds the difference: half a metre for rounding,
// and a millimetre for float64.
func TestDistancesAreThoseOfFloat64(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200_000 {
		a, b := pair(rng)
		if check(t, a, b); t.Failed() {
			return
		}
	}
}

func FuzzDistance(f *testing.F) {
	f.Add(int32(52_520_000), int32(13_405_000), int32(6_524_000), int32(3_379_000))
	f.Add(int32(north), int32(0), int32(-north), int32(east))
	f.Fuzz(func(t *testing.T, lat1, lon1, lat2, lon2 int32) {
		check(t, greatcircle.Point{lat1 % (north + 1), lon1}, greatcircle.Point{lat2 % (north + 1), lon2})
		// Latitudes that are none make no sense, and nothing worse.
		greatcircle.Distance(greatcircle.Point{lat1, lon1}, greatcircle.Point{lat2, lon2})
	})
}

func TestNoAllocation(t *testing.T) {
	a, b := greatcircle.Point{52_520_000, 13_405_000}, greatcircle.Point{6_524_000, 3_379_000}
	if n := testing.AllocsPerRun(100, func() { greatcircle.Distance(a, b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDistance(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	var points [1024]greatcircle.Point
	for i := range points {
		points[i] = greatcircle.Point{rng.Int32N(2*north) - north, rng.Int32N(2*east) - east}
	}
	b.ReportAllocs()
	var sum int64
	for i := 0; b.Loop(); i++ {
		sum += greatcircle.Distance(points[i%1024], points[(i+1)%1024])
	}
	if sum == 0 {
		b.Error("nothing is apart")
	}
}
