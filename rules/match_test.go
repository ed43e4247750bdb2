package rules

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// oneByOne is what the matcher must agree with.
func oneByOne(s *Set, k facet.Kind, e *event.Event) []string {
	var ids []string
	for _, r := range s.Rules {
		if r.Entity == k && r.When(e) {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// ruleOf makes a rule as loading does, without a file.
func ruleOf(t testing.TB, l *language, id, when string) (*Rule, bool) {
	t.Helper()
	c, faults := l.compile(when)
	if len(faults) > 0 {
		return nil, false
	}
	return &Rule{ID: id, Entity: facet.Account, When: c.run, term: c.term}, true
}

func TestTheMatcherAgreesWithAskingOneByOne(t *testing.T) {
	l := testLanguage(t)
	matched, unmatched := 0, 0
	for seed := range uint64(150) {
		m := maker{rand.New(rand.NewPCG(seed, 3))}
		set := &Set{}
		for i := range 1 + m.IntN(90) {
			when := m.flag(m.IntN(3))
			if m.IntN(2) == 0 {
				when = fmt.Sprintf("account == %q && status in [%d, %d, %d] && %s", words[m.IntN(len(words))], m.IntN(12), m.IntN(12), m.IntN(12), when)
			}
			if r, ok := ruleOf(t, l, fmt.Sprintf("r%02d", i), when); ok {
				set.Rules = append(set.Rules, r)
			}
		}
		// Rules of another kind, and one that no file has given.
		set.Rules = append(set.Rules, &Rule{ID: "x", Entity: facet.IP, When: func(*event.Event) bool { return true }},
			&Rule{ID: "y", Entity: facet.Account, When: func(e *event.Event) bool { return e.Has(event.Path) }})
		matcher := set.Matcher(facet.Account)
		for range 20 {
			e := m.event()
			var got []string
			for _, i := range matcher.Match(e, nil) {
				got = append(got, matcher.rules[i].ID)
			}
			want := oneByOne(set, facet.Account, e)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: the matcher finds %v, one by one %v", seed, got, want)
			}
			matched, unmatched = matched+len(want), unmatched+len(matcher.rules)-len(want)
		}
	}
	if matched < 1000 || unmatched < 1000 {
		t.Errorf("%d matches and %d others are too few to mean anything", matched, unmatched)
	}
}

func TestAMatcherWithoutRulesMatchesNothing(t *testing.T) {
	if got := new(Set).Matcher(facet.IP).Match(signIn(), nil); len(got) != 0 {
		t.Errorf("matched %v", got)
	}
}

func TestMatchingAllocatesNothing(t *testing.T) {
	l := testLanguage(t)
	set := &Set{}
	for i := range 200 {
		r, ok := ruleOf(t, l, fmt.Sprintf("r%03d", i), fmt.Sprintf(`auth == "failure" && (route == "/r%d" || status in [401, 403]) && asn in [%d, 0]`, i, i))
		if !ok {
			t.Fatal("no rule")
		}
		set.Rules = append(set.Rules, r)
	}
	m, e, matched := set.Matcher(facet.Account), signIn(), make([]int, 0, 200)
	if n := testing.AllocsPerRun(100, func() { matched = m.Match(e, matched[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(matched) != 200 {
		t.Errorf("%d rules matched, want 200", len(matched))
	}
}
