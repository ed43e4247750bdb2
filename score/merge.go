package score

import (
	"cmp"
	"slices"
)

// Merge adds c to list, which is in order of rules and stays so, in place where
// there is room. What has decayed below a point at c's time goes.
//
// A rule has one contribution: c replaces that of its own rule if it is worth
// more at the later of their times, or as much and is no older, and is dropped
// otherwise. Of more than [MaxContributions] the one worth least at c's time goes,
// of equals the last in order. changed says whether list became another.
func Merge(list []Contribution, c Contribution) (merged []Contribution, changed bool) {
	merged = slices.DeleteFunc(list, func(old Contribution) bool { return Decayed(old, c.Time) < Point })
	changed = len(merged) != len(list)
	i := 0
	for i < len(merged) && merged[i].Rule < c.Rule {
		i++
	}
	if i < len(merged) && merged[i].Rule == c.Rule {
		return merged, refresh(&merged[i], c) || changed
	}
	if len(merged) < MaxContributions {
		return slices.Insert(merged, i, c), true
	}
	return merged, replaceLeast(merged, c) || changed
}

// refresh puts c in the place of old if it is worth as much. Which of the two
// comes first makes no difference.
func refresh(old *Contribution, c Contribution) bool {
	at := max(old.Time, c.Time)
	was, is := Decayed(*old, at), Decayed(c, at)
	if *old == c || is < was || is == was && c.Time < old.Time {
		return false
	}
	*old = c
	return true
}

// replaceLeast puts c into a full list in the place of the contribution worth
// least at c's time, unless that is c.
func replaceLeast(list []Contribution, c Contribution) bool {
	least, worth, rule := -1, Decayed(c, c.Time), c.Rule
	for i := range list {
		w := Decayed(list[i], c.Time)
		if w < worth || w == worth && list[i].Rule > rule {
			least, worth, rule = i, w, list[i].Rule
		}
	}
	if least < 0 {
		return false
	}
	list[least] = c
	slices.SortFunc(list, byRule)
	return true
}

func byRule(a, b Contribution) int { return cmp.Compare(a.Rule, b.Rule) }
