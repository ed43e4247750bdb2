package oracle

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

func drawContribution(t *rapid.T, rule string) score.Contribution {
	return score.Contribution{
		Rule: rule, Category: "bot", Reason: "r", Phase: rules.Soft,
		Weight:   uint8(rapid.SampledFrom([]int{1, 2, 4, 25, 50, 100}).Draw(t, "weight")),
		HalfLife: rapid.OneOf(rapid.Int64Range(1, 4), rapid.Int64Range(1, 2_592_000)).Draw(t, "half-life"),
		Time:     start + 1000*rapid.Int64Range(-4, 4).Draw(t, "time") + rapid.Int64Range(0, 1).Draw(t, "ms"),
	}
}

func TestDecayIsEqualToTheUnit(t *testing.T) {
	p := newPowers()
	rapid.Check(t, func(t *rapid.T) {
		c := drawContribution(t, "a")
		now := c.Time + rapid.OneOf(
			rapid.Int64(), rapid.Int64Range(-1, 40*1000*c.HalfLife),
			rapid.Custom(func(t *rapid.T) int64 {
				return 1000*c.HalfLife*rapid.Int64Range(0, 33).Draw(t, "n") + rapid.Int64Range(-1, 1).Draw(t, "ms")
			}),
		).Draw(t, "age")
		if got, want := int64(score.Decayed(c, now)), p.worth(c, now); got != want {
			t.Fatalf("%+v at %d: got %d, want %d", c, now, got, want)
		}
	})
}

func TestAScoreExpiresAtTheMomentAtWhichItIsWorthLessThanAPoint(t *testing.T) {
	p := newPowers()
	rapid.Check(t, func(t *rapid.T) {
		c := drawContribution(t, "a")
		at := score.Expires([]score.Contribution{c})
		if p.worth(c, at-1) < point || p.worth(c, at) >= point {
			t.Fatalf("%+v expires at %d, worth %d just before and %d then", c, at, p.worth(c, at-1), p.worth(c, at))
		}
	})
}

func TestScoresMergeAsTheOracleSays(t *testing.T) {
	p := newPowers()
	rapid.Check(t, func(t *rapid.T) {
		var got, want []score.Contribution
		for range rapid.IntRange(1, 30).Draw(t, "signals") {
			c := drawContribution(t, rapid.StringMatching("[a-k]").Draw(t, "rule"))
			before := want
			want = p.merge(want, c)
			var changed bool
			got, changed = score.Merge(append([]score.Contribution(nil), got...), c)
			if !reflect.DeepEqual(got, want) || changed == reflect.DeepEqual(before, want) {
				t.Fatalf("%+v and %+v: changed %v\ngot  %+v\nwant %+v", before, c, changed, got, want)
			}
		}
	})
}
