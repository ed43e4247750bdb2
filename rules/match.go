package rules

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// Matcher finds those rules of one entity kind whose When holds of an event.
//
// Many rules ask the same question of a field: is route this, is auth that. The
// matcher looks such a field up once, and goes on only with the rules that want
// its value; a hundred rules about a hundred routes cost as much as one. It may
// be used by any number of goroutines.
type Matcher struct {
	rules  []*Rule
	keyed  []keyed
	others []candidate // rules that ask no such question
}

// keyed holds the rules that want certain values of one field.
type keyed struct {
	field event.Field
	texts map[string][]candidate // text fields
	nums  map[int64][]candidate  // other fields
}

// candidate is a rule with what remains to be asked.
type candidate struct {
	rule int
	rest Predicate // nil: nothing
}

// fewRules is how many rules are asked faster one by one.
const fewRules = 4

// Matcher makes the matcher of the rules of kind k.
func (s *Set) Matcher(k facet.Kind) *Matcher {
	m := new(Matcher)
	for _, r := range s.Rules {
		if r.Entity == k {
			m.rules = append(m.rules, r)
		}
	}
	if len(m.rules) <= fewRules || len(m.rules) > maxRules {
		return m
	}
	weights := keyWeights(m.rules)
	at := map[event.Field]int{}
	for i, r := range m.rules {
		q, rest := chooseKey(r, weights)
		if q.field == event.None {
			m.others = append(m.others, candidate{i, r.When})
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

// Match appends to matched the places of the rules that match e, ascending: places
// among the rules of the kind, which are in order of id.
func (m *Matcher) Match(e *event.Event, matched []int) []int {
	if m.keyed == nil {
		for i, r := range m.rules {
			if r.When(e) {
				matched = append(matched, i)
			}
		}
		return matched
	}
	var hits [maxRules/64 + 1]uint64
	for i := range m.keyed {
		ask(m.keyed[i].candidates(e), e, &hits)
	}
	ask(m.others, e, &hits)
	for w, word := range hits[:len(m.rules)/64+1] {
		for ; word != 0; word &= word - 1 {
			matched = append(matched, w*64+bits.TrailingZeros64(word))
		}
	}
	return matched
}

func ask(list []candidate, e *event.Event, hits *[maxRules/64 + 1]uint64) {
	for _, c := range list {
		if c.rest == nil || c.rest(e) {
			hits[c.rule/64] |= 1 << (c.rule % 64)
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

// asQuestion reads a term as a question; its field is None where it is none.
func asQuestion(t *term) question {
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

// parts are the terms that must all hold; nil for a rule that was not loaded
// from a file.
func (r *Rule) parts() []*term {
	switch {
	case r.term == nil:
		return nil
	case r.term.op == opAnd:
		return r.term.args
	}
	return []*term{r.term}
}

// keyWeights counts how many different values the rules want of each field: the
// more, the fewer rules are left for any one.
func keyWeights(rules []*Rule) (weights [event.MaxField]int) {
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
	for _, r := range rules {
		for _, t := range r.parts() {
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

// chooseKey picks the question of a rule that leaves the fewest rules, and what
// remains to be asked.
func chooseKey(r *Rule, weights [event.MaxField]int) (best question, rest Predicate) {
	parts, at := r.parts(), -1
	for i, t := range parts {
		if q := asQuestion(t); q.field != event.None && (at < 0 || weights[q.field] > weights[best.field]) {
			best, at = q, i
		}
	}
	if at < 0 || len(parts) == 1 {
		return best, nil
	}
	others := make([]*term, 0, len(parts)-1)
	others = append(append(others, parts[:at]...), parts[at+1:]...)
	return best, conjunction(others)
}
