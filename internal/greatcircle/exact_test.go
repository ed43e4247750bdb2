package greatcircle

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

// exact computes with 240 bits, from Cartesian coordinates.
type exact struct{ pi *big.Float }

func num(x float64) *big.Float       { return new(big.Float).SetPrec(240).SetFloat64(x) }
func add(a, b *big.Float) *big.Float { return num(0).Add(a, b) }
func sub(a, b *big.Float) *big.Float { return num(0).Sub(a, b) }
func mul(a, b *big.Float) *big.Float { return num(0).Mul(a, b) }
func div(a, b *big.Float) *big.Float { return num(0).Quo(a, b) }

// newExact takes π from Machin's formula.
func newExact() exact {
	arc := func(n float64) *big.Float { // arc cotangent
		sum, term := num(0), div(num(1), num(n))
		for k := 0; k < 200; k++ {
			sum = add(sum, div(term, num(float64(2*k+1))))
			term = div(term, num(-n*n))
		}
		return sum
	}
	return exact{sub(mul(num(16), arc(5)), mul(num(4), arc(239)))}
}

// circular is the sine and the cosine of micro-degrees.
func (x exact) circular(micro int64) (sin, cos *big.Float) {
	angle := div(mul(num(float64(micro)), x.pi), num(180e6))
	sin, cos = num(0), num(0)
	term := num(1)
	for k := 0; k < 80; k++ {
		switch k % 4 {
		case 0:
			cos = add(cos, term)
		case 1:
			sin = add(sin, term)
		case 2:
			cos = sub(cos, term)
		case 3:
			sin = sub(sin, term)
		}
		term = div(mul(term, angle), num(float64(k+1)))
	}
	return sin, cos
}

func (x exact) point(p Point) (v [3]*big.Float) {
	sinLat, cosLat := x.circular(int64(p.Latitude))
	sinLon, cosLon := x.circular(int64(p.Longitude))
	return [3]*big.Float{mul(cosLat, cosLon), mul(cosLat, sinLon), sinLat}
}

// distance is twice the radius by the arc tangent of half the chord over what is
// left of a right angle.
func (x exact) distance(a, b Point) *big.Float {
	u, v := x.point(a), x.point(b)
	less, more := num(0), num(0)
	for i := range u {
		d, s := sub(u[i], v[i]), add(u[i], v[i])
		less, more = add(less, mul(d, d)), add(more, mul(s, s))
	}
	less, more = num(0).Sqrt(less), num(0).Sqrt(more)
	return mul(num(2*Radius), x.arcTangent(less, more))
}

// arcTangent halves the angle until its series is short.
func (x exact) arcTangent(opposite, adjacent *big.Float) *big.Float {
	const halvings = 12
	for range halvings {
		hypotenuse := num(0).Sqrt(add(mul(opposite, opposite), mul(adjacent, adjacent)))
		adjacent = add(adjacent, hypotenuse)
	}
	t := div(opposite, adjacent)
	sum, term, square := num(0), t, mul(t, t)
	for k := 0; k < 12; k++ {
		sum = add(sum, div(term, num(float64(2*k+1))))
		term = sub(num(0), mul(term, square))
	}
	return mul(sum, num(1<<halvings))
}

func TestSinesOfWholeDegrees(t *testing.T) {
	x := newExact()
	for d, s := range sines {
		sin, _ := x.circular(int64(d) * 1_000_000)
		off := sub(mul(sin, num(one)), num(0).SetUint64(s))
		if off.Abs(off).Cmp(num(0.5)) > 0 {
			t.Errorf("sine of %d°: off by %v", d, off)
		}
	}
}

// TestDistancesBeforeTheyAreRounded holds them to the bound that Distance states.
func TestDistancesBeforeTheyAreRounded(t *testing.T) {
	x, rng := newExact(), rand.New(rand.NewPCG(2, 1))
	worst := num(0)
	for n := range 1_200 {
		a := Point{rng.Int32N(180_000_001) - 90_000_000, rng.Int32N(360_000_001) - 180_000_000}
		b := Point{rng.Int32N(180_000_001) - 90_000_000, rng.Int32N(360_000_001) - 180_000_000}
		by := int32(1) << rng.IntN(27)
		switch n % 4 {
		case 1: // close together
			b = Point{min(max(a.Latitude+rng.Int32N(2*by)-by, -90_000_000), 90_000_000), a.Longitude + rng.Int32N(2*by) - by}
		case 2: // antipodes, or nearly
			b = Point{-a.Latitude, a.Longitude + 180_000_000 + rng.Int32N(2*by) - by}
		case 3: // a quarter apart, or nearly
			a, b = Point{}, Point{rng.Int32N(180_000_001) - 90_000_000, 90_000_000 + rng.Int32N(2*by) - by}
		}
		raw := mul(num(0).SetUint64(halfAngle(a, b)), div(num(Radius), num(one>>1)))
		want := x.distance(a, b)
		off := sub(raw, want)
		if off.Abs(off).Cmp(worst) > 0 {
			worst = off
		}
		if off.Cmp(num(1e-10)) >= 0 {
			t.Fatalf("%v to %v: %.12f m, exactly %.12f", a, b, raw, want)
		}
		nearest, _ := add(want, num(0.5)).Int64()
		if got := Distance(a, b); got != nearest {
			t.Fatalf("%v to %v: %d m, exactly %.12f", a, b, got, want)
		}
	}
	t.Logf("off by up to %.2g m", worst)
}
