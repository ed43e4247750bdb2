package condition

import (
	"math"

	"github.com/weirdev/weir/event"
)

// Numbers have 64 bits, and arithmetic saturates, so that a comparison gives the
// same result as with the true value.

// calculation builds the closure of an arithmetic expression.
func calculation(t *expr) numberOf {
	a := numbers(t.args[0])
	if t.op == opNegate {
		return func(e *event.Event) int64 { return subtract(0, a(e)) }
	}
	b := numbers(t.args[1])
	switch t.op {
	case opAdd:
		return func(e *event.Event) int64 { return add(a(e), b(e)) }
	case opSubtract:
		return difference(t.args[0], t.args[1])
	case opMultiply:
		return func(e *event.Event) int64 { return multiply(a(e), b(e)) }
	case opDivide:
		by := t.args[1].num
		return func(e *event.Event) int64 { return divide(a(e), by) }
	}
	by := t.args[1].num
	return func(e *event.Event) int64 { return a(e) % by }
}

// difference is a - b; for two fields, the usual case, it is one closure.
func difference(a, b *expr) numberOf {
	if a.op == opWord && b.op == opWord {
		f, g := a.word.Field, b.word.Field
		return func(e *event.Event) int64 { return subtract(e.Num(f), e.Num(g)) }
	}
	p, q := numbers(a), numbers(b)
	return func(e *event.Event) int64 { return subtract(p(e), q(e)) }
}

func add(a, b int64) int64 {
	if sum := a + b; (sum > a) == (b > 0) {
		return sum
	}
	return bound(b < 0)
}

func subtract(a, b int64) int64 {
	if rest := a - b; (rest < a) == (b > 0) {
		return rest
	}
	return bound(b > 0)
}

func multiply(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	p := a * b
	if p/b != a || a == -1 && b == math.MinInt64 || b == -1 && a == math.MinInt64 {
		return bound((a < 0) != (b < 0))
	}
	return p
}

// divide drops the remainder; by is not 0.
func divide(a, by int64) int64 {
	if by == -1 {
		return subtract(0, a)
	}
	return a / by
}

func bound(negative bool) int64 {
	if negative {
		return math.MinInt64
	}
	return math.MaxInt64
}
