package rules_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

func warned(set *rules.Set, l rules.Lint) (all []string) {
	for _, p := range set.Warnings(l) {
		if p.Do == "" || p.Text == "" {
			all = append(all, fmt.Sprintf("%+v lacks something", p))
		}
		all = append(all, fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.What))
	}
	return all
}

func TestWhatIsMostLikelyNotMeantIsWarnedOf(t *testing.T) {
	fires := "      - {name: n%d, events: [{at: 0s, every: 1s, repeat: 5, set: {account: a, auth: failure, object: o}}], expect: [{entity: a, weight: 50}]}\n"
	spares := "      - {name: m%d, events: [{at: 0s, set: {account: a, auth: failure}}], expect: []}\n"
	tests := func(positive, negative int) string {
		s := "    tests:\n"
		for i := range positive {
			s += fmt.Sprintf(fires, i)
		}
		for i := range negative {
			s += fmt.Sprintf(spares, i)
		}
		return s
	}
	enforcing := strings.Replace(small("e"), "phase: soft", "phase: enforce", 1)
	march := time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		files map[string]string
		lint  rules.Lint
		want  []string
	}{
		"tests enough":        {map[string]string{"a.yaml": small("a") + tests(2, 3)}, rules.Lint{}, nil},
		"few that it fires":   {map[string]string{"a.yaml": small("a") + tests(1, 3)}, rules.Lint{}, []string{"a.yaml:3:9: the rule has few tests: 1 in which it fires, and 3 in which it does not"}},
		"few that it spares":  {map[string]string{"a.yaml": small("a") + tests(2, 2)}, rules.Lint{}, []string{"a.yaml:3:9: the rule has few tests: 2 in which it fires, and 2 in which it does not"}},
		"acts untested":       {map[string]string{"a.yaml": enforcing + tests(2, 0)}, rules.Lint{}, []string{"a.yaml:9:12: the rule acts, and no test shows whom it spares"}},
		"looks back too far":  {map[string]string{"a.yaml": small("a") + tests(2, 3)}, rules.Lint{Retention: 9 * time.Minute}, []string{"a.yaml:7:15: the rule looks back 10m, and the tables keep events for 9m"}},
		"looks back so far":   {map[string]string{"a.yaml": small("a") + tests(2, 3)}, rules.Lint{Retention: 10 * time.Minute}, nil},
		"nothing has expired": {map[string]string{"a.yaml": small("a") + excepting + tests(2, 3), "z.yaml": someLists}, rules.Lint{Now: time.Date(2026, 6, 29, 23, 59, 59, 0, time.UTC)}, nil},
		"what has expired": {map[string]string{"a.yaml": small("a") + excepting + tests(2, 3), "z.yaml": someLists}, rules.Lint{Now: march}, []string{
			"a.yaml:13:9: the exception for security has expired", "z.yaml:8:9: 198.51.100.7 in the list office has expired"}},
	} {
		if got := warned(load(t, c.files), c.lint); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// keyedSpec keeps something for each value of fields.
type keyedSpec struct {
	rules.Spec
	keys []event.Field
}

func (s keyedSpec) Keys() []event.Field { return s.keys }

func TestKeysThatClientsChooseAreWarnedOf(t *testing.T) {
	for field, want := range map[event.Field]bool{event.Route: false, event.Status: false, event.Country: false, event.UserAgent: true, event.Path: true, event.Object: true} {
		kinds := []rules.Kind{testrules.Counting()}
		i := slices.IndexFunc(kinds, func(k rules.Kind) bool { return k.Name == "counting" })
		inner := kinds[i].Compile
		kinds[i].Compile = func(p *rules.Params) rules.Spec { return keyedSpec{inner(p), []event.Field{field}} }
		set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(small("a"))}}, kinds)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(warned(set, rules.Lint{}), " "), "clients choose"); got != want {
			t.Errorf("%s is warned of: %v, want %v", field, got, want)
		}
	}
}

func TestTheBuiltInRulesGiveNoWarnings(t *testing.T) {
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	const retention = 90 * 24 * time.Hour // of the tables, unless it is set
	if got := warned(set, rules.Lint{Now: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Retention: retention}); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
