// Package greatcircle measures the distance between two places on the earth in
// integer arithmetic, so that every processor gets the same number and decisions
// may depend on it.
//
// The earth is a sphere with the IUGG's mean radius R₁, rounded to a metre.
// Distances on the ellipsoid of WGS 84 differ by up to 0.6 %, less than the
// uncertainty of address databases.
package greatcircle

import "math/bits"

const (
	// Radius of the earth, in metres.
	Radius = 6_371_009
	// Farthest is the distance between antipodes, in metres.
	Farthest = 20_015_115
)

// Point is a place in micro-degrees: latitude −90,000,000 to 90,000,000, any
// longitude, since 360,000,000 is once around.
type Point struct{ Latitude, Longitude int32 }

// Distance returns the length of the shortest way from a to b over the surface, to
// the nearest metre. Its error before rounding is less than 10⁻¹⁰ m.
//
// It uses the haversine formula. The arc sine is badly conditioned near 1, so for
// points more than a quarter of the globe apart it subtracts the distance to b's
// antipode from half the globe.
func Distance(a, b Point) int64 {
	hi, lo := bits.Mul64(halfAngle(a, b), Radius)
	lo, carry := bits.Add64(lo, 1<<61, 0) // to the nearest
	return int64((hi+carry)<<2 | lo>>62)
}

// halfAngle is half of the angle between a and b, which in multiples of 2⁻⁶³ is
// all of it in multiples of 2⁻⁶².
func halfAngle(a, b Point) uint64 {
	north, south := int64(a.Latitude), int64(b.Latitude)
	east := int64(a.Longitude) - int64(b.Longitude)
	cosines := [2]uint64{sine(quarter - 2*north), sine(quarter - 2*south)}

	if hav := haversine(sine(north-south), cosines, sine(east)); hav.hi < one>>2 { // ½ as a wide
		return arcSine(hav)
	}
	return pi - arcSine(haversine(sine(north+south), cosines, sine(quarter-east)))
}

// Input angles are in half micro-degrees: half the difference of two coordinates is
// a whole number of them. Sines, and resulting half angles in radians, are
// multiples of 2⁻⁶³.
const (
	degree  = 2_000_000
	quarter = 90 * degree
	one     = 1 << 63
)

// pi is half of π in multiples of 2⁻⁶³, rounded down.
const pi = 0xc90fdaa22168c234

// wide is a number from 0 to 1 in multiples of 2⁻¹²⁶.
type wide struct{ hi, lo uint64 }

func product(a, b uint64) wide {
	hi, lo := bits.Mul64(a, b)
	return wide{hi, lo}
}

// haversine is latitude² + cosines[0]·cosines[1]·longitude², of sines.
func haversine(latitude uint64, cosines [2]uint64, longitude uint64) wide {
	l := product(latitude, latitude)
	m := product(times(cosines[0], longitude), times(cosines[1], longitude))
	lo, carry := bits.Add64(l.lo, m.lo, 0)
	return wide{l.hi + m.hi + carry, lo}
}

// times multiplies two multiples of 2⁻⁶³.
func times(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi<<1 | lo>>63
}

// sine is the magnitude of the sine.
func sine(angle int64) uint64 {
	if angle %= 2 * quarter; angle < 0 {
		angle = -angle
	}
	if angle > quarter {
		angle = 2*quarter - angle
	}
	whole, rest := angle/degree, uint64(angle%degree)

	// Series for the remainder, below a degree: x is the angle and y its square, in
	// multiples of 2⁻⁶⁴, which up to a degree are as precise as those of 2⁻⁶³ up to
	// 1.
	const radians = 0x95ec32360df76ae6 // π/360,000,000 · 2⁹⁰
	hi, lo := bits.Mul64(rest, radians)
	x := hi<<38 | lo>>26
	y, _ := bits.Mul64(x, x)
	s := x - high(x, y/6-high(y/6, y/20-high(y/20, y/42)))
	c := y/2 - high(y/2, y/12-high(y/12, y/30-high(y/30, y/56))) // 1 − cosine

	base := sines[whole]
	return base - high(base, c) + high(sines[90-whole], s)
}

// high multiplies with a multiple of 2⁻⁶⁴.
func high(a, b uint64) uint64 {
	hi, _ := bits.Mul64(a, b)
	return hi
}

// arcSine returns the angle, up to π/4, the square of whose sine is given.
func arcSine(square wide) uint64 {
	lo, borrow := bits.Sub64(0, square.lo, 0)
	s, c := square.root(), wide{one>>1 - square.hi - borrow, lo}.root()

	whole := int(high(s, 2*57)) // an arc is longer than its sine
	for whole < 44 && sines[whole+1] <= s {
		whole++
	}
	// Sine of the remainder, below a degree.
	rest := times(s, sines[90-whole])
	if back := times(c, sines[whole]); back < rest {
		rest -= back
	} else {
		rest = 0
	}
	y := times(rest, rest) << 1 // multiples of 2⁻⁶⁴, as high has them
	rest += high(rest, y/6+high(y, 3*(y/40)+high(y, 15*(y/336)+high(y, 105*(y/3456)))))

	const radians = 0x8efa351294e9c8ae // π/180 · 2⁶⁹
	return high(uint64(whole)<<58, radians) + rest
}

// root returns the square root in multiples of 2⁻⁶³.
func (n wide) root() uint64 {
	if n.hi == 0 && n.lo == 0 {
		return 0
	}
	shift := n.zeros() &^ 1
	n = n.left(shift)
	// Heron's step turns 32 right bits into 64. It begins above the root, where the
	// quotient is below it and fits, unless the root is all ones.
	x := root(n.hi)<<32 | (1<<32 - 1)
	if n.hi == x {
		return x >> (shift / 2)
	}
	quotient, _ := bits.Div64(n.hi, n.lo, x)
	sum, carry := bits.Add64(x, quotient, 0)
	return (sum>>1 | carry<<63) >> (shift / 2)
}

func (n wide) zeros() int {
	if n.hi != 0 {
		return bits.LeadingZeros64(n.hi)
	}
	return 64 + bits.LeadingZeros64(n.lo)
}

func (n wide) left(shift int) wide {
	if shift >= 64 {
		return wide{n.lo << (shift - 64), 0}
	}
	return wide{n.hi<<shift | n.lo>>(64-shift), n.lo << shift}
}

// root returns the square root of n, which is at least 2⁶², rounded down, or one
// more. Each of Heron's steps doubles the number of right bits.
func root(n uint64) uint64 {
	u := 1 + n>>62
	u = u<<1 + n>>59/u
	u = u<<3 + n>>53/u
	u = u<<7 + n>>41/u
	u = u<<15 + n>>17/u
	return min(u, 1<<32-1)
}
