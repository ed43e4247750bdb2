package condition

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/weirdev/weir/event"
)

// Matcher finds those of many conditions that hold of an event.
//
// Many ask the same question of a field: is route this, is auth that. The matcher
// looks such a field up once, and goes on only with the conditions that want its
// value; a hundred conditions about a hundred routes cost as much as one. It may
// be used by any number of goroutines.
type Matcher struct {
	all    []*Condition
	keyed  []keyed
	others []candidate // conditions that ask no such question
}

// MaxMatched is how many conditions a matcher asks at once; more it asks one by one.
const MaxMatched = 1000

// keyed holds the conditions that want certain values of one field.
type keyed struct {
	field event.Field
	texts map[string][]candidate // text fields
	nums  map[int64][]candidate  // other fields
}

// candidate is a condition, by its place, with what remains to be asked.
type candidate struct {
	place int
	rest  Predicate // nil: nothing
}

// few is how many conditions are asked faster one by one.
const few = 4

// NewMatcher makes the matcher of some conditions.
func NewMatcher(all []*Condition) *Matcher {
	m := &Matcher{all: all}
	if len(all) <= few || len(all) > MaxMatched {
		return m
	}
	weights := keyWeights(all)
	at := map[event.Field]int{}
	for i, c := range all {
		q, rest := chooseKey(c, weights)
		if q.field == event.None {
			m.others = append(m.others, candidate{i, c.Holds})
			continue
		}
		if _, ok := at[q.field]; !ok {
			at[q.field] = len(m.keyed)
			m.keyed = append(m.keyed, keyed{field: q.field, texts: map[string][]candidate{}, nums: map[int64][]candidate{}})
		}
		m.keyed[at[q.field]].add(q, candidate{i, rest})
	}
	return m
}

// Match appends to matched the places of the conditions that hold of e, ascending.
func (m *Matcher) Match(e *event.Event, matched []int) []int {
	if m.keyed == nil {
		for i, c := range m.all {
			if c.Holds(e) {
				matched = append(matched, i)
			}
		}
		return matched
	}
	var hits [MaxMatched/64 + 1]uint64
	for i := range m.keyed {
		ask(m.keyed[i].candidates(e), e, &hits)
	}
	ask(m.others, e, &hits)
	for w, word := range hits[:len(m.all)/64+1] {
		for ; word != 0; word &= word - 1 {
			matched = append(matched, w*64+bits.TrailingZeros64(word))
		}
	}
	return matched
}

func ask(list []candidate, e *event.Event, hits *[MaxMatched/64 + 1]uint64) {
	for _, c := range list {
		if c.rest == nil || c.rest(e) {
			hits[c.place/64] |= 1 << (c.place % 64)
		}
	}
}

func (k *keyed) candidates(e *event.Event) []candidate {
	if k.field.Kind().Numeric() {
		return k.nums[e.Num(k.field)]
	}
	return k.texts[e.Text(k.field)]
}

func (k *keyed) add(q question, c candidate) {
	for _, v := range q.texts {
		k.texts[v] = append(k.texts[v], c)
	}
	for _, v := range q.nums {
		k.nums[v] = append(k.nums[v], c)
	}
}

// question is a part of a condition that asks whether a field has one of some
// values.
type question struct {
	field event.Field
	texts []string
	nums  []int64
}

// asQuestion reads an expression as a question; its field is None where it is none.
func asQuestion(t *expr) question {
	if eq, ok := equality(t); ok && !eq.not {
		if eq.text {
			return question{field: eq.field, texts: []string{eq.want}}
		}
		return question{field: eq.field, nums: []int64{eq.num}}
	}
	if t.op == opIn && t.args[0].op == opField {
		return question{field: t.args[0].field, texts: distinct(t.texts), nums: distinct(t.nums)}
	}
	return question{}
}

func distinct[V cmp.Ordered](list []V) []V {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// parts are the expressions that must all hold; nil where they are not known.
func (c *Condition) parts() []*expr {
	switch {
	case c.root == nil:
		return nil
	case c.root.op == opAnd:
		return c.root.args
	}
	return []*expr{c.root}
}

// keyWeights counts how many different values the conditions want of each field:
// the more, the fewer conditions are left for any one.
func keyWeights(all []*Condition) (weights [event.MaxField]int) {
	type value struct {
		field event.Field
		text  string
		num   int64
	}
	seen := map[value]bool{}
	count := func(v value) {
		if !seen[v] {
			seen[v] = true
			weights[v.field]++
		}
	}
	for _, c := range all {
		for _, t := range c.parts() {
			q := asQuestion(t)
			for _, s := range q.texts {
				count(value{field: q.field, text: s})
			}
			for _, n := range q.nums {
				count(value{field: q.field, num: n})
			}
		}
	}
	return weights
}

// chooseKey picks the question of a condition that leaves the fewest others, and
// what remains to be asked.
func chooseKey(c *Condition, weights [event.MaxField]int) (best question, rest Predicate) {
	parts, at := c.parts(), -1
	for i, t := range parts {
		if q := asQuestion(t); q.field != event.None && (at < 0 || weights[q.field] > weights[best.field]) {
			best, at = q, i
		}
	}
	if at < 0 || len(parts) == 1 {
		return best, nil
	}
	others := make([]*expr, 0, len(parts)-1)
	others = append(append(others, parts[:at]...), parts[at+1:]...)
	return best, conjunction(others)
}
