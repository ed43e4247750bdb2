package score

import "slices"

// Without removes from list, in place, the contributions that match. removed
// reports whether there were any.
func Without(list []Contribution, match func(Contribution) bool) (rest []Contribution, removed bool) {
	rest = slices.DeleteFunc(list, match)
	return rest, len(rest) != len(list)
}

// Halve halves the weights of what raises list in a category ("": in any), in
// place, rounded down, as if each had aged by one half-life. Contributions without
// a point left are removed. changed reports whether there were any to halve.
func Halve(list []Contribution, category string) (halved []Contribution, changed bool) {
	for i := range list {
		if c := &list[i]; !c.Lowers && (category == "" || c.Category == category) {
			c.Weight /= 2
			changed = true
		}
	}
	return slices.DeleteFunc(list, func(c Contribution) bool { return c.Weight == 0 }), changed
}
