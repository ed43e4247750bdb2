package score

import (
	"cmp"
	"slices"
)

// Merge adds c to list, which is in order of rules and stays so, in place if there
// is room. Contributions that have decayed below a point at c's time are removed.
//
// A rule has one contribution. c replaces its rule's own if it is worth more at the
// later of their times, or as much and is no older; otherwise c is dropped. Beyond
// [MaxContributions], the contribution worth least at c's time is dropped, whether
// it raises or lowers; among equals, the last in order. So a raising contribution
// never lowers a score, and a lowering one never raises it. changed reports whether
// list changed.
func Merge(list []Contribution, c Contribution) (merged []Contribution, changed bool) {
	merged, changed = Live(list, c.Time)
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

// Live removes from list, in place, what has decayed below a point at now. changed
// reports whether anything was removed.
func Live(list []Contribution, now int64) (live []Contribution, changed bool) {
	live = slices.DeleteFunc(list, func(c Contribution) bool { return Decayed(c, now) < Point })
	return live, len(live) != len(list)
}

// Clear removes from list, in place, rule's contribution up to at (Unix
// milliseconds), and what has decayed below a point then. A contribution of a later
// time stays, as if it came later. changed reports whether the rule's was removed.
// If not, the caller must leave list as it was, because decayed contributions might
// not be remembered at all.
func Clear(list []Contribution, rule string, at int64) (cleared []Contribution, changed bool) {
	live, _ := Live(list, at)
	cleared = slices.DeleteFunc(live, func(c Contribution) bool { return c.Rule == rule && c.Time <= at })
	return cleared, len(cleared) != len(live)
}

// refresh replaces old by c if c is worth at least as much. The order of the two
// makes no difference.
func refresh(old *Contribution, c Contribution) bool {
	at := max(old.Time, c.Time)
	was, is := Decayed(*old, at), Decayed(c, at)
	if *old == c || is < was || is == was && c.Time < old.Time {
		return false
	}
	*old = c
	return true
}

// replaceLeast puts c into a full list in place of the contribution worth least at
// c's time, unless that is c.
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
