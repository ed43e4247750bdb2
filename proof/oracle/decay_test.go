package oracle

import (
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

func drawContribution(t *rapid.T, rule string) score.Contribution {
	lowers := rapid.IntRange(0, 3).Draw(t, "effect") == 0
	categories := []string{"bot", "fraud", "any"}
	if !lowers {
		categories = categories[:2]
	}
	return score.Contribution{
		Rule: rule, Category: rapid.SampledFrom(categories).Draw(t, "category"), Reason: "r", Lowers: lowers,
		Phase:    rapid.SampledFrom([]rules.Phase{rules.Observe, rules.Soft, rules.Enforce}).Draw(t, "phase"),
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
		c.Lowers, c.Category = false, "bot"
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
			if rapid.IntRange(0, 5).Draw(t, "clears") == 0 {
				cleared, found := p.cleared(want, c.Rule, c.Time)
				all, changed := score.Clear(slices.Clone(got), c.Rule, c.Time)
				if changed != found || found && first(all, cleared) != "" {
					t.Fatalf("%+v without %s up to %d: changed %v\ngot  %+v\nwant %+v", got, c.Rule, c.Time, changed, all, cleared)
				}
				if found {
					got, want = all, cleared
				}
				continue
			}
			if len(want) > 0 && rapid.IntRange(0, 3).Draw(t, "twin") == 0 { // worth the same, at the same time
				c = rapid.SampledFrom(want).Draw(t, "of")
				c.HalfLife, c.Reason = rapid.Int64Range(1, 100).Draw(t, "half life"), "twin"
			}
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

func TestScoresCombineAsTheOracleSays(t *testing.T) {
	p := newPowers()
	rapid.Check(t, func(t *rapid.T) {
		var list []score.Contribution
		for _, rule := range rapid.Permutation([]string{"a", "b", "c", "d", "e", "f", "g", "h"}).Draw(t, "order")[:rapid.IntRange(0, 8).Draw(t, "n")] {
			list = append(list, drawContribution(t, rule))
		}
		now := start + rapid.OneOf(rapid.Int64Range(-5_000, 20_000), rapid.Int64Range(0, 20_000_000_000)).Draw(t, "now")
		least := rapid.SampledFrom([]rules.Phase{rules.Observe, rules.Soft, rules.Enforce}).Draw(t, "least")
		got := score.AtLeast(least, list, now)
		total, of := p.combined(list, least, now)
		if int64(got.Total) != total || len(got.Categories()) != len(of) {
			t.Fatalf("%+v at %d: got %d %+v, want %d %v", list, now, got.Total, got.Categories(), total, of)
		}
		for name, want := range of {
			if int64(got.Category(name)) != want || got.Category(name) > got.Total {
				t.Fatalf("%+v at %d: %s is %d of %d, want %d of %d", list, now, name, got.Category(name), got.Total, want, total)
			}
		}
	})
}
