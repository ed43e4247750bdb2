package rules

import (
	"fmt"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// model is the sliding window written as its definition reads: every matching
// event is kept, and every window is counted anew. It is far too slow to serve,
// and too plain to share a fault with what serves.
type model struct {
	rule    *Rule
	events  []TestEvent
	tier    int
	firedAt time.Duration
}

// apply feeds a matching event; weight is that of the tier that fires, or 0.
func (m *model) apply(e TestEvent) (weight uint8) {
	w := m.rule.Window
	if w.Distinct != event.None && !e.Event.Has(w.Distinct) {
		return 0
	}
	m.events = append(m.events, e)
	if !m.counts(e) {
		return 0
	}
	counted, others := map[any]bool{}, map[any]bool{}
	for i, old := range m.events {
		if old.At <= e.At-w.Window {
			continue
		}
		if m.counts(old) {
			counted[m.value(i)] = true
		} else {
			others[m.value(i)] = true
		}
	}
	if 100*len(counted) < w.MinShare*(len(counted)+len(others)) {
		return 0
	}
	tier := -1
	for i, t := range w.Tiers {
		if len(counted) >= t.At {
			tier = i
		}
	}
	if tier < 0 || tier <= m.tier && e.At-m.firedAt < w.Cooldown {
		return 0
	}
	m.tier, m.firedAt = tier, e.At
	return w.Tiers[tier].Weight
}

func (m *model) counts(e TestEvent) bool {
	return m.rule.Window.Counted == nil || m.rule.Window.Counted(e.Event)
}

func (m *model) value(i int) any {
	switch d := m.rule.Window.Distinct; {
	case d == event.None:
		return i
	case d.Kind().Numeric():
		return m.events[i].Event.Num(d)
	default:
		return m.events[i].Event.Text(d)
	}
}

// run gives the signals of a test.
func run(r *Rule, t *Test) []Fired {
	entities := map[string]*model{}
	var fired []Fired
	for _, e := range t.Expand() {
		ent, ok := facet.EntityOf(r.Entity, e.Event, nil)
		if !ok || e.Event.Refused() || !r.When(e.Event) {
			continue
		}
		m := entities[ent.Key]
		if m == nil {
			m = &model{rule: r, tier: -1}
			entities[ent.Key] = m
		}
		if w := m.apply(e); w > 0 {
			fired = append(fired, Fired{ent.Key, w})
		}
	}
	return fired
}

func TestTheBuiltInRulesDoWhatTheirTestsSay(t *testing.T) {
	set, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range set.Rules {
		for i := range r.Tests {
			t.Run(r.ID+"/"+r.Tests[i].Name, func(t *testing.T) {
				for _, wrong := range r.Tests[i].Verdict(run(r, &r.Tests[i])) {
					t.Error(wrong)
				}
			})
		}
	}
}

// A rule that fires on innocent people costs more than one that misses, so
// built-in rules have to show both.
func TestTheBuiltInRulesAreTestedBothWays(t *testing.T) {
	set, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Rules) < 5 {
		t.Errorf("%d rules are built in, want 5", len(set.Rules))
	}
	for _, r := range set.Rules {
		positive, tiers := 0, map[uint8]bool{}
		for _, test := range r.Tests {
			if len(test.Expect) > 0 {
				positive++
			}
			for _, x := range test.Expect {
				tiers[x.Weight] = true
			}
		}
		if negative := len(r.Tests) - positive; positive < 2 || negative < 3 {
			t.Errorf("%s: %d positive and %d negative tests, want 2 and 3", r.ID, positive, negative)
		}
		for _, tier := range r.Window.Tiers {
			if !tiers[tier.Weight] {
				t.Errorf("%s: no test expects the tier of weight %d", r.ID, tier.Weight)
			}
		}
		if r.Description == "" {
			t.Errorf("%s: no description", r.ID)
		}
	}
}

func TestAVerdictNamesEveryDifference(t *testing.T) {
	test := Test{Expect: []Expect{{Entity: "a", Weight: 40}, {Entity: "b", Weight: 80, Signals: 2}, {Entity: "c", Weight: 10}, {Entity: "e", Weight: 5, Signals: 1}}}
	got := test.Verdict([]Fired{{"b", 80}, {"c", 10}, {"c", 20}, {"d", 30}, {"e", 5}})
	want := []string{
		"a: no signal, want one of weight 40",
		"b: 1 signal, want 2",
		"c: heaviest signal has weight 20, want 10",
		"d: 1 signal of weight up to 30, want none",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestExpandedEventsAreInOrderOfTime(t *testing.T) {
	test := Test{Events: []Step{
		{At: time.Second, Every: 2 * time.Second, Repeat: 3, Values: []Value{{Field: event.Account, Text: "u{n}-{n%2}"}, {Field: event.Status, Num: 401}}},
		{At: 0, Repeat: 1, Values: []Value{{Field: event.Account, Text: "first"}}},
		{At: 3 * time.Second, Repeat: 1, Values: []Value{{Field: event.Rooted, Num: 1}}},
	}}
	var got []string
	for _, e := range test.Expand() {
		if e.Event.Num(event.Time) != TestStart+e.At.Milliseconds() {
			t.Errorf("the event at %s has the time %d", e.At, e.Event.Num(event.Time))
		}
		got = append(got, fmt.Sprintf("%s %s %d", e.At, e.Event.Text(event.Account), e.Event.Num(event.Status)))
	}
	want := []string{"0s first 0", "1s u1-1 401", "3s u2-0 401", "3s  0", "5s u3-1 401"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheBuiltInRulesProjectWhatTheyRead(t *testing.T) {
	set, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	p := set.Projection()
	want := map[facet.Kind][]event.Field{
		facet.IP:      {event.Account, event.Status, event.Auth},
		facet.Account: {event.Status, event.Object, event.Auth},
		facet.Token:   {event.Method, event.Status, event.Object},
		facet.Device:  {event.Signature, event.SignatureReason},
	}
	for _, k := range facet.Kinds() {
		if !slices.Equal(p[k], want[k]) {
			t.Errorf("%s: %v, want %v", k, p[k], want[k])
		}
	}
	if h := set.Horizon(facet.Account); h != 10*time.Minute {
		t.Errorf("horizon of accounts is %s", h)
	}
	if h := set.Horizon(facet.Net); h != 0 {
		t.Errorf("horizon of networks is %s, though no rule looks at them", h)
	}
}

// Such a rule counts every event of its entity: the entity's facets carry no
// fields, but there are some.
func TestAKindWhoseRulesReadNothingHasFacets(t *testing.T) {
	set, err := Load(fstest.MapFS{"all.yaml": {Data: []byte(`
rules:
  - id: everything
    title: Counts every event
    entity: device
    when: "true"
    sliding_window:
      window: 1m
      tiers: [{at: 10, weight: 10}]
    signal: {category: bot, reason: r, half_life: 1m}
    phase: observe
`)}})
	if err != nil {
		t.Fatal(err)
	}
	p := set.Projection()
	if p[facet.Device] == nil || len(p[facet.Device]) != 0 || p[facet.Account] != nil {
		t.Errorf("projection %#v", p)
	}
}
