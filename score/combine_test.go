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
		exact := exactTotal(list, now)
		if got := float64(s.Total) / float64(Full); math.Abs(got-exact) > 1e-5 {
			t.Fatalf("total %v, want %v", got, exact)
		}
		if shuffled := rapid.Permutation(list).Draw(t, "shuffled"); At(shuffled, now) != s {
			t.Fatal("the order matters")
		}
		against := slices.DeleteFunc(slices.Clone(list), func(c Contribution) bool { return c.Lowers })
		unlowered := At(against, now)
		if later := At(against, now+rapid.Int64Range(0, 100_000).Draw(t, "wait")); later.Total > unlowered.Total {
			t.Fatalf("rises from %d to %d as time goes on, though nothing lowers it", unlowered.Total, later.Total)
		}
		if s.Total > unlowered.Total || len(against) == 0 && s != (Scores{}) {
			t.Fatalf("%d with what lowers, %d without", s.Total, unlowered.Total)
		}
		for _, c := range s.Categories() {
			if c.Score > s.Total {
				t.Fatalf("%s is more than the total", c.Category)
			}
		}
		checkPhases(t, list, against, now)
	})
}

// exactTotal is the total in floating point, as docs/redis.md has it.
func exactTotal(list []Contribution, now int64) float64 {
	innocent, lowered := map[string]float64{}, map[string]float64{}
	for _, c := range list {
		side := innocent
		if c.Lowers {
			side = lowered
		}
		if _, ok := side[c.Category]; !ok {
			side[c.Category] = 1
		}
		age := max(float64(now-c.Time), 0)
		side[c.Category] *= 1 - float64(c.Weight)/100*math.Exp2(-age/float64(c.HalfLife*1000))
	}
	rest := func(category string) float64 {
		if l, ok := lowered[category]; ok {
			return l
		}
		return 1
	}
	left := 1.0
	for category, p := range innocent {
		left *= 1 - (1-p)*rest(category)
	}
	return (1 - left) * rest(rules.AnyCategory)
}

// checkPhases: rules on trial change nothing for those that act, in either direction.
func checkPhases(t *rapid.T, list, against []Contribution, now int64) {
	for _, least := range []rules.Phase{rules.Observe, rules.Soft, rules.Enforce} {
		acting := slices.DeleteFunc(slices.Clone(list), func(c Contribution) bool { return c.Phase < least })
		if AtLeast(least, list, now) != At(acting, now) {
			t.Fatalf("from phase %v on, others count", least)
		}
	}
	all, soft, enforce := At(against, now), AtLeast(rules.Soft, against, now), AtLeast(rules.Enforce, against, now)
	if soft.Total > all.Total || enforce.Total > soft.Total {
		t.Fatalf("a part is more than the whole: %d %d %d", all.Total, soft.Total, enforce.Total)
	}
}

func TestWhatLowers(t *testing.T) {
	of := func(rule, category string, weight uint8, lowers bool) Contribution {
		return Contribution{Rule: rule, Category: category, Phase: rules.Enforce, Lowers: lowers, Weight: weight, HalfLife: 60}
	}
	bot, fraud := of("a", "bot", 80, false), of("b", "fraud", 50, false)
	observed := of("c", "any", 100, true)
	observed.Phase = rules.Observe
	for _, tc := range []struct {
		name              string
		list              []Contribution
		total, bot, fraud int
	}{
		{"nothing", []Contribution{bot, fraud}, 90, 80, 50},
		{"in its category alone", []Contribution{bot, fraud, of("c", "bot", 50, true)}, 70, 40, 50}, // 1 − 0.6 × 0.5
		{"in any category", []Contribution{bot, fraud, of("c", "any", 50, true)}, 45, 40, 25},
		{"in one and in any", []Contribution{bot, fraud, of("c", "bot", 50, true), of("d", "any", 50, true)}, 35, 20, 25},
		{"in a category that nothing is said in", []Contribution{bot, of("c", "fraud", 100, true)}, 80, 80, 0},
		{"twice, as independent evidence", []Contribution{bot, of("c", "bot", 50, true), of("d", "bot", 50, true)}, 20, 20, 0},
		{"with certainty", []Contribution{bot, fraud, of("c", "any", 100, true)}, 0, 0, 0},
		{"with nobody to lower", []Contribution{of("c", "any", 100, true), of("d", "bot", 90, true)}, 0, 0, 0},
		{"only observed", []Contribution{bot, observed}, 80, 80, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := AtLeast(rules.Soft, tc.list, 0)
			if s.Total.Points() != tc.total || s.Category("bot").Points() != tc.bot || s.Category("fraud").Points() != tc.fraud {
				t.Errorf("got %d %+v", s.Total.Points(), s.Categories())
			}
		})
	}
	list := []Contribution{of("a", "bot", 80, false), {Rule: "b", Category: "bot", Lowers: true, Weight: 100, HalfLife: 1}}
	if now, later := At(list, 0), At(list, 30_000); now.Total != 0 || later.Total < 56*Point {
		t.Errorf("what lowers decays as well: %d, and half a minute later %d", now.Total, later.Total)
	}
	if at := Expires(list); at != Expires(list[:1]) || Fades(list[1:]) >= at || Expires(list[1:]) != 0 || Raised(list[1:]) {
		t.Errorf("a score expires with what raises it: %d", at)
	}
	if top := Top(list, 0, 2); top[0].Rule != "a" || top[1].Rule != "b" {
		t.Errorf("what lowers is named before what raises: %+v", top)
	}
}

func TestMoreEvidenceNeverLowersAScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawList(t)
		now := int64(1_732_000_000_000) + rapid.Int64Range(0, 50_000_000).Draw(t, "now")
		before := At(list, now)
		more := slices.Clone(list)
		if i := rapid.IntRange(0, len(more)).Draw(t, "which"); i < len(more) {
			if heavier := uint8(rapid.IntRange(int(more[i].Weight), 100).Draw(t, "heavier")); !more[i].Lowers {
				more[i].Weight = heavier
			}
		} else if len(more) < MaxContributions {
			more = append(more, drawRaising(t, rapid.SampledFrom([]string{"0", "bb", "z"}).Draw(t, "new rule")))
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
