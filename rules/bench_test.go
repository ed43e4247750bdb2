package rules

import (
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// BenchmarkCondition compares our closures with CEL's own machine, which is
// given the event as a map that was made beforehand.
func BenchmarkCondition(b *testing.B) {
	l := testLanguage(b)
	e := signIn()
	vars := variables(e)
	for _, c := range []struct{ name, source string }{
		{"TwoEqualities", `status == 401 && auth == "failure"`},
		{"ThreeTerms", `auth == "failure" && status < 500 && account != ""`},
		{"ListAndPrefix", `auth in ["success", "failure"] && path.startsWith("/v1/")`},
		{"Pattern", `path.matches("^/v[12]/login")`},
	} {
		b.Run(c.name+"/closure", func(b *testing.B) {
			p := compiled(b, l, c.source).run
			b.ReportAllocs()
			for b.Loop() {
				if !p(e) {
					b.Fatal("false")
				}
			}
		})
		b.Run(c.name+"/cel", func(b *testing.B) {
			checked, _ := l.env.Compile(c.source)
			program, err := l.env.Program(checked)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := program.Eval(vars); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// manyRules are rules that differ in the second of two conditions.
func manyRules(b *testing.B, n int) *Set {
	b.Helper()
	yaml := "rules:\n"
	for i := range n {
		yaml += fmt.Sprintf(`
  - id: rule-%d
    title: x
    entity: account
    when: status == 401 && route == "/login-%d"
    tally: {}
    signal: {category: bot, reason: x, half_life: 1h}
    phase: observe
`, i, i)
	}
	set, err := Load(fstest.MapFS{"many.yaml": {Data: []byte(yaml)}}, tally())
	if err != nil {
		b.Fatal(err)
	}
	return set
}

// BenchmarkHundredRules asks a hundred rules about one event: each by itself,
// and all through a matcher.
func BenchmarkHundredRules(b *testing.B) {
	set := manyRules(b, 100)
	e := signIn()
	e.SetText(event.Route, "/login-77")
	b.Run("each", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			matched := 0
			for _, r := range set.Rules {
				if r.When(e) {
					matched++
				}
			}
			if matched != 1 {
				b.Fatal(matched)
			}
		}
	})
	b.Run("matcher", func(b *testing.B) {
		m := set.Matcher(facet.Account)
		matched := make([]int, 0, 100)
		b.ReportAllocs()
		for b.Loop() {
			if matched = m.Match(e, matched[:0]); len(matched) != 1 {
				b.Fatal(matched)
			}
		}
	})
}

// tally is a detector that does nothing.
func tally() []Kind {
	return []Kind{{Name: "tally", Doc: "nothing", Compile: func(*Params) Spec { return noSpec{} }}}
}

type noSpec struct{}

func (noSpec) Fields() []event.Field { return nil }
func (noSpec) State() string         { return "nothing" }
func (noSpec) Canonical() string     { return "nothing" }
func (noSpec) Keeps() Keeps          { return Keeps{} }
