package condition

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/weirdev/weir/event"
)

// Matcher finds which of many conditions match an event.
//
// Many conditions ask the same question about a field: is route this, is auth that.
// The matcher looks the field up once, and continues only with the conditions that
// want its value. A hundred conditions about a hundred routes cost as much as one.
// Rules that differ only in what they do with their events have the same condition: it
// is tested once.
// Any number of goroutines may use it.
type Matcher struct {
	all    []*Condition
	keyed  []keyed
	others []candidate // conditions that ask no such question
}

// MaxMatched is the number of conditions that a matcher indexes; beyond that it
// runs them one by one.
const MaxMatched = 1000

// keyed holds the conditions that want certain values of one word.
type keyed struct {
	word  *Word
	texts wanted[string] // of a text
	nums  wanted[int64]  // of a number or a flag
	some  []candidate    // that want any text
}

// wanted holds candidates by the value that they want. A few values are compared one by
// one, which is faster than a map.
type wanted[V comparable] struct {
	values []V
	lists  [][]candidate
	places map[V]int // nil while there are few
}

func (w *wanted[V]) add(v V, c candidate) {
	i := w.place(v)
	if i < 0 {
		i = len(w.values)
		w.values, w.lists = append(w.values, v), append(w.lists, nil)
	}
	w.lists[i] = append(w.lists[i], c)
	if len(w.values) <= fewValues {
		return
	}
	if w.places == nil {
		w.places = map[V]int{}
		for i, v := range w.values {
			w.places[v] = i
		}
	}
	w.places[v] = i
}

func (w *wanted[V]) of(v V) []candidate {
	if i := w.place(v); i >= 0 {
		return w.lists[i]
	}
	return nil
}

// place returns the index of a value; −1 if no candidate wants it.
func (w *wanted[V]) place(v V) int {
	if w.places == nil {
		return slices.Index(w.values, v)
	}
	if i, ok := w.places[v]; ok {
		return i
	}
	return -1
}

// candidate is a condition with its remaining tests. It stands for all equal conditions,
// whose indexes are its places.
type candidate struct {
	places *[]int
	rest   Predicate // nil: nothing
}

// few is the number of conditions that are faster one by one.
const few = 4

// NewMatcher creates the matcher of some conditions.
func NewMatcher(all []*Condition) *Matcher {
	m := &Matcher{all: all}
	if len(all) <= few || len(all) > MaxMatched {
		return m
	}
	weights := keyWeights(all)
	at, known := map[*Word]int{}, map[string]*[]int{}
	for i, c := range all {
		places := known[c.Canonical]
		if places != nil && c.root != nil {
			*places = append(*places, i)
			continue
		}
		places = &[]int{i}
		if c.root != nil {
			known[c.Canonical] = places
		}
		q, rest := chooseKey(c, weights)
		if q.word == nil {
			m.others = append(m.others, candidate{places, c.Holds})
			continue
		}
		if _, ok := at[q.word]; !ok {
			at[q.word] = len(m.keyed)
			m.keyed = append(m.keyed, keyed{word: q.word})
		}
		m.keyed[at[q.word]].add(q, candidate{places, rest})
	}
	return m
}

// Match appends to matched the indexes of the conditions that match e, ascending.
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
		m.keyed[i].ask(e, &hits)
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
			for _, place := range *c.places {
				hits[place/64] |= 1 << (place % 64)
			}
		}
	}
}

// ask asks the conditions that want the event's value.
func (k *keyed) ask(e *event.Event, hits *[MaxMatched/64 + 1]uint64) {
	if k.word.Sort != Text {
		ask(k.nums.of(e.Num(k.word.Field)), e, hits)
		return
	}
	v := k.word.text(e)
	ask(k.texts.of(v), e, hits)
	if v != "" {
		ask(k.some, e, hits)
	}
}

func (k *keyed) add(q question, c candidate) {
	if q.some {
		k.some = append(k.some, c)
	}
	for _, v := range q.texts {
		k.texts.add(v, c)
	}
	for _, v := range q.nums {
		k.nums.add(v, c)
	}
}

// question is a part of a condition that tests whether a word has one of several
// values, or any text.
type question struct {
	word  *Word
	texts []string
	nums  []int64
	some  bool
}

// asQuestion reads an expression as a question; its word is nil if it is none.
func asQuestion(t *expr) question {
	if eq, ok := equality(t); ok {
		switch {
		case !eq.not && eq.text:
			return question{word: eq.word, texts: []string{eq.want}}
		case !eq.not:
			return question{word: eq.word, nums: []int64{eq.num}}
		case eq.text && eq.want == "":
			return question{word: eq.word, some: true}
		}
	}
	if t.op == opIn && t.args[0].op == opWord {
		return question{word: t.args[0].word, texts: distinct(t.texts), nums: distinct(t.nums)}
	}
	return question{}
}

func distinct[V cmp.Ordered](list []V) []V {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// parts returns the expressions that must all be true; nil if they are not known.
func (c *Condition) parts() []*expr {
	switch {
	case c.root == nil:
		return nil
	case c.root.op == opAnd:
		return c.root.args
	}
	return []*expr{c.root}
}

// keyWeights counts the different values of each word that conditions want: the
// more values, the fewer conditions remain for each.
func keyWeights(all []*Condition) map[*Word]int {
	weights := map[*Word]int{}
	type value struct {
		word *Word
		text string
		num  int64
	}
	seen := map[value]bool{}
	count := func(v value) {
		if !seen[v] {
			seen[v] = true
			weights[v.word]++
		}
	}
	for _, c := range all {
		for _, t := range c.parts() {
			q := asQuestion(t)
			for _, s := range q.texts {
				count(value{word: q.word, text: s})
			}
			for _, n := range q.nums {
				count(value{word: q.word, num: n})
			}
		}
	}
	return weights
}

// chooseKey picks the question of a condition that leaves the fewest others, and
// returns the remaining tests.
func chooseKey(c *Condition, weights map[*Word]int) (best question, rest Predicate) {
	parts, at := c.parts(), -1
	for i, t := range parts {
		if q := asQuestion(t); q.word != nil && (at < 0 || weights[q.word] > weights[best.word]) {
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
