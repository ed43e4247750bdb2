// Package condition is the language of conditions about events, for rules and
// everything else that tests an event.
//
// A condition is checked once, and compiled to closures that allocate nothing.
package condition

import (
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"

	"github.com/weirdev/weir/event"
)

// Limits on the cost of a condition: for checking it, and for running it on every
// event.
const (
	MaxLength     = 4096 // characters
	maxParts      = 1000
	maxDepth      = 50
	maxPattern    = 1024 // bytes of a regular expression
	maxProgram    = 500  // instructions of a regular expression
	maxParseDepth = 100  // brackets within brackets, of which CEL's parser is slow
)

// Predicate is a compiled condition. If the event lacks a field, its text is "",
// its number 0 and its flag false. A Predicate allocates nothing, keeps nothing of
// the event and may be called by any number of goroutines, each with its own event.
type Predicate func(*event.Event) bool

// Condition is a compiled condition. It must not be changed.
type Condition struct {
	Holds     Predicate
	Fields    []event.Field // read by it, ascending
	Canonical string        // the same for conditions that differ in blanks, brackets or quotes

	root *expr // nil where Holds was written in Go
}

// Fault is an error in a condition.
type Fault struct {
	Line, Column int    // in the condition's text: line from 1, column from 0
	What, Do     string // what is wrong, and what to do about it
}

// Language is the language of conditions: the syntax and the types of CEL, with the
// words of a vocabulary as variables. CEL only checks; this package builds the code
// that runs.
type Language struct {
	env   *cel.Env
	words map[string]*Word
	lists map[string]*List
}

// listsPrefix is the prefix of list names in conditions.
const listsPrefix = "lists."

// functionHas is CEL's name for our has(x): CEL reserves the name has for a macro
// of its own, which is about members of messages.
const functionHas = "@has"

// NewLanguage prepares the language, which takes some milliseconds.
func NewLanguage(v Vocabulary) (*Language, error) {
	options := []cel.EnvOption{
		cel.ClearMacros(),
		cel.Macros(cel.GlobalMacro("has", 1, func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
			return f.NewCall(functionHas, args...), nil
		})),
		cel.ParserRecursionLimit(maxParseDepth),
		cel.ParserExpressionSizeLimit(MaxLength),
		cel.Function(functionHas,
			cel.Overload("has_flag", []*cel.Type{cel.BoolType}, cel.BoolType),
			cel.Overload("has_number", []*cel.Type{cel.IntType}, cel.BoolType),
			cel.Overload("has_text", []*cel.Type{cel.StringType}, cel.BoolType)),
		cel.Function("cidr",
			cel.Overload("cidr_one", []*cel.Type{cel.StringType}, cel.ListType(cel.StringType)),
			cel.Overload("cidr_several", []*cel.Type{cel.ListType(cel.StringType)}, cel.ListType(cel.StringType))),
	}
	l := &Language{words: map[string]*Word{}, lists: map[string]*List{}}
	for i := range v.Words {
		w := new(Word)
		*w = v.Words[i]
		if w.Compute != nil {
			w.derived = &event.Derivation{Of: w.Compute}
		}
		l.words[w.Name] = w
		options = append(options, cel.Variable(w.Name, w.Sort.cel()))
	}
	for _, one := range v.Lists {
		l.lists[one.Name] = one
		options = append(options, cel.Variable(listsPrefix+one.Name, one.cel()))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	l.env = env
	return l, nil
}

// Compile checks and compiles a condition; nil if there are faults.
func (l *Language) Compile(source string) (*Condition, []Fault) {
	t, faults := l.check(source)
	if len(faults) > 0 {
		return nil, faults
	}
	return newCondition(t), nil
}

// check turns a condition into an expression, or reports its faults.
func (l *Language) check(source string) (*expr, []Fault) {
	switch {
	case strings.TrimSpace(source) == "":
		return nil, []Fault{{Line: 1, What: "the condition is empty", Do: "write one, or true for every event"}}
	case utf8.RuneCountInString(source) > MaxLength:
		return nil, []Fault{{Line: 1, What: "the condition is too long", Do: "at most 4096 characters are read; make several rules of it"}}
	}
	checked, issues := l.env.Compile(source)
	if issues != nil && issues.Err() != nil {
		return nil, l.explainIssues(issues, source)
	}
	tr := translator{language: l, tree: checked.NativeRep()}
	t := tr.expr(tr.tree.Expr(), 1)
	if len(tr.faults) == 0 && t.sort != Flag {
		tr.fault(t, "this is "+t.sort.String()+", not a condition", `compare it with something, such as status == 401`)
	}
	if len(tr.faults) == 0 {
		tr.faults = lint(t)
	}
	return t, tr.faults
}

func newCondition(t *expr) *Condition {
	var read [event.MaxField]bool
	t.fields(&read)
	c := &Condition{Holds: predicate(t), root: t}
	for f, ok := range read {
		if ok {
			c.Fields = append(c.Fields, event.Field(f))
		}
	}
	var b strings.Builder
	t.canonical(&b)
	c.Canonical = b.String()
	return c
}
