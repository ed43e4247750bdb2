package condition

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/problem"
)

// explainIssues translates CEL's messages into the terms of conditions. After a
// syntax error the parser guesses, so only the first message is useful.
func (l *Language) explainIssues(issues *cel.Issues, source string) []Fault {
	var faults []Fault
	for _, e := range issues.Errors()[:min(len(issues.Errors()), maxFaults)] {
		f := l.explainIssue(e, source)
		if strings.HasPrefix(e.Message, syntaxError) {
			return []Fault{f}
		}
		faults = append(faults, f)
	}
	if len(faults) == 0 {
		faults = []Fault{{Line: 1, What: issues.Err().Error(), Do: "see docs/rules.md"}}
	}
	return faults
}

// maxFaults limits the reported faults of one condition.
const maxFaults = 10

const syntaxError = "Syntax error: "

func (l *Language) explainIssue(e *common.Error, source string) Fault {
	f := Fault{Line: e.Location.Line(), Column: e.Location.Column(), What: e.Message, Do: "see docs/rules.md for what conditions offer"}
	switch m := e.Message; {
	case strings.Contains(m, "recursion limit exceeded"):
		f.What, f.Do = nestedTooDeeply()
	case strings.HasPrefix(m, syntaxError):
		f.What, f.Do = explainSyntax(strings.TrimPrefix(m, syntaxError))
	case strings.HasPrefix(m, "undeclared reference to '"):
		name, _, _ := strings.Cut(strings.TrimPrefix(m, "undeclared reference to '"), "'")
		f.What, f.Do = l.explainName(name, strings.HasPrefix(strings.TrimSpace(after(source, f.Line, f.Column)), "("))
	case strings.HasPrefix(m, "found no matching overload for '"):
		f.What, f.Do = explainTypes(m)
	case strings.HasPrefix(m, "expected type 'bool' but found '"):
		found, _, _ := strings.Cut(strings.TrimPrefix(m, "expected type 'bool' but found '"), "'")
		f.What, f.Do = "true or false is needed here, and this is "+typeName(found), "compare it with something, such as status == 401"
	case strings.HasSuffix(m, "does not support field selection"):
		f.What, f.Do = "fields have no members", "the events are flat: write the field's name alone"
	}
	return f
}

var unexpected = regexp.MustCompile(`^(?:mismatched|extraneous) input '(\w+)'`)

func explainSyntax(m string) (what, do string) {
	if m == "token recognition error at: '= '" {
		return "= compares nothing", "write == to compare"
	}
	if word := unexpected.FindStringSubmatch(m); word != nil {
		switch strings.ToLower(word[1]) {
		case "and":
			return fmt.Sprintf("%q is no operator", word[1]), "write && instead"
		case "or":
			return fmt.Sprintf("%q is no operator", word[1]), "write || instead"
		}
	}
	m, _, _ = strings.Cut(m, " expecting ")
	m = strings.ReplaceAll(m, "'<EOF>'", "the end of the condition")
	if r := []rune(m); len(r) > 120 {
		m = string(r[:120]) + "…"
	}
	return "the condition cannot be read: " + m,
		`write it like auth == "failure" && status == 401; texts stand in quotes, and a condition with # or ": " in a block: when: |`
}

func (l *Language) explainName(name string, called bool) (what, do string) {
	if called {
		return fmt.Sprintf("there is no function %q in conditions", name),
			problem.DidYouMean(name, []string{"startsWith", "endsWith", "contains", "matches", "size", "has", "cidr"})
	}
	if list, ok := strings.CutPrefix(name, listsPrefix); ok {
		return l.explainList(list)
	}
	if s, ok := event.Lookup(name); ok {
		return fmt.Sprintf("conditions cannot read the field %q", s.Name), "use another field"
	}
	what = fmt.Sprintf("there is no field %q", name)
	if near := problem.Nearest(name, l.names()); near != "" {
		return what, fmt.Sprintf("did you mean %q? A text needs quotes: %q", near, name)
	}
	return what, fmt.Sprintf("fields are listed in docs/rules.md; a text needs quotes: %q", name)
}

var overload = regexp.MustCompile(`^found no matching overload for '(.*)' applied to '(.*)'$`)

// explainTypes reads "… '_==_' applied to '(int, string)'", or 'string.(int)' for a
// function that is called on something.
func explainTypes(m string) (what, do string) {
	parts := overload.FindStringSubmatch(m)
	if parts == nil {
		return m, "see docs/rules.md for what conditions offer"
	}
	var of []string
	for _, t := range strings.FieldsFunc(listTypes.Replace(parts[2]), func(r rune) bool { return strings.ContainsRune("()., ", r) }) {
		of = append(of, typeName(t))
	}
	return fmt.Sprintf("%s is not defined for %s", functionName(parts[1]), strings.Join(of, " and ")),
		"both sides must be of one type: texts in quotes, numbers and flags without"
}

var listTypes = strings.NewReplacer("list(string)", "texts", "list(int)", "numbers")

// typeName returns the name of a CEL type in conditions.
func typeName(t string) string {
	switch t {
	case "int":
		return Number.String()
	case "string":
		return Text.String()
	case "bool":
		return Flag.String()
	case "texts":
		return "a list of texts"
	case "numbers":
		return "a list of numbers"
	}
	return t
}

// after returns the rest of the source's line after the name at a column (from 0).
func after(source string, line, column int) string {
	rest := []rune(source)
	rest = rest[problem.RuneIndex(rest, line, column):]
	return strings.TrimLeftFunc(string(rest), func(r rune) bool {
		return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	})
}

// names lists the words that conditions can read.
func (l *Language) names() []string {
	return slices.Sorted(maps.Keys(l.words))
}

func (l *Language) explainList(name string) (what, do string) {
	what = fmt.Sprintf("there is no list %q", name)
	if len(l.lists) == 0 {
		return what, "define it under the key lists of a file beside the rules"
	}
	return what, problem.DidYouMean(name, slices.Sorted(maps.Keys(l.lists)))
}
