package condition

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weirdev/weir/event"
)

type (
	textOf   func(*event.Event) string
	numberOf func(*event.Event) int64
)

// predicate compiles an expression of flag sort. A tree of closures costs a
// nanosecond or two per node; CEL's own machine costs a hundred.
func predicate(t *expr) Predicate {
	switch t.op {
	case opConst:
		v := t.num != 0
		return func(*event.Event) bool { return v }
	case opWord:
		f := t.word.Field
		return func(e *event.Event) bool { return e.Num(f) != 0 }
	case opHas:
		return t.args[0].word.has()
	case opListed:
		return t.list.member(t.args[0])
	case opNot:
		p := predicate(t.args[0])
		return func(e *event.Event) bool { return !p(e) }
	case opAnd:
		return conjunction(t.args)
	case opOr:
		return disjunction(t.args)
	case opIf:
		c, a, b := predicate(t.args[0]), predicate(t.args[1]), predicate(t.args[2])
		return func(e *event.Event) bool {
			if c(e) {
				return a(e)
			}
			return b(e)
		}
	case opIn:
		return membership(t)
	case opStarts, opEnds, opContains:
		return textTest(t.op, texts(t.args[0]), texts(t.args[1]))
	case opMatches:
		v, p := texts(t.args[0]), t.pattern
		return func(e *event.Event) bool { return p.MatchString(v(e)) }
	}
	return comparison(t)
}

func texts(t *expr) textOf {
	switch t.op {
	case opConst:
		v := t.text
		return func(*event.Event) string { return v }
	case opIf:
		c, a, b := predicate(t.args[0]), texts(t.args[1]), texts(t.args[2])
		return func(e *event.Event) string {
			if c(e) {
				return a(e)
			}
			return b(e)
		}
	}
	if d := t.word.derived; d != nil {
		return func(e *event.Event) string { return e.Derive(d) }
	}
	f := t.word.Field
	return func(e *event.Event) string { return e.Text(f) }
}

func numbers(t *expr) numberOf {
	switch t.op {
	case opConst:
		v := t.num
		return func(*event.Event) int64 { return v }
	case opSize:
		v := texts(t.args[0])
		return func(e *event.Event) int64 { return int64(utf8.RuneCountInString(v(e))) }
	case opIf:
		c, a, b := predicate(t.args[0]), numbers(t.args[1]), numbers(t.args[2])
		return func(e *event.Event) int64 {
			if c(e) {
				return a(e)
			}
			return b(e)
		}
	}
	if t.op != opWord {
		return calculation(t)
	}
	f := t.word.Field
	return func(e *event.Event) int64 { return e.Num(f) }
}

func textTest(o op, v, part textOf) Predicate {
	switch o {
	case opStarts:
		return func(e *event.Event) bool { return strings.HasPrefix(v(e), part(e)) }
	case opEnds:
		return func(e *event.Event) bool { return strings.HasSuffix(v(e), part(e)) }
	}
	return func(e *event.Event) bool { return strings.Contains(v(e), part(e)) }
}

// fewValues is the number of values that are found faster one by one than in a map.
const fewValues = 8

func membership(t *expr) Predicate {
	if t.args[0].sort == Text {
		return member(texts(t.args[0]), t.texts)
	}
	return member(numbers(t.args[0]), t.nums)
}

func member[V comparable](v func(*event.Event) V, list []V) Predicate {
	if len(list) <= fewValues {
		return func(e *event.Event) bool { return slices.Contains(list, v(e)) }
	}
	set := make(map[V]struct{}, len(list))
	for _, s := range list {
		set[s] = struct{}{}
	}
	return func(e *event.Event) bool {
		_, ok := set[v(e)]
		return ok
	}
}

func comparison(t *expr) Predicate {
	if eq, ok := equality(t); ok {
		return eq.predicate()
	}
	a, b := t.args[0], t.args[1]
	switch a.sort {
	case Text:
		return compareTexts(t.op, texts(a), texts(b))
	case Flag:
		p, q, want := predicate(a), predicate(b), t.op == opEqual
		return func(e *event.Event) bool { return (p(e) == q(e)) == want }
	}
	if a.op == opWord && b.op == opConst {
		return compareField(t.op, a.word.Field, b.num)
	}
	if a.op == opConst && b.op == opWord {
		return compareField(mirrored(t.op), b.word.Field, a.num)
	}
	return compareNumbers(t.op, numbers(a), numbers(b))
}

// mirrored returns the equivalent operator with exchanged sides.
func mirrored(o op) op {
	switch o {
	case opLess:
		return opGreater
	case opLessEqual:
		return opGreaterEqual
	case opGreater:
		return opLess
	case opGreaterEqual:
		return opLessEqual
	}
	return o
}

func compareTexts(o op, a, b textOf) Predicate {
	switch o {
	case opEqual:
		return func(e *event.Event) bool { return a(e) == b(e) }
	case opUnequal:
		return func(e *event.Event) bool { return a(e) != b(e) }
	case opLess:
		return func(e *event.Event) bool { return a(e) < b(e) }
	case opLessEqual:
		return func(e *event.Event) bool { return a(e) <= b(e) }
	case opGreater:
		return func(e *event.Event) bool { return a(e) > b(e) }
	}
	return func(e *event.Event) bool { return a(e) >= b(e) }
}

func compareNumbers(o op, a, b numberOf) Predicate {
	switch o {
	case opEqual:
		return func(e *event.Event) bool { return a(e) == b(e) }
	case opUnequal:
		return func(e *event.Event) bool { return a(e) != b(e) }
	case opLess:
		return func(e *event.Event) bool { return a(e) < b(e) }
	case opLessEqual:
		return func(e *event.Event) bool { return a(e) <= b(e) }
	case opGreater:
		return func(e *event.Event) bool { return a(e) > b(e) }
	}
	return func(e *event.Event) bool { return a(e) >= b(e) }
}

// compareField compares a field with a constant, the usual case.
func compareField(o op, f event.Field, v int64) Predicate {
	switch o {
	case opLess:
		return func(e *event.Event) bool { return e.Num(f) < v }
	case opLessEqual:
		return func(e *event.Event) bool { return e.Num(f) <= v }
	case opGreater:
		return func(e *event.Event) bool { return e.Num(f) > v }
	}
	return func(e *event.Event) bool { return e.Num(f) >= v }
}
