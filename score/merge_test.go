package score

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/rules"
)

func TestMerge(t *testing.T) {
	at := func(rule string, weight uint8, time int64) Contribution {
		return Contribution{Rule: rule, Category: "bot", Reason: "r", Weight: weight, HalfLife: 60, Time: time}
	}
	lowering := func(c Contribution) Contribution {
		c.Lowers = true
		return c
	}
	full := func(weight uint8) (list []Contribution) {
		for i := range MaxContributions {
			list = append(list, at(fmt.Sprintf("r%d", i), weight, 0))
		}
		return list
	}
	with := func(list []Contribution, i int, c Contribution) []Contribution {
		list[i] = c
		return list
	}
	for _, tc := range []struct {
		name    string
		list    []Contribution
		add     Contribution
		want    []Contribution
		changed bool
	}{
		{"the first one is taken", nil, at("a", 50, 0), []Contribution{at("a", 50, 0)}, true},
		{"another rule goes to its place", []Contribution{at("a", 50, 0), at("c", 50, 0)}, at("b", 5, 0),
			[]Contribution{at("a", 50, 0), at("b", 5, 0), at("c", 50, 0)}, true},
		{"the same rule again refreshes", []Contribution{at("a", 50, 0)}, at("a", 50, 1000), []Contribution{at("a", 50, 1000)}, true},
		{"the very same changes nothing", []Contribution{at("a", 50, 0)}, at("a", 50, 0), []Contribution{at("a", 50, 0)}, false},
		{"a lower tier is dropped while the higher one is worth more", []Contribution{at("a", 80, 0)}, at("a", 40, 59_000),
			[]Contribution{at("a", 80, 0)}, false},
		{"a lower tier counts once the higher one has decayed to it", []Contribution{at("a", 80, 0)}, at("a", 40, 60_000),
			[]Contribution{at("a", 40, 60_000)}, true},
		{"a late repeat does not make the score older", []Contribution{at("a", 50, 60_000)}, at("a", 50, 0),
			[]Contribution{at("a", 50, 60_000)}, false},
		{"a late one that was worth more counts", []Contribution{at("a", 20, 60_000)}, at("a", 80, 0),
			[]Contribution{at("a", 80, 0)}, true},
		{"what is worth less than a point goes", []Contribution{at("a", 1, 0), at("b", 50, 0)}, at("b", 80, 60_000),
			[]Contribution{at("b", 80, 60_000)}, true},
		{"of nine the least goes", with(full(50), 3, at("r3", 10, 0)), at("z", 20, 0),
			append(slices.Delete(full(50), 3, 4), at("z", 20, 0)), true},
		{"the new one goes if it is the least", full(50), at("z", 20, 0), full(50), false},
		{"what lowers is pushed out as what raises", with(full(50), 3, lowering(at("r3", 10, 0))), at("z", 20, 0),
			append(slices.Delete(full(50), 3, 4), at("z", 20, 0)), true},
		{"what lowers pushes out what is worth less", with(full(50), 3, at("r3", 10, 0)), lowering(at("z", 20, 0)),
			append(slices.Delete(full(50), 3, 4), lowering(at("z", 20, 0))), true},
		{"what lowers pushes out nothing that is worth more", full(50), lowering(at("a", 49, 0)), full(50), false},
		{"a full list has room for another signal of its rules", with(full(50), 3, lowering(at("r3", 10, 0))), lowering(at("r3", 10, 1000)),
			with(full(50), 3, lowering(at("r3", 10, 1000))), true},
		{"of equals the last in order goes", full(50), at("a", 50, 0),
			append([]Contribution{at("a", 50, 0)}, full(50)[:7]...), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, changed := Merge(slices.Clone(tc.list), tc.add)
			if !slices.Equal(got, tc.want) || changed != tc.changed {
				t.Errorf("got  %+v %v\nwant %+v %v", got, changed, tc.want, tc.changed)
			}
		})
	}
}

