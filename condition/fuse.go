package condition

import (
	"cmp"
	"slices"

	"github.com/weirdev/weir/event"
)

// equals is a comparison of a field with a constant by == or !=, the most common
// part of conditions. Pairs of them run as one closure.
type equals struct {
	word *Word
	text bool // compares text, not num
	not  bool
	want string
	num  int64
}

// equality reads t as a comparison of a field with a constant.
func equality(t *expr) (equals, bool) {
	if t.op == opWord && t.sort == Flag {
		return equals{word: t.word, not: true}, true // a flag alone: != false
	}
	if t.op != opEqual && t.op != opUnequal {
		return equals{}, false
	}
	f, c := t.args[0], t.args[1]
	if f.op == opConst {
		f, c = c, f
	}
	if f.op != opWord || c.op != opConst {
		return equals{}, false
	}
	return equals{word: f.word, text: f.sort == Text, not: t.op == opUnequal, want: c.text, num: c.num}, true
}

func (q equals) predicate() Predicate {
	f, want, num := q.word.Field, q.want, q.num
	switch d := q.word.derived; {
	case d != nil && q.not:
		return func(e *event.Event) bool { return e.Derive(d) != want }
	case d != nil:
		return func(e *event.Event) bool { return e.Derive(d) == want }
	case q.text && q.not:
		return func(e *event.Event) bool { return e.Text(f) != want }
	case q.text:
		return func(e *event.Event) bool { return e.Text(f) == want }
	case q.not:
		return func(e *event.Event) bool { return e.Num(f) != num }
	}
	return func(e *event.Event) bool { return e.Num(f) == num }
}

// both runs two comparisons as one closure; nil if there is none for them.
func both(a, b equals) Predicate {
	if a.not || b.not || a.word.Compute != nil || b.word.Compute != nil {
		return nil
	}
	if a.text && !b.text {
		a, b = b, a
	}
	f, g, an, bn, at, bt := a.word.Field, b.word.Field, a.num, b.num, a.want, b.want
	switch {
	case a.text:
		return func(e *event.Event) bool { return e.Text(f) == at && e.Text(g) == bt }
	case b.text:
		return func(e *event.Event) bool { return e.Num(f) == an && e.Text(g) == bt }
	}
	return func(e *event.Event) bool { return e.Num(f) == an && e.Num(g) == bn }
}

func conjunction(args []*expr) Predicate {
	args = cheapestFirst(args)
	if len(args) >= 2 {
		a, ok := equality(args[0])
		b, ok2 := equality(args[1])
		if ok && ok2 {
			if p := both(a, b); p != nil {
				return and(append([]Predicate{p}, predicates(args[2:])...))
			}
		}
	}
	return and(predicates(args))
}

func disjunction(args []*expr) Predicate {
	list := predicates(cheapestFirst(args))
	if len(list) == 2 {
		p, q := list[0], list[1]
		return func(e *event.Event) bool { return p(e) || q(e) }
	}
	return func(e *event.Event) bool {
		for _, p := range list {
			if p(e) {
				return true
			}
		}
		return false
	}
}

func and(list []Predicate) Predicate {
	switch len(list) {
	case 1:
		return list[0]
	case 2:
		p, q := list[0], list[1]
		return func(e *event.Event) bool { return p(e) && q(e) }
	case 3:
		p, q, r := list[0], list[1], list[2]
		return func(e *event.Event) bool { return p(e) && q(e) && r(e) }
	}
	return func(e *event.Event) bool {
		for _, p := range list {
			if !p(e) {
				return false
			}
		}
		return true
	}
}

func predicates(args []*expr) []Predicate {
	list := make([]Predicate, len(args))
	for i, a := range args {
		list[i] = predicate(a)
	}
	return list
}

// cheapestFirst orders the parts of a chain by cost. Conditions have no side
// effects and cannot fail, so any order is valid.
func cheapestFirst(args []*expr) []*expr {
	sorted := slices.Clone(args)
	slices.SortStableFunc(sorted, func(a, b *expr) int { return cmp.Compare(cost(a), cost(b)) })
	return sorted
}

// cost estimates nanoseconds.
func cost(t *expr) int {
	own := 2
	switch t.op {
	case opConst:
		return 0
	case opWord:
		if t.word.Compute != nil {
			return 40
		}
		return 1
	case opLess, opLessEqual, opGreater, opGreaterEqual:
		own = 5 // after equalities, which most events fail, and which can be fused
	case opIn:
		own = 2 + min(len(t.texts)+len(t.nums), 10)
	case opStarts, opEnds:
		own = 4
	case opContains, opSize:
		own = 30
	case opMatches:
		own = 300
	case opListed:
		own = 15
		if t.list.Kind == Networks {
			own = 80
		}
	}
	for _, a := range t.args {
		own += cost(a)
		if a.sort == Text && a.op == opWord {
			own++
		}
	}
	return own
}
