package condition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/weirdev/weir/event"
)

func TestTheMatcherAgreesWithAskingOneByOne(t *testing.T) {
	l := testLanguage(t)
	matched, unmatched := 0, 0
	for seed := range uint64(150) {
		m := maker{rand.New(rand.NewPCG(seed, 3))}
		var all []*Condition
		for range 1 + m.IntN(90) {
			when := m.flag(m.IntN(3))
			switch m.IntN(4) {
			case 0, 1:
				when = fmt.Sprintf("account == %q && status in [%d, %d, %d] && %s", words[m.IntN(len(words))], m.IntN(12), m.IntN(12), m.IntN(12), when)
			case 2:
				when = fmt.Sprintf(`account != "" && %s`, when)
			}
			for range 1 + m.IntN(2) { // the same condition once or twice
				if c, faults := l.Compile(when); len(faults) == 0 {
					all = append(all, c)
				}
			}
		}
		// One that was written in Go.
		all = append(all, &Condition{Holds: func(e *event.Event) bool { return e.Has(event.Path) }})
		matcher := NewMatcher(all)
		for range 20 {
			e := m.event()
			got := matcher.Match(e, nil)
			var want []int
			for i, c := range all {
				if c.Holds(e) {
					want = append(want, i)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: the matcher finds %v, one by one %v", seed, got, want)
			}
			matched, unmatched = matched+len(want), unmatched+len(all)-len(want)
		}
	}
	if matched < 1000 || unmatched < 1000 {
		t.Errorf("%d matches and %d others are too few to mean anything", matched, unmatched)
	}
}

func TestAMatcherWithoutConditionsMatchesNothing(t *testing.T) {
	if got := NewMatcher(nil).Match(signIn(), nil); len(got) != 0 {
		t.Errorf("matched %v", got)
	}
}

func TestMatchingAllocatesNothing(t *testing.T) {
	l := testLanguage(t)
	var all []*Condition
	for i := range 200 {
		all = append(all, compiled(t, l, fmt.Sprintf(`auth == "failure" && (route == "/r%d" || status in [401, 403]) && asn in [%d, 0]`, i, i)))
	}
	m, e, matched := NewMatcher(all), signIn(), make([]int, 0, 200)
	if n := testing.AllocsPerRun(100, func() { matched = m.Match(e, matched[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(matched) != 200 {
		t.Errorf("%d matched, want 200", len(matched))
	}
}