func TestMergeKeepsItsPromises(t *testing.T) {
	halfLives := map[byte]int64{}
	for i, h := range []int64{1, 10, 60, 600, 1800, 3600, 7200, 86400, 604800, maxHalfLife} {
		halfLives['0'+byte(i)] = h
	}
	rapid.Check(t, func(t *rapid.T) {
		list := []Contribution{}
		for range rapid.IntRange(0, 30).Draw(t, "signals") {
			rule := fmt.Sprintf("rule-%02d", rapid.IntRange(0, 11).Draw(t, "rule"))
			c := drawContribution(t, rule)
			c.HalfLife = halfLives[rule[len(rule)-1]] // as long as the rules stay the same
			c.Category, c.Phase, c.Lowers = "bot", rules.Enforce, rule[len(rule)-1]%3 == 0
			before := slices.Clone(list)
			var changed bool
			list, changed = Merge(list, c)
			again, twice := Merge(slices.Clone(list), c)
			switch {
			case len(list) > MaxContributions:
				t.Fatalf("%d contributions", len(list))
			case !slices.IsSortedFunc(list, byRule):
				t.Fatalf("out of order: %+v", list)
			case changed == slices.Equal(before, list):
				t.Fatalf("changed is %v: %+v → %+v", changed, before, list)
			case twice || !slices.Equal(again, list):
				t.Fatalf("merged twice: %+v → %+v", list, again)
			}
			checkDirection(t, before, list, c)
		}
	})
}

// checkDirection: evidence against an entity never lowers what is known, and evidence
// for it never raises it, but for what has decayed below a point; at its own time that
// holds for what is pushed out as well.
func checkDirection(t *rapid.T, before, after []Contribution, c Contribution) {
	now := c.Time
	for _, old := range before {
		now = max(now, old.Time)
	}
	kept := slices.DeleteFunc(slices.Clone(before), func(old Contribution) bool {
		return !slices.ContainsFunc(after, func(n Contribution) bool { return n.Rule == old.Rule })
	})
	live, _ := Live(slices.Clone(before), c.Time)
	for _, was := range []struct {
		list []Contribution
		now  int64
	}{{kept, now}, {live, c.Time}} {
		from, to := At(was.list, was.now), At(after, was.now)
		if c.Lowers {
			from, to = to, from
		}
		if rounding := Fixed(2 * MaxContributions); to.Total+rounding < from.Total {
			t.Fatalf("what lowers is %v: total from %d to %d", c.Lowers, At(was.list, was.now).Total, At(after, was.now).Total)
		}
	}
}

func TestARuleTakesBackWhatItSaid(t *testing.T) {
	at := func(rule string, weight uint8, time int64) Contribution {
		return Contribution{Rule: rule, Category: "bot", Reason: "r", Weight: weight, HalfLife: 60, Time: time}
	}
	for _, tc := range []struct {
		name    string
		list    []Contribution
		want    []Contribution
		changed bool
	}{
		{"its contribution goes, others stay", []Contribution{at("a", 50, 0), at("b", 50, 0)}, []Contribution{at("a", 50, 0)}, true},
		{"of the same moment, too", []Contribution{at("b", 50, 60_000)}, nil, true},
		{"what it said of a later time stays", []Contribution{at("b", 50, 60_001)}, []Contribution{at("b", 50, 60_001)}, false},
		{"what has decayed goes with it", []Contribution{at("a", 1, 0), at("b", 50, 0)}, nil, true},
		{"it said nothing", []Contribution{at("a", 50, 0)}, []Contribution{at("a", 50, 0)}, false},
		{"what it said has decayed", []Contribution{at("b", 1, 0)}, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, changed := Clear(slices.Clone(tc.list), "b", 60_000)
			if !slices.Equal(got, tc.want) || changed != tc.changed {
				t.Errorf("got %+v %v", got, changed)
			}
		})
	}
}

func BenchmarkMergeRefresh(b *testing.B) {
	list := []Contribution{{Rule: "a", Weight: 50, HalfLife: 60}, {Rule: "b", Weight: 50, HalfLife: 60}}
	b.ReportAllocs()
	now := int64(0)
	for b.Loop() {
		now++
		list, _ = Merge(list, Contribution{Rule: "b", Weight: 50, HalfLife: 60, Time: now & 1023})
	}
}

// Of two contributions of a rule that are worth the same, the later one stays,
// whichever comes first.
func TestTheOrderOfEqualContributionsMakesNoDifference(t *testing.T) {
	early := Contribution{Rule: "r", Category: "bot", Reason: "x", Weight: 20, HalfLife: 30 * 24 * 3600, Time: 1_763_892_000_000}
	late := early
	late.Time++
	if Decayed(early, late.Time) != Decayed(late, late.Time) {
		t.Fatal("they are not worth the same")
	}
	for _, order := range [][2]Contribution{{early, late}, {late, early}} {
		list, _ := Merge(nil, order[0])
		list, changed := Merge(list, order[1])
		if len(list) != 1 || list[0] != late || changed != (order[1] == late) {
			t.Errorf("%+v stays, changed %v", list, changed)
		}
	}
}
