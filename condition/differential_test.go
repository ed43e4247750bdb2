package condition

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/weirdev/weir/event"
)

// machine is CEL's own, with what our language adds to CEL.
func machine(t testing.TB, l *Language) *cel.Env {
	t.Helper()
	options := []cel.EnvOption{cel.Function("cidr",
		cel.Overload("cidr_one", []*cel.Type{cel.StringType}, cel.ListType(cel.StringType), cel.UnaryBinding(func(v ref.Val) ref.Val {
			return container{items: []Item{{Value: v.Value().(string)}}, kind: Networks}
		})))}
	for _, w := range Fields() {
		options = append(options, cel.Variable("has_"+w.Name, cel.BoolType))
	}
	env, err := l.env.Extend(options...)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// celPredicate runs a condition on CEL's own machine; nil where it cannot be said
// in CEL. It gives no answer where CEL's numbers overflow.
func celPredicate(env *cel.Env, source string) func(*event.Event) (holds, ok bool) {
	checked, issues := env.Compile(askedFor.ReplaceAllString(source, "has_$1"))
	if issues.Err() != nil {
		return nil
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil
	}
	return func(e *event.Event) (holds, ok bool) {
		out, _, err := program.Eval(variables(e))
		if err != nil {
			return false, false
		}
		return out.Value().(bool), true
	}
}

var askedFor = regexp.MustCompile(`\bhas\((\w+)\)`)

// container is a list to CEL: a second reading of what is in it.
type container struct {
	traits.Lister
	items []Item
	kind  ListKind
	now   int64
}

func (container) Type() ref.Type { return types.ListType }

func (c container) Contains(v ref.Val) ref.Val {
	for _, it := range c.items {
		if it.Expires != 0 && it.Expires <= c.now {
			continue
		}
		if c.kind != Networks {
			if strings.TrimPrefix(it.Value, "AS") == fmt.Sprint(v.Value()) {
				return types.True
			}
			continue
		}
		if !strings.Contains(it.Value, "/") {
			it.Value = netip.PrefixFrom(netip.MustParseAddr(it.Value), netip.MustParseAddr(it.Value).BitLen()).String()
		}
		text, _, _ := strings.Cut(v.Value().(string), "/")
		if a, err := netip.ParseAddr(text); err == nil && netip.MustParsePrefix(it.Value).Contains(a) {
			return types.True
		}
	}
	return types.False
}

// variables gives CEL an event; absent fields are "", 0 and false.
func variables(e *event.Event) map[string]any {
	vars := map[string]any{}
	for _, s := range event.Fields() {
		vars["has_"+s.Name] = e.Has(s.Field)
		switch {
		case s.Kind == event.KindBool:
			vars[s.Name] = e.Num(s.Field) != 0
		case s.Kind.Numeric():
			vars[s.Name] = e.Num(s.Field)
		default:
			vars[s.Name] = e.Text(s.Field)
		}
	}
	w := initial()
	vars[w.Name] = w.Compute(e)
	for _, l := range listItems {
		vars[listsPrefix+l.name] = container{items: l.items, kind: l.kind, now: e.Num(event.Time)}
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
	switch m.IntN(17) {
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
	case 12:
		return "has(" + m.pick("account", "status", "rooted", "country") + ")"
	case 13:
		return "client_ip in " + m.pick("lists.office", "lists.networks", `cidr("10.1.0.0/16")`, `cidr("203.0.113.9")`)
	case 14:
		return m.pick("asn in lists.hosting", m.text(depth-1)+" in lists.crew", `initial == "a"`, `initial in ["a", "b"]`)
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
	return m.pick("account", "path", "object", "auth", "account", "initial", strconv.Quote(words[m.IntN(len(words))]))
}

func (m maker) number(depth int) string {
	switch {
	case depth > 0 && m.IntN(5) == 0:
		return fmt.Sprintf("(%s ? %s : %s)", m.flag(depth-1), m.number(depth-1), m.number(depth-1))
	case depth > 0 && m.IntN(3) == 0:
		return "size(" + m.text(depth-1) + ")"
	case depth > 0 && m.IntN(3) == 0:
		return fmt.Sprintf("(%s %s %s)", m.number(depth-1), m.pick("+", "-", "*"), m.number(depth-1))
	case depth > 0 && m.IntN(6) == 0:
		return fmt.Sprintf("(%s %s %d)", m.number(depth-1), m.pick("/", "%"), 1+m.IntN(5))
	case depth > 0 && m.IntN(6) == 0:
		return fmt.Sprintf("(-%s)", m.number(depth-1))
	case m.IntN(40) == 0:
		return "9223372036854775807"
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
	if m.IntN(4) > 0 {
		e.SetText(event.ClientIP, m.pick("203.0.113.9", "198.51.100.7", "198.51.100.8", "10.0.0.1", "10.1.0.1", "10.1.2.3", "10.2.0.0", "9.255.255.255", "2001:db8::/64", "2001:db9::/64", "127.0.0.1"))
	}
	if m.IntN(3) > 0 {
		e.SetText(event.Auth, m.pick("failure", "success", "challenge"))
	}
	for _, f := range []event.Field{event.Status, event.LatencyMicros, event.ClientTime, event.ASN, event.Time} {
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
func agree(t testing.TB, l *Language, env *cel.Env, source string, m maker) (compiled bool) {
	c, faults := l.Compile(source)
	if len(faults) > 0 {
		return false
	}
	inCEL := celPredicate(env, source)
	if inCEL == nil {
		return false
	}
	for range 12 {
		e := m.event()
		want, ok := inCEL(e)
		if got := c.Holds(e); ok && got != want {
			t.Fatalf("%s is %v here and %v in CEL, of %v", source, got, !got, variables(e))
		}
	}
	return true
}

func TestRandomConditionsAgreeWithCEL(t *testing.T) {
	l := testLanguage(t)
	env := machine(t, l)
	accepted := 0
	for seed := range uint64(2000) {
		m := maker{rand.New(rand.NewPCG(seed, 1))}
		if agree(t, l, env, m.flag(1+m.IntN(4)), m) {
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
		`(rooted ? account : path) <= "x"`, `!(size(object) > 3)`, `"\u00e9" == account`, "auth\n==\t'x'", `1.5 > 2.0`, `has(a.b)`, `has(account) && asn in lists.hosting`, `client_ip in cidr("10.0.0.0/8") || client_ip in lists.networks`,
		`token_expires - token_issued > 3600 * 1000`, `-status / 3 % 2 * asn < 9223372036854775807`, `((((true))))`,
	} {
		f.Add(s, uint64(1))
	}
	l := testLanguage(f)
	env := machine(f, l)
	f.Fuzz(func(t *testing.T, source string, seed uint64) {
		agree(t, l, env, source, maker{rand.New(rand.NewPCG(seed, 2))})
	})
}
