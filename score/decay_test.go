package score

import (
	"math"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/rules"
)

// drawContribution draws a contribution of the given rule.
func drawContribution(t *rapid.T, rule string) Contribution {
	c := drawRaising(t, rule)
	if rapid.IntRange(0, 3).Draw(t, "effect") == 0 {
		c.Lowers = true
		if rapid.Bool().Draw(t, "any") {
			c.Category = rules.AnyCategory
		}
	}
	return c
}

// drawRaising draws a contribution of the given rule that raises.
func drawRaising(t *rapid.T, rule string) Contribution {
	return Contribution{
		Rule:     rule,
		Category: rapid.SampledFrom([]string{"account_takeover", "bot", "fraud"}).Draw(t, "category"),
		Reason:   "reason",
		Phase:    rapid.SampledFrom([]rules.Phase{rules.Observe, rules.Soft, rules.Enforce}).Draw(t, "phase"),
		Weight:   uint8(rapid.IntRange(1, 100).Draw(t, "weight")),
		HalfLife: rapid.OneOf(rapid.Int64Range(1, 3600), rapid.Int64Range(1, maxHalfLife)).Draw(t, "half-life"),
		Time:     1_732_000_000_000 + rapid.Int64Range(-10_000_000, 10_000_000).Draw(t, "time"),
	}
}

func drawList(t *rapid.T) []Contribution {
	list := []Contribution{}
	for _, rule := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		if rapid.Bool().Draw(t, "has "+rule) {
			list = append(list, drawContribution(t, rule))
		}
	}
	return list
}

// exact is 2^-(i/256) in units of 2^-30, to 200 bits.
func exact(i int64) *big.Float {
	// 2^(1/256) by eight square roots.
	root := new(big.Float).SetPrec(200).SetInt64(2)
	for range 8 {
		root.Sqrt(root)
	}
	v := new(big.Float).SetPrec(200).SetInt64(1 << 30)
	for range i {
		v.Quo(v, root)
	}
	return v
}

func TestTheTableHoldsPowersRoundedToTheNearest(t *testing.T) {
	for i, got := range pow2 {
		want, _ := new(big.Float).Add(exact(int64(i)), big.NewFloat(0.5)).Int64()
		if int64(got) != want {
			t.Errorf("pow2[%d] = %d, want %d", i, got, want)
		}
	}
	if pow2[256] != pow2[0]/2 {
		t.Error("decay steps where a half-life ends")
	}
}

func TestDecayStaysWithinItsErrorBound(t *testing.T) {
	const unit = 1.0 / (1 << pointBits)
	rapid.Check(t, func(t *rapid.T) {
		c := drawContribution(t, "a")
		age := rapid.Int64Range(0, 10*c.HalfLife*1000).Draw(t, "age")
		got := float64(Decayed(c, c.Time+age)) * unit
		want := float64(c.Weight) * math.Exp2(-float64(age)/float64(c.HalfLife*1000))
		if over := got - want; over > want*1e-6 || over < -2*unit {
			t.Fatalf("%d points after %d ms of half-life %d s: got %.9f, want %.9f", c.Weight, age, c.HalfLife, got, want)
		}
	})
}

func TestDecayAtPlainMoments(t *testing.T) {
	c := Contribution{Weight: 80, HalfLife: 1800, Time: 1000}
	for _, tc := range []struct {
		name string
		now  int64
		want Fixed
	}{
		{"before its time the weight is whole", 0, 80 * Point},
		{"at its time the weight is whole", 1000, 80 * Point},
		{"after one half-life it is half", 1000 + 1_800_000, 40 * Point},
		{"after three it is an eighth", 1000 + 3*1_800_000, 10 * Point},
		{"after very long nothing is left", math.MaxInt64, 0},
		{"a clock before 1970 does no harm", math.MinInt64, 80 * Point},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Decayed(c, tc.now); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestDecayNeverRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawContribution(t, "a")
		at := c.Time + rapid.Int64Range(-1000, 8*c.HalfLife*1000).Draw(t, "at")
		step := rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, c.HalfLife*1000)).Draw(t, "step")
		if early, late := Decayed(c, at), Decayed(c, at+step); late > early {
			t.Fatalf("%d at %d, but %d after %d ms more", early, at, late, step)
		}
	})
}

func TestDecayNeverRisesAcrossAnyTableEntry(t *testing.T) {
	c := Contribution{Weight: 100, HalfLife: 256} // an entry lasts 1000 ms
	last := Decayed(c, 0)
	for now := int64(1); now < 3*256*1000; now++ {
		d := Decayed(c, now)
		if d > last {
			t.Fatalf("rises at %d ms", now)
		}
		last = d
	}
}

func TestExpiryIsTheFirstMomentBelowAPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawList(t)
		checkLast(t, list, Fades(list))
		against := slices.DeleteFunc(slices.Clone(list), func(c Contribution) bool { return c.Lowers })
		if checkLast(t, against, Expires(list)); Raised(list) != (len(against) > 0) {
			t.Fatalf("raised: %v", Raised(list))
		}
	})
}

// checkLast: at is the first moment at which none of list is worth a point.
func checkLast(t *rapid.T, list []Contribution, at int64) {
	for _, c := range list {
		if Decayed(c, at) >= Point {
			t.Fatalf("%+v is still worth a point at %d", c, at)
		}
	}
	alive := len(list) == 0
	for _, c := range list {
		alive = alive || Decayed(c, at-1) >= Point
	}
	if !alive {
		t.Fatalf("nothing is worth a point a millisecond before %d either", at)
	}
}

func TestPointsRoundHalvesUpwards(t *testing.T) {
	for f, want := range map[Fixed]int{0: 0, Point/2 - 1: 0, Point / 2: 1, Point: 1, 39*Point + Point/2: 40, Full: 100} {
		if got := f.Points(); got != want {
			t.Errorf("%d: %d points, want %d", f, got, want)
		}
	}
}

func BenchmarkDecayed(b *testing.B) {
	c := Contribution{Weight: 80, HalfLife: 1800, Time: 1_732_000_000_000}
	b.ReportAllocs()
	now := c.Time
	for b.Loop() {
		now += 17
		_ = Decayed(c, now)
	}
}

func BenchmarkExpires(b *testing.B) {
	list := []Contribution{{Weight: 80, HalfLife: 1800, Time: 1_732_000_000_000}}
	for b.Loop() {
		_ = Expires(list)
	}
}
