package score

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/rules"
)

func TestScoresCombineAsIndependentEvidence(t *testing.T) {
	list := []Contribution{
		{Rule: "a", Category: "bot", Weight: 50, HalfLife: 60, Phase: rules.Enforce},
		{Rule: "b", Category: "fraud", Weight: 40, HalfLife: 60, Phase: rules.Soft},
		{Rule: "c", Category: "bot", Weight: 20, HalfLife: 60, Phase: rules.Observe},
	}
	for _, tc := range []struct {
		name              string
		least             rules.Phase
		total, bot, fraud int
	}{
		{"everything counts", rules.Observe, 76, 60, 40},
		{"observed rules are left out", rules.Soft, 70, 50, 40},
		{"only enforced rules", rules.Enforce, 50, 50, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := AtLeast(tc.least, list, 0)
			if s.Total.Points() != tc.total || s.Category("bot").Points() != tc.bot || s.Category("fraud").Points() != tc.fraud {
				t.Errorf("got %d %+v", s.Total.Points(), s.Categories())
			}
		})
	}
	if s := At(list, 60_000); s.Total.Points() != 46 { // 1 − 0.75 × 0.8 × 0.9
		t.Errorf("after a half-life: %d", s.Total.Points())
	}
	if s := At(nil, 0); s.Total != 0 || len(s.Categories()) != 0 {
		t.Errorf("of nothing: %+v", s)
	}
}

func TestScoresKeepTheirPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawList(t)
		now := int64(1_732_000_000_000) + rapid.Int64Range(-20_000_000, 200_000_000).Draw(t, "now")
		s := At(list, now)
		if s.Total > Full {
			t.Fatalf("total %d", s.Total)
		}
		exact := 1.0
		for _, c := range list {
			age := max(float64(now-c.Time), 0)
			exact *= 1 - float64(c.Weight)/100*math.Exp2(-age/float64(c.HalfLife*1000))
		}
		if got := float64(s.Total) / float64(Full); math.Abs(got-(1-exact)) > 1e-5 {
			t.Fatalf("total %v, want %v", got, 1-exact)
		}
		if shuffled := rapid.Permutation(list).Draw(t, "shuffled"); At(shuffled, now) != s {
			t.Fatal("the order matters")
		}
		if later := At(list, now+rapid.Int64Range(0, 100_000).Draw(t, "wait")); later.Total > s.Total {
			t.Fatalf("rises from %d to %d as time goes on", s.Total, later.Total)
		}
		for _, c := range s.Categories() {
			if c.Score > s.Total {
				t.Fatalf("%s is more than the total", c.Category)
			}
		}
		checkPhases(t, list, now, s)
	})
}

func checkPhases(t *rapid.T, list []Contribution, now int64, all Scores) {
	soft, enforce := AtLeast(rules.Soft, list, now), AtLeast(rules.Enforce, list, now)
	if soft.Total > all.Total || enforce.Total > soft.Total {
		t.Fatalf("a part is more than the whole: %d %d %d", all.Total, soft.Total, enforce.Total)
	}
}

func TestMoreEvidenceNeverLowersAScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawList(t)
		now := int64(1_732_000_000_000) + rapid.Int64Range(0, 50_000_000).Draw(t, "now")
		before := At(list, now)
		more := slices.Clone(list)
		if i := rapid.IntRange(0, len(more)).Draw(t, "which"); i < len(more) {
			more[i].Weight = uint8(rapid.IntRange(int(more[i].Weight), 100).Draw(t, "heavier"))
		} else if len(more) < MaxContributions {
			more = append(more, drawContribution(t, rapid.SampledFrom([]string{"0", "bb", "z"}).Draw(t, "new rule")))
		}
		after := At(more, now)
		if after.Total < before.Total {
			t.Fatalf("total fell from %d to %d", before.Total, after.Total)
		}
		for _, c := range before.Categories() {
			if after.Category(c.Category) < c.Score {
				t.Fatalf("%s fell", c.Category)
			}
		}
	})
}

func TestRaiseTakesTheHigherOfEach(t *testing.T) {
	a := At([]Contribution{{Rule: "a", Category: "bot", Weight: 60, HalfLife: 1}, {Rule: "b", Category: "fraud", Weight: 10, HalfLife: 1}}, 0)
	b := At([]Contribution{{Rule: "c", Category: "bot", Weight: 50, HalfLife: 1}, {Rule: "d", Category: "scraping", Weight: 70, HalfLife: 1}}, 0)
	ab, ba := a, b
	ab.Raise(&b)
	ba.Raise(&a)
	if ab != ba {
		t.Fatalf("%+v and %+v differ", ab, ba)
	}
	want := []CategoryScore{{"bot", 60 * Point}, {"fraud", 10 * Point}, {"scraping", 70 * Point}}
	if !slices.Equal(ab.Categories(), want) || ab.Total != b.Total {
		t.Errorf("got %+v", ab)
	}
}

func TestTopNamesTheHeaviestFirst(t *testing.T) {
	list := []Contribution{
		{Rule: "a", Weight: 40, HalfLife: 60}, {Rule: "b", Weight: 80, HalfLife: 60},
		{Rule: "c", Weight: 40, HalfLife: 60}, {Rule: "d", Weight: 90, HalfLife: 1},
	}
	var got []string
	for _, r := range Top(list, 60_000, 2) {
		got = append(got, r.Rule)
	}
	if want := []string{"b", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if all := Top(list, 60_000, 10); len(all) != 3 {
		t.Errorf("%d reasons, one of which has decayed to nothing", len(all))
	}
	// Worth just half a point, and a little later less.
	half := []Contribution{{Rule: "a", Weight: 1, HalfLife: 60}}
	if at, after := Top(half, 60_000, 1), Top(half, 60_100, 1); len(at) != 1 || len(after) != 0 {
		t.Errorf("worth half a point: %d reasons; less: %d", len(at), len(after))
	}
	equals := []Contribution{{Rule: "c", Weight: 40, HalfLife: 60}, {Rule: "b", Weight: 40, HalfLife: 60}, {Rule: "a", Weight: 40, HalfLife: 60}}
	if top := Top(equals, 0, 3); top[0].Rule != "a" || top[1].Rule != "b" || top[2].Rule != "c" {
		t.Errorf("equals are not in order of rules: %+v", top)
	}
	if none := Top(list, 60_000, -1); len(none) != 0 {
		t.Errorf("asked for none, got %d", len(none))
	}
}

func BenchmarkAt(b *testing.B) {
	list := []Contribution{
		{Rule: "a", Category: "bot", Weight: 60, HalfLife: 1800},
		{Rule: "b", Category: "fraud", Weight: 10, HalfLife: 600},
		{Rule: "c", Category: "bot", Weight: 50, HalfLife: 60},
	}
	b.ReportAllocs()
	now := int64(0)
	for b.Loop() {
		now++
		_ = At(list, now)
	}
}
