package rules

import (
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"

	"github.com/weirdev/weir/event"
)

// What a condition may cost: to check it, and to run it on every event.
const (
	maxCondition  = 4096 // characters
	maxTerms      = 1000
	maxDepth      = 50
	maxPattern    = 1024 // bytes of a regular expression
	maxProgram    = 500  // instructions of a regular expression
	maxParseDepth = 100  // brackets within brackets, of which CEL's parser is slow
)

// condition is a compiled condition.
type condition struct {
	run       Predicate
	term      *term
	fields    []event.Field // read by it, ascending
	canonical string
}

// fault is something wrong in a condition.
type fault struct {
	line, column int // in the condition's text: line from 1, column from 0
	what, do     string
}

// language is the language of conditions: the syntax and the types of CEL, with
// the event's fields as variables. CEL only checks; what runs is built here.
type language struct{ env *cel.Env }

func newLanguage() (*language, error) {
	options := []cel.EnvOption{
		cel.ClearMacros(),
		cel.ParserRecursionLimit(maxParseDepth),
		cel.ParserExpressionSizeLimit(maxCondition),
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
	return &language{env}, nil
}

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

// compile checks a condition and builds what runs; nil where there are faults.
func (l *language) compile(source string) (*condition, []fault) {
	t, faults := l.check(source)
	if len(faults) > 0 {
		return nil, faults
	}
	return newCondition(t), nil
}

// check turns a condition into a term, or says what is wrong with it.
func (l *language) check(source string) (*term, []fault) {
	switch {
	case strings.TrimSpace(source) == "":
		return nil, []fault{{line: 1, what: "the condition is empty", do: "write one, or true for every event"}}
	case utf8.RuneCountInString(source) > maxCondition:
		return nil, []fault{{line: 1, what: "the condition is too long", do: "at most 4096 characters are read; make several rules of it"}}
	}
	checked, issues := l.env.Compile(source)
	if issues != nil && issues.Err() != nil {
		return nil, explainIssues(issues, source)
	}
	tr := translator{tree: checked.NativeRep()}
	t := tr.term(tr.tree.Expr(), 1)
	if len(tr.faults) == 0 && t.sort != flagSort {
		tr.fault(t, "this is "+t.sort.String()+", not a condition", `compare it with something, such as status == 401`)
	}
	if len(tr.faults) == 0 {
		tr.faults = lint(t)
	}
	return t, tr.faults
}

func newCondition(t *term) *condition {
	var read [event.MaxField]bool
	t.fields(&read)
	c := &condition{run: predicate(t), term: t}
	for f, ok := range read {
		if ok {
			c.fields = append(c.fields, event.Field(f))
		}
	}
	var b strings.Builder
	t.canonical(&b)
	c.canonical = b.String()
	return c
}
