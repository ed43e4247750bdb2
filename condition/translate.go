package condition

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/weirdev/weir/event"
)

// translator turns CEL's checked tree into expressions, and refuses what conditions do
// not offer.
type translator struct {
	tree   *ast.AST
	parts  int
	faults []Fault
}

// expr translates e. It never returns nil: in the place of what was refused
// stands an expression that means nothing, with a fault reported.
func (tr *translator) expr(e ast.Expr, depth int) *expr {
	t := &expr{sort: flagSort, op: opConst}
	at := tr.tree.SourceInfo().GetStartLocation(e.ID())
	t.line, t.column = at.Line(), at.Column()
	tr.parts++
	switch {
	case tr.parts == maxParts+1:
		tr.fault(t, "the condition has too many parts", fmt.Sprintf("at most %d are compiled; make several rules of it", maxParts))
		return t
	case tr.parts > maxParts:
		return t
	case depth > maxDepth:
		what, do := nestedTooDeeply()
		tr.fault(t, what, do)
		tr.parts = maxParts + 1 // one fault of this kind is enough
		return t
	}
	switch e.Kind() {
	case ast.LiteralKind:
		tr.literal(t, e)
	case ast.IdentKind:
		tr.ident(t, e.AsIdent())
	case ast.CallKind:
		tr.call(t, e.AsCall(), depth)
	case ast.ListKind:
		tr.fault(t, "a list can stand only to the right of in", `write, for example, method in ["PUT", "POST"]`)
	default:
		tr.fault(t, "conditions have no maps, messages or members", "use the fields, comparisons and functions of docs/rules.md")
	}
	return t
}

func nestedTooDeeply() (what, do string) {
	return "the condition is nested too deeply", fmt.Sprintf("at most %d levels are compiled; make several rules of it", maxDepth)
}

func (tr *translator) fault(t *expr, what, do string) {
	tr.faults = append(tr.faults, Fault{t.line, t.column, what, do})
}

func (tr *translator) literal(t *expr, e ast.Expr) {
	switch v := e.AsLiteral().(type) {
	case types.Bool:
		t.sort = flagSort
		if v {
			t.num = 1
		}
	case types.Int:
		t.sort, t.num = numberSort, int64(v)
	case types.String:
		t.sort, t.text = textSort, string(v)
	default:
		tr.fault(t, fmt.Sprintf("a value of type %s cannot be compared with any field", v.Type().TypeName()),
			"write a whole number, a text in quotes, true or false")
	}
}

func (tr *translator) ident(t *expr, name string) {
	spec, ok := event.Lookup(name)
	if !ok {
		tr.fault(t, fmt.Sprintf("%q is no field", name), "use the fields of docs/rules.md")
		return
	}
	t.op, t.field = opField, spec.Field
	switch spec.Kind {
	case event.KindInt, event.KindTime:
		t.sort = numberSort
	case event.KindText, event.KindAddress:
		t.sort = textSort
	}
}

// ops says which functions of CEL conditions offer.
func ops(function string) op {
	switch function {
	case operators.LogicalNot:
		return opNot
	case operators.LogicalAnd:
		return opAnd
	case operators.LogicalOr:
		return opOr
	case operators.Equals:
		return opEqual
	case operators.NotEquals:
		return opUnequal
	case operators.Less:
		return opLess
	case operators.LessEquals:
		return opLessEqual
	case operators.Greater:
		return opGreater
	case operators.GreaterEquals:
		return opGreaterEqual
	case operators.In:
		return opIn
	case operators.Conditional:
		return opIf
	case "startsWith":
		return opStarts
	case "endsWith":
		return opEnds
	case "contains":
		return opContains
	case "matches":
		return opMatches
	case "size":
		return opSize
	}
	return 0
}

func (tr *translator) call(t *expr, c ast.CallExpr, depth int) {
	t.op = ops(c.FunctionName())
	args := c.Args()
	if c.IsMemberFunction() {
		args = append([]ast.Expr{c.Target()}, args...)
	}
	switch t.op {
	case 0:
		t.op = opConst
		tr.fault(t, fmt.Sprintf("%s is not offered in conditions", functionName(c.FunctionName())),
			"offered are == != < <= > >= && || ! ?: in, startsWith, endsWith, contains, matches and size")
		return
	case opIn:
		tr.in(t, args, depth)
		return
	}
	for _, a := range args {
		t.args = append(t.args, tr.expr(a, depth+1))
	}
	if len(tr.faults) > 0 {
		return
	}
	switch t.op {
	case opAnd, opOr:
		t.flatten()
	case opLess, opLessEqual, opGreater, opGreaterEqual:
		if t.args[0].sort == flagSort {
			tr.fault(t, "flags have no order", "compare flags with == or !=")
		}
	case opMatches:
		tr.pattern(t)
	case opSize:
		t.sort = numberSort
		if t.args[0].sort != textSort {
			tr.fault(t, "only a text has a size", "write size(path), for example")
		}
	case opIf:
		t.sort = t.args[1].sort
	}
}

// functionName is how an operator is written; a function's name otherwise.
func functionName(function string) string {
	if shown, ok := operators.FindReverse(function); ok && shown != "" {
		return shown
	}
	return function
}

// flatten makes one expression of a chain: CEL balances a && b && c into a tree.
func (t *expr) flatten() {
	var all []*expr
	for _, a := range t.args {
		if a.op == t.op {
			all = append(all, a.args...)
		} else {
			all = append(all, a)
		}
	}
	t.args = all
}

func (tr *translator) in(t *expr, args []ast.Expr, depth int) {
	left := tr.expr(args[0], depth+1)
	t.args = []*expr{left}
	const do = `write the values into the list, such as status in [401, 403]`
	if args[1].Kind() != ast.ListKind {
		tr.fault(t, "in needs a list of values on its right", do)
		return
	}
	elements := args[1].AsList().Elements()
	if len(elements) == 0 {
		tr.fault(t, "the list is empty, so this is never true", do)
		return
	}
	for _, e := range elements {
		v := tr.expr(e, depth+1)
		switch {
		case len(tr.faults) > 0:
			return
		case v.op != opConst || v.sort != left.sort || v.sort == flagSort:
			tr.fault(v, fmt.Sprintf("the list must hold values of the same type as its left side, which is %s", left.sort), do)
			return
		case v.sort == textSort:
			t.texts = append(t.texts, v.text)
		default:
			t.nums = append(t.nums, v.num)
		}
	}
}

func (tr *translator) pattern(t *expr) {
	p := t.args[1]
	t.args = t.args[:1]
	if p.op != opConst {
		tr.fault(p, "the pattern of matches must stand in the rule", `write it in quotes, such as path.matches("^/v[12]/")`)
		return
	}
	if len(p.text) > maxPattern {
		tr.fault(p, "the pattern is too long", fmt.Sprintf("at most %d bytes are compiled", maxPattern))
		return
	}
	size, err := programSize(p.text)
	if err != nil {
		tr.fault(p, err.Error(), "patterns are RE2: no look-around, no back-references; a backslash stands twice in quotes")
		return
	}
	if size > maxProgram {
		tr.fault(p, fmt.Sprintf("the pattern compiles to %d steps", size), fmt.Sprintf("at most %d are run on every event; make repeats such as {1,100} shorter", maxProgram))
		return
	}
	// Compiled anew from the same text, so it cannot fail.
	t.pattern = regexp.MustCompile(p.text)
}

// programSize is the number of instructions of a regular expression: what it
// costs per byte of text, at worst.
func programSize(pattern string) (int, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0, err
	}
	return len(program.Inst), nil
}
