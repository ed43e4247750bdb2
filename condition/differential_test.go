package condition

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"

	"github.com/weirdev/weir/event"
)

// celPredicate runs a condition on CEL's own machine.
func celPredicate(t testing.TB, l *Language, source string) Predicate {
	t.Helper()
	checked, issues := l.env.Compile(source)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	program, err := l.env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		t.Fatal(err)
	}
	return func(e *event.Event) bool {
		out, _, err := program.Eval(variables(e))
		if err != nil {
			t.Fatalf("%s: %v", source, err)
		}
		return out.Value().(bool)
	}
}

// variables gives CEL an event; absent fields are "", 0 and false.
func variables(e *event.Event) map[string]any {
	vars := map[string]any{}
	for _, s := range event.Fields() {
		switch {
		case s.Kind == event.KindBool:
			vars[s.Name] = e.Num(s.Field) != 0
		case s.Kind.Numeric():
			vars[s.Name] = e.Num(s.Field)
		default:
			vars[s.Name] = e.Text(s.Field)
		}
	}
	return vars
}

// words are texts and numbers that conditions and events have in common, so that
// comparisons come out both ways.
var words = []string{"", "a", "ab", "ba", "é", "failure", "success", "/v1/x", "x\n"}

// maker makes random conditions and events.
type maker struct{ *rand.Rand }

func (m maker) pick(of ...string) string { return of[m.IntN(len(of))] }

func (m maker) flag(depth int) string {
	if depth <= 0 {
		return m.pick("rooted", "emulator", "true", "skewed", "clipped", m.text(0)+m.pick(" == ", " != ")+m.text(0), m.number(0)+m.pick(" == ", " != ")+m.number(0))
	}
	switch m.IntN(13) {
	case 0:
		return "!(" + m.flag(depth-1) + ")"
	case 1, 2:
		return m.chain(" && ", depth)
	case 3, 4:
		return m.chain(" || ", depth)
	case 5:
		return fmt.Sprintf("(%s ? %s : %s)", m.flag(depth-1), m.flag(depth-1), m.flag(depth-1))
	case 6:
		return m.text(depth-1) + m.pick(" == ", " != ", " < ", " <= ", " > ", " >= ") + m.text(depth-1)
	case 7:
		return m.number(depth-1) + m.pick(" == ", " != ", " < ", " <= ", " > ", " >= ") + m.number(depth-1)
	case 8:
		return fmt.Sprintf("%s.%s(%s)", m.text(depth-1), m.pick("startsWith", "endsWith", "contains"), m.text(depth-1))
	case 9:
		return fmt.Sprintf("%s.matches(%s)", m.text(depth-1), m.pick(`"^a"`, `"b$"`, `"(?i)FAIL|x"`, `"^.$"`, `"\\s"`, `""`))
	case 10:
		return fmt.Sprintf("%s in [%s]", m.text(depth-1), m.several(func() string { return strconv.Quote(words[m.IntN(len(words))]) }))
	case 11:
		return fmt.Sprintf("%s in [%s]", m.number(depth-1), m.several(func() string { return strconv.Itoa(m.IntN(12)) }))
	}
	return fmt.Sprintf("(%s) %s (%s)", m.flag(depth-1), m.pick("==", "!="), m.flag(depth-1))
}

func (m maker) chain(with string, depth int) string {
	return "(" + strings.Join(m.list(2+m.IntN(4), func() string { return m.flag(depth - 1) }), with) + ")"
}

func (m maker) several(one func() string) string {
	return strings.Join(m.list(1+m.IntN(12), one), ", ")
}

func (m maker) list(n int, one func() string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = one()
	}
	return all
}

func (m maker) text(depth int) string {
	if depth > 0 && m.IntN(4) == 0 {
		return fmt.Sprintf("(%s ? %s : %s)", m.flag(depth-1), m.text(depth-1), m.text(depth-1))
	}
	return m.pick("account", "path", "object", "auth", "account", strconv.Quote(words[m.IntN(len(words))]))
}

func (m maker) number(depth int) string {
	switch {
	case depth > 0 && m.IntN(5) == 0:
		return fmt.Sprintf("(%s ? %s : %s)", m.flag(depth-1), m.number(depth-1), m.number(depth-1))
	case depth > 0 && m.IntN(3) == 0:
		return "size(" + m.text(depth-1) + ")"
	}
	return m.pick("status", "latency_us", "client_time", "asn", strconv.Itoa(m.IntN(12)))
}

func (m maker) event() *event.Event {
	e := new(event.Event)
	for _, f := range []event.Field{event.Account, event.Path, event.Object} {
		if m.IntN(5) > 0 {
			e.SetText(f, words[m.IntN(len(words))])
		}
	}
	if m.IntN(3) > 0 {
		e.SetText(event.Auth, m.pick("failure", "success", "challenge"))
	}
	for _, f := range []event.Field{event.Status, event.LatencyMicros, event.ClientTime, event.ASN} {
		if m.IntN(5) > 0 {
			e.SetNum(f, int64(m.IntN(12)))
		}
	}
	for _, f := range []event.Field{event.Rooted, event.Emulator, event.Skewed, event.Clipped} {
		if m.IntN(2) > 0 {
			e.SetNum(f, int64(m.IntN(2)))
		}
	}
	return e
}

// agree compares our closures with CEL's machine on random events; compiled is
// false where the source is no condition.
func agree(t testing.TB, l *Language, source string, m maker) (compiled bool) {
	c, faults := l.Compile(source)
	if len(faults) > 0 {
		return false
	}
	want := celPredicate(t, l, source)
	for range 12 {
		e := m.event()
		if got := c.Holds(e); got != want(e) {
			t.Fatalf("%s is %v here and %v in CEL, of %v", source, got, !got, variables(e))
		}
	}
	return true
}

func TestRandomConditionsAgreeWithCEL(t *testing.T) {
	l := testLanguage(t)
	accepted := 0
	for seed := range uint64(2000) {
		m := maker{rand.New(rand.NewPCG(seed, 1))}
		if agree(t, l, m.flag(1+m.IntN(4)), m) {
			accepted++
		}
	}
	// auth compared with another of its values than it has is refused.
	if accepted < 1000 {
		t.Errorf("only %d of 2000 random conditions were accepted", accepted)
	}
}

func FuzzCondition(f *testing.F) {
	for _, s := range []string{
		`auth == "failure" && status == 401`, `path.matches("^/(a|b)+$")`, `status in [1, 2] || rooted`,
		`(rooted ? account : path) <= "x"`, `!(size(object) > 3)`, `"\u00e9" == account`, "auth\n==\t'x'", `1.5 > 2.0`, `has(a.b)`, `((((true))))`,
	} {
		f.Add(s, uint64(1))
	}
	l := testLanguage(f)
	f.Fuzz(func(t *testing.T, source string, seed uint64) {
		agree(t, l, source, maker{rand.New(rand.NewPCG(seed, 2))})
	})
}
