package score

import (
	"cmp"
	"slices"

	"github.com/weirdev/weir/rules"
)

// CategoryScore is the score within one category of abuse.
type CategoryScore struct {
	Category string
	Score    Fixed
}

// Scores are the scores of a list of contributions at some moment.
type Scores struct {
	Total Fixed

	n          int
	categories [MaxContributions]CategoryScore
}

// Categories lists the scores by category, in order of name. It aliases s.
func (s *Scores) Categories() []CategoryScore { return s.categories[:s.n] }

// Category returns the score of one category, 0 if it has none.
func (s *Scores) Category(name string) Fixed {
	for _, c := range s.Categories() {
		if c.Category == name {
			return c.Score
		}
	}
	return 0
}

// At returns the scores of list at now (Unix milliseconds), whatever the phase of
// its rules. Contributions combine like independent evidence. Let r be the
// contributions that raise in a category, l those that lower in the category, and a
// those that lower in any, each a fraction of 1:
//
//	category  (1 − Π (1 − r)) × Π (1 − l) × Π (1 − a)
//	total     (1 − Π over categories (1 − (1 − Π (1 − r)) × Π (1 − l))) × Π (1 − a)
//
// Factors are taken in order of rules, categories in order of name, and each
// product is rounded down to a unit. Without lowering contributions, the total is 1
// − Π (1 − r) over all.
func At(list []Contribution, now int64) Scores { return AtLeast(rules.Observe, list, now) }

// AtLeast is [At] for the contributions of rules whose phase is at least least,
// raising and lowering: with rules.Soft, of all that may act at all. So an observe
// rule lowers nothing that acts; and with rules.Enforce, the result may be higher
// than with rules.Soft. The order of list does not matter; contributions beyond
// [MaxContributions] are ignored.
func AtLeast(least rules.Phase, list []Contribution, now int64) Scores {
	list = sorted(list)
	var s Scores
	lowered := false
	for i := range list {
		c := &list[i]
		if c.Phase < least {
			continue
		}
		if c.Lowers {
			lowered = true
		} else if d := Decayed(*c, now); d > 0 {
			s.add(c.Category, d)
		}
	}
	if lowered {
		s.lower(false, least, list, now)
	}
	s.sum()
	if lowered {
		s.lower(true, least, list, now)
	}
	return s
}

// sum computes the total from the categories.
func (s *Scores) sum() {
	left := Full // what is left of innocence
	for _, c := range s.Categories() {
		left = times(left, Full-c.Score)
	}
	s.Total = Full - left
}

// lower applies the lowering contributions. If whole is true, it applies those for
// any category to all categories and the total; otherwise it applies each of the
// others to its own category.
func (s *Scores) lower(whole bool, least rules.Phase, list []Contribution, now int64) {
	for i := range list {
		c := &list[i]
		if !c.Lowers || c.Phase < least || whole != (c.Category == rules.AnyCategory) {
			continue
		}
		rest := Full - Decayed(*c, now)
		if whole {
			s.Total = times(s.Total, rest)
		}
		for n := range s.Categories() {
			if of := &s.categories[n]; whole || of.Category == c.Category {
				of.Score = times(of.Score, rest)
			}
		}
	}
}

// sorted returns list in order of rules, because rounding depends on the order of
// factors. Stored lists are in order already; of others it makes a copy.
func sorted(list []Contribution) []Contribution {
	if len(list) > MaxContributions {
		list = list[:MaxContributions]
	}
	for i := 1; i < len(list); i++ {
		if byRule(list[i-1], list[i]) > 0 {
			list = slices.Clone(list)
			slices.SortFunc(list, byRule)
			break
		}
	}
	return list
}

// times returns a × b of fractions of certainty, rounded down.
func times(a, b Fixed) Fixed { return Fixed(uint64(a) * uint64(b) / uint64(Full)) }

// add combines d into its category, keeping the categories in order.
func (s *Scores) add(category string, d Fixed) {
	i := 0
	for i < s.n && s.categories[i].Category < category {
		i++
	}
	if i < s.n && s.categories[i].Category == category {
		s.categories[i].Score = Full - times(Full-s.categories[i].Score, Full-d)
		return
	}
	copy(s.categories[i+1:s.n+1], s.categories[i:s.n])
	s.categories[i] = CategoryScore{category, d}
	s.n++
}

// Raise sets s to the higher of s and o, in total and in each category, for a
// request with several entities. Categories beyond [MaxContributions] are left out.
func (s *Scores) Raise(o *Scores) {
	s.Total = max(s.Total, o.Total)
	if s.n == 0 { // the first entity with a score, and commonly the only one
		s.n = copy(s.categories[:], o.Categories())
		return
	}
	for _, c := range o.Categories() {
		i := slices.IndexFunc(s.Categories(), func(have CategoryScore) bool { return have.Category == c.Category })
		switch {
		case i >= 0:
			s.categories[i].Score = max(s.categories[i].Score, c.Score)
		case s.n < MaxContributions:
			s.add(c.Category, c.Score)
		}
	}
}

// Reason is one contribution to a score, and its worth.
type Reason struct {
	Contribution
	Worth Fixed // at the moment asked about
}

// Top lists the n contributions that are worth most at now, the greatest first;
// among equals, by rule. Lowering contributions come after all raising ones. None
// is worth less than half a point.
func Top(list []Contribution, now int64, n int) []Reason {
	return AppendTop(make([]Reason, 0, len(list)), list, now, n)
}

// AppendTop is [Top] in the room of an empty slice.
func AppendTop(reasons []Reason, list []Contribution, now int64, n int) []Reason {
	for i := range list {
		if d := Decayed(list[i], now); d.Points() > 0 {
			reasons = append(reasons, Reason{list[i], d})
		}
	}
	slices.SortFunc(reasons, func(a, b Reason) int {
		if a.Lowers != b.Lowers {
			if b.Lowers {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.Worth, a.Worth), cmp.Compare(a.Rule, b.Rule))
	})
	return reasons[:min(max(n, 0), len(reasons))]
}
