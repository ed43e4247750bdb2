package score

// Fixed is a number of points in units of 2^-24, from 0 to [Full].
type Fixed uint32

const (
	pointBits = 24

	// Point is one point.
	Point Fixed = 1 << pointBits
	// Full is 100 points, certainty.
	Full Fixed = 100 * Point
)

// Points returns f rounded to whole points, halves upwards.
func (f Fixed) Points() int { return int((f + Point/2) >> pointBits) }

// Decayed returns the worth of c at now (Unix milliseconds):
//
//	weight × 2^-((now − time) / half-life)
//
// and the whole weight before its time. It never rises with now. It is at most one
// millionth above the true value, and 2^-23 points below it: the power is
// interpolated along a chord of 1/256 of a half-life, whose greatest distance from
// the curve is (ln 2 / 256)² / 8 of its value.
//
// Another implementation gets the same units as follows. The ends of the chord are
// in units of 2^-30, rounded to the nearest. The elapsed part of the current
// half-life is rounded down to 2^-32 of it, the fall of the chord to 2^-30, and the
// result to a unit. After 32 half-lives it is 0.
func Decayed(c Contribution, now int64) Fixed {
	full := uint64(c.Weight) << pointBits
	if now <= c.Time {
		return Fixed(full)
	}
	// The subtraction is unsigned, because times may be any distance apart.
	age, half := uint64(now)-uint64(c.Time), uint64(max(c.HalfLife, 1))*1000
	halvings := age / half
	if halvings >= 32 {
		return 0
	}
	// The fraction of the current half-life, in units of 2^-32. The half-life is at
	// most 30 days, which is below 2^32 ms.
	fraction := (age % half) << 32 / half
	return Fixed(uint64(c.Weight) * power(fraction) >> (30 - pointBits) >> halvings)
}

// power returns 2^(-fraction/2^32) in units of 2^-30.
func power(fraction uint64) uint64 {
	i, rest := fraction>>24, fraction&(1<<24-1)
	from, to := uint64(pow2[i]), uint64(pow2[i+1])
	return from - (from-to)*rest>>24
}

// Expires returns the first moment (Unix milliseconds) at which every raising
// contribution of list is worth less than a point: from then on the score is 0,
// whatever lowered it. 0 if there is none.
func Expires(list []Contribution) int64 {
	var last int64
	for i := range list {
		if !list[i].Lowers {
			last = max(last, expires(list[i]))
		}
	}
	return last
}

// Fades returns the first moment (Unix milliseconds) at which every contribution of
// list, whatever its effect, is worth less than a point; 0 if there is none.
func Fades(list []Contribution) int64 {
	var last int64
	for i := range list {
		last = max(last, expires(list[i]))
	}
	return last
}

// Raised reports whether a contribution of list raises the score. Without one, the
// score is 0.
func Raised(list []Contribution) bool {
	for i := range list {
		if !list[i].Lowers {
			return true
		}
	}
	return false
}

// expires searches instead of inverting the interpolation, so that it agrees with
// [Decayed] to the millisecond. 100 points are less than one after 6.65 half-lives.
func expires(c Contribution) int64 {
	if c.Weight == 0 {
		return c.Time
	}
	low, high := c.Time, c.Time+7*max(c.HalfLife, 1)*1000 // worth a point, and not
	for high-low > 1 {
		if mid := low + (high-low)/2; Decayed(c, mid) >= Point {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}
