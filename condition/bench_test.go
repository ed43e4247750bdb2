package condition

import (
	"fmt"
	"testing"

	"github.com/weirdev/weir/event"
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
			p := compiled(b, l, c.source).Holds
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

// BenchmarkHundred asks a hundred conditions, which differ in their second part,
// about one event: each by itself, and all through a matcher.
func BenchmarkHundred(b *testing.B) {
	l := testLanguage(b)
	var all []*Condition
	for i := range 100 {
		all = append(all, compiled(b, l, fmt.Sprintf(`status == 401 && route == "/login-%d"`, i)))
	}
	e := signIn()
	e.SetText(event.Route, "/login-77")
	b.Run("each", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			matched := 0
			for _, c := range all {
				if c.Holds(e) {
					matched++
				}
			}
			if matched != 1 {
				b.Fatal(matched)
			}
		}
	})
	b.Run("matcher", func(b *testing.B) {
		m := NewMatcher(all)
		matched := make([]int, 0, 100)
		b.ReportAllocs()
		for b.Loop() {
			if matched = m.Match(e, matched[:0]); len(matched) != 1 {
				b.Fatal(matched)
			}
		}
	})
}
