package condition

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// translator turns CEL's checked tree into expressions, and refuses what conditions
// do not support.
type translator struct {
	language *Language
	tree     *ast.AST
	parts    int
	faults   []Fault
}

// expr translates e. It never returns nil: a refused part becomes an expression
// without meaning, and its fault is reported.
func (tr *translator) expr(e ast.Expr, depth int) *expr {
	t := &expr{sort: Flag, op: opConst}
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
		t.sort = Flag
		if v {
			t.num = 1
		}
	case types.Int:
		t.sort, t.num = Number, int64(v)
	case types.String:
		t.sort, t.text = Text, string(v)
	default:
		tr.fault(t, fmt.Sprintf("a value of type %s cannot be compared with any field", v.Type().TypeName()),
			"write a whole number, a text in quotes, true or false")
	}
}

func (tr *translator) ident(t *expr, name string) {
	if strings.HasPrefix(name, listsPrefix) {
		tr.fault(t, "a list can stand only to the right of in", "write, for example, client_ip in "+name)
		return
	}
	w := tr.language.words[name]
	if w == nil {
		tr.fault(t, fmt.Sprintf("%q is no field", name), "use the fields of docs/rules.md")
		return
	}
	t.op, t.word, t.sort = opWord, w, w.Sort
}

// ops returns the operation of a CEL function, if conditions support it.
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
	case operators.Negate:
		return opNegate
	case operators.Add:
		return opAdd
	case operators.Subtract:
		return opSubtract
	case operators.Multiply:
		return opMultiply
	case operators.Divide:
		return opDivide
	case operators.Modulo:
		return opRemainder
	case functionHas:
		return opHas
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
	switch {
	case c.FunctionName() == "cidr":
		t.op = opConst
		tr.fault(t, "cidr can stand only to the right of in", `write, for example, client_ip in cidr("203.0.113.0/24")`)
		return
	case t.op == 0:
		t.op = opConst
		tr.fault(t, fmt.Sprintf("%s is not offered in conditions", functionName(c.FunctionName())),
			"offered are == != < <= > >= && || ! ?: + - * / % in, cidr, has, startsWith, endsWith, contains, matches and size")
		return
	case t.op == opIn:
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
		if t.args[0].sort == Flag {
			tr.fault(t, "flags have no order", "compare flags with == or !=")
		}
	case opMatches:
		tr.pattern(t)
	case opSize:
		t.sort = Number
		if t.args[0].sort != Text {
			tr.fault(t, "only a text has a size", "write size(path), for example")
		}
	case opIf:
		t.sort = t.args[1].sort
	case opHas:
		if t.args[0].op != opWord {
			tr.fault(t, "has is asked of a field", "write has(account), for example")
		}
	case opNegate, opAdd, opSubtract, opMultiply, opDivide, opRemainder:
		tr.arithmetic(t, functionName(c.FunctionName()))
	}
}

// arithmetic checks that t can be calculated for any event. It calculates
// constants.
func (tr *translator) arithmetic(t *expr, operator string) {
	for _, a := range t.args {
		if a.sort != Number {
			tr.fault(t, fmt.Sprintf("%s is not defined for %s", operator, a.sort), "calculate with numbers only")
			return
		}
	}
	t.sort = Number
	if t.op == opDivide || t.op == opRemainder {
		if d := t.args[1]; d.op != opConst || d.num == 0 {
			tr.fault(d, "this can be 0, and nothing can be divided by 0", "divide by a number other than 0, or multiply the other side instead")
			return
		}
	}
	for _, a := range t.args {
		if a.op != opConst {
			return
		}
	}
	t.num = numbers(t)(nil)
	t.op, t.args = opConst, nil
}

// functionName returns an operator as it is written, or a function's name.
func functionName(function string) string {
	if function == functionHas {
		return "has"
	}
	if shown, ok := operators.FindReverse(function); ok && shown != "" {
		return shown
	}
	return function
}

// flatten turns a chain into one expression, because CEL balances a && b && c into
// a tree.
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
	switch right := args[1]; {
	case right.Kind() == ast.IdentKind && strings.HasPrefix(right.AsIdent(), listsPrefix):
		tr.listed(t, tr.language.lists[strings.TrimPrefix(right.AsIdent(), listsPrefix)])
		return
	case right.Kind() == ast.CallKind && right.AsCall().FunctionName() == "cidr":
		tr.cidr(t, right.AsCall().Args()[0], depth)
		return
	}
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
		case v.op != opConst || v.sort != left.sort || v.sort == Flag:
			tr.fault(v, fmt.Sprintf("the list must hold values of the same type as its left side, which is %s", left.sort), do)
			return
		case v.sort == Text:
			t.texts = append(t.texts, v.text)
		default:
			t.nums = append(t.nums, v.num)
		}
	}
}

// listed tests whether a value is in a list.
func (tr *translator) listed(t *expr, l *List) {
	t.op, t.list = opListed, l
	left := t.args[0]
	if len(tr.faults) > 0 || l.Kind == Texts {
		return
	}
	if left.op != opWord || left.word.Lists != l.Kind {
		what := "this"
		if left.op == opWord {
			what = left.word.Name
		}
		tr.fault(left, fmt.Sprintf("%s is never in a list of the type %s", what, l.Kind), "ask it of "+strings.Join(tr.language.listedAs(l.Kind), ", "))
		return
	}
	if w := left.word; l.longest.IsValid() && l.longest.Bits() > w.Bits {
		wide, _ := l.longest.Addr().Prefix(w.Bits)
		tr.fault(left, fmt.Sprintf("of an IPv6 client %s is the /%d, which is never within %s", w.Name, w.Bits, l.longest), "write "+wide.String()+" there")
	}
}

// listedAs names the words whose values are in lists of a kind.
func (l *Language) listedAs(k ListKind) (all []string) {
	for name, w := range l.words {
		if w.Lists == k {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// cidr tests whether an address is in the networks in the condition.
func (tr *translator) cidr(t *expr, arg ast.Expr, depth int) {
	elements := []ast.Expr{arg}
	if arg.Kind() == ast.ListKind {
		elements = arg.AsList().Elements()
	}
	var items []Item
	var of []*expr
	for _, e := range elements {
		v := tr.expr(e, depth+1)
		if len(tr.faults) > 0 {
			return
		}
		if v.op != opConst || v.sort != Text {
			tr.fault(v, "the networks of cidr must stand in the condition", `write them in quotes, such as cidr(["10.0.0.0/8", "2001:db8::/32"]); lists hold many`)
			return
		}
		items, of = append(items, Item{Value: v.text}), append(of, v)
	}
	if len(items) == 0 {
		tr.fault(t, "cidr has no networks, so this is never true", `write, for example, cidr("203.0.113.0/24")`)
		return
	}
	l, faults := NewList("cidr", Networks, items)
	for _, f := range faults {
		tr.fault(of[f.Item], f.What, f.Do)
	}
	if len(faults) == 0 {
		tr.listed(t, l)
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
		tr.fault(p, err.Error(), "patterns are RE2: no look-around, no back-references; a backslash is written twice in quotes")
		return
	}
	if size > maxProgram {
		tr.fault(p, fmt.Sprintf("the pattern compiles to %d steps", size), fmt.Sprintf("at most %d are run on every event; make repeats such as {1,100} shorter", maxProgram))
		return
	}
	// It is compiled again from the same text, so it cannot fail.
	t.pattern = regexp.MustCompile(p.text)
}

// programSize returns the number of instructions of a regular expression: its worst
// cost per byte of text.
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
