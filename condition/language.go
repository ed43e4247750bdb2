// Package condition is the language of conditions about events: what a rule, or
// whatever else asks about an event, writes in its when.
//
// A condition is checked once, and compiled to closures that allocate nothing.
package condition

import (
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"

	"github.com/weirdev/weir/event"
)

// What a condition may cost: to check it, and to run it on every event.
const (
	MaxLength     = 4096 // characters
	maxParts      = 1000
	maxDepth      = 50
	maxPattern    = 1024 // bytes of a regular expression
	maxProgram    = 500  // instructions of a regular expression
	maxParseDepth = 100  // brackets within brackets, of which CEL's parser is slow
)

// Predicate is what a condition runs as. Of a field that the event lacks, the text
// is "", the number 0 and the flag false. It allocates nothing, keeps nothing of
// the event and may be called by any number of goroutines.
type Predicate func(*event.Event) bool

// Condition is a compiled condition. It is not to be changed.
type Condition struct {
	Holds     Predicate
	Fields    []event.Field // read by it, ascending
	Canonical string        // the same for conditions that differ in blanks, brackets or quotes

	root *expr // nil where Holds was written in Go
}

// Fault is something wrong in a condition.
type Fault struct {
	Line, Column int    // in the condition's text: line from 1, column from 0
	What, Do     string // what is wrong, and what to do about it
}

// Language is the language of conditions: the syntax and the types of CEL, with
// the event's fields as variables. CEL only checks; what runs is built here.
type Language struct{ env *cel.Env }

// NewLanguage prepares the language, which takes some milliseconds.
func NewLanguage() (*Language, error) {
	options := []cel.EnvOption{
		cel.ClearMacros(),
		cel.ParserRecursionLimit(maxParseDepth),
		cel.ParserExpressionSizeLimit(MaxLength),
	}
	for _, s := range event.Fields() {
		if t := celType(s.Kind); t != nil {
			options = append(options, cel.Variable(s.Name, t))
		}
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	return &Language{env}, nil
}

// Readable reports whether conditions can read fields of a kind.
func Readable(k event.Kind) bool { return celType(k) != nil }

// celType is the type of a field in conditions; nil where they cannot read it.
func celType(k event.Kind) *cel.Type {
	switch k {
	case event.KindText, event.KindAddress:
		return cel.StringType
	case event.KindInt, event.KindTime:
		return cel.IntType
	case event.KindBool:
		return cel.BoolType
	}
	return nil
}

// Compile checks a condition and builds what runs; nil where there are faults.
func (l *Language) Compile(source string) (*Condition, []Fault) {
	t, faults := l.check(source)
	if len(faults) > 0 {
		return nil, faults
	}
	return newCondition(t), nil
}

// check turns a condition into an expression, or says what is wrong with it.
func (l *Language) check(source string) (*expr, []Fault) {
	switch {
	case strings.TrimSpace(source) == "":
		return nil, []Fault{{Line: 1, What: "the condition is empty", Do: "write one, or true for every event"}}
	case utf8.RuneCountInString(source) > MaxLength:
		return nil, []Fault{{Line: 1, What: "the condition is too long", Do: "at most 4096 characters are read; make several rules of it"}}
	}
	checked, issues := l.env.Compile(source)
	if issues != nil && issues.Err() != nil {
		return nil, explainIssues(issues, source)
	}
	tr := translator{tree: checked.NativeRep()}
	t := tr.expr(tr.tree.Expr(), 1)
	if len(tr.faults) == 0 && t.sort != flagSort {
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
