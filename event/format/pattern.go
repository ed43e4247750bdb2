package format

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/weirdev/weir/event"
)

// pattern reads lines of text with the user's regular expression, whose groups are
// named after fields.
type pattern struct {
	lines
	expression *regexp.Regexp
	groups     []group
	hasID      bool
}

// group is a named group of the expression.
type group struct {
	number  int
	request bool           // METHOD TARGET PROTOCOL, not a field
	source  compiledSource // field and unit
}

// part is a named piece of an expression: %{NAME:field}.
type part struct {
	name, expression string
	unit             string // of a time or a duration that it stands for
}

// parts are written so that each can match in only one way if it ends at a blank, a
// quote or a bracket. Expressions of these parts take time proportional to the
// line.
func parts() []part {
	const number = `(?:-?[0-9]+(?:\.[0-9]+)?|-)`
	return []part{
		{"ADDRESS", `[^\s,"]+`, ""},
		{"ADDRESSES", `[^\s"]+(?:, ?[^\s"]+)*`, ""},
		{"WORD", `[^\s"]+`, ""},
		{"QUOTED", `[^"\\]*(?:\\.[^"\\]*)*`, ""},
		{"BRACKETED", `[^\]]*`, ""},
		{"TEXT", `.*?`, ""},
		{"NUMBER", number, ""},
		{"REQUEST", `[^"\\]*(?:\\.[^"\\]*)*`, ""},
		{"CLF", `[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)? [-+][0-9]{4}`, "clf"},
		{"RFC3339", `[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[-+][0-9]{2}:[0-9]{2})`, "rfc3339"},
		{"SECONDS", number, "s"},
		{"MILLIS", number, "ms"},
		{"MICROS", number, "us"},
		{"NANOS", number, "ns"},
	}
}

const (
	maxPatternBytes = 4096 // of its text
	maxPatternSteps = 4000 // of the machine that it becomes: a line costs at most its length times this
)

// compilePattern checks a pattern as a whole.
func compilePattern(text string) (*pattern, error) {
	if len(text) > maxPatternBytes {
		return nil, fmt.Errorf("is %d bytes long; %d are allowed", len(text), maxPatternBytes)
	}
	whole, units, err := expandParts(text)
	if err != nil {
		return nil, err
	}
	whole = `\A(?:` + whole + `)\z`
	if err := checkSteps(whole); err != nil {
		return nil, err
	}
	p := &pattern{}
	if p.expression, err = regexp.Compile(whole); err != nil {
		return nil, explainSyntax(err)
	}
	var errs []error
	timed := false
	for i, name := range p.expression.SubexpNames() {
		if name == "" {
			continue
		}
		name, unit := units.of(name)
		g, err := newGroup(i, name, unit)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		timed = timed || g.source.field == event.Time
		p.hasID = p.hasID || g.source.field == event.ID
		p.groups = append(p.groups, g)
	}
	if !timed {
		errs = append(errs, errors.New("time: every event needs one, as in %{CLF:time}, %{RFC3339:time} or %{SECONDS:time}"))
	}
	return p, errors.Join(errs...)
}

func newGroup(number int, name, unit string) (group, error) {
	if name == "request" {
		return group{number: number, request: true}, nil
	}
	spec, err := mappable(name)
	if err != nil {
		return group{}, err
	}
	u, err := parseUnit(spec.Field, unit)
	return group{number: number, source: compiledSource{field: spec.Field, unit: u}}, err
}

// checkSteps limits the cost of a pattern.
func checkSteps(expression string) error {
	tree, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return explainSyntax(err)
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return explainSyntax(err)
	}
	if n := len(program.Inst); n > maxPatternSteps {
		return fmt.Errorf("is too large: %d steps, of which %d are allowed; use fewer counted repetitions", n, maxPatternSteps)
	}
	return nil
}

// explainSyntax translates the errors of package regexp.
func explainSyntax(err error) error {
	var wrong *syntax.Error
	if !errors.As(err, &wrong) {
		return err
	}
	switch wrong.Code {
	case syntax.ErrInvalidPerlOp:
		return fmt.Errorf("%s is not known: the syntax is RE2's, without look-around and back references", wrong.Expr)
	case syntax.ErrInvalidNamedCapture:
		return fmt.Errorf("%s: a group's name is a field's, as in (?P<path>[^ ]+)", wrong.Expr)
	}
	return fmt.Errorf("%s: %s; a bracket that stands for itself is written \\[ or \\(", wrong.Code, wrong.Expr)
}

// unitList holds the units of parts. The group of the nth part with a field is
// called field__n, so that a field can have several.
type unitList []string

// of returns the name of the field and the unit of a group.
func (u unitList) of(group string) (field, unit string) {
	field, number, ok := strings.Cut(group, "__")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 || n >= len(u) {
		return group, ""
	}
	return field, u[n]
}

// expandParts replaces every %{NAME:field} by a group, and every %{NAME} by its
// expression.
func expandParts(text string) (expression string, units unitList, err error) {
	var b strings.Builder
	var errs []error
	for {
		before, rest, found := strings.Cut(text, "%{")
		b.WriteString(before)
		if !found {
			return b.String(), units, errors.Join(errs...)
		}
		inner, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", nil, errors.Join(append(errs, fmt.Errorf("%%{%s: the closing } is missing", rest))...)
		}
		if err := expandPart(&b, inner, &units); err != nil {
			errs = append(errs, fmt.Errorf("%%{%s}: %w", inner, err))
		}
		text = after
	}
}

func expandPart(b *strings.Builder, inner string, units *unitList) error {
	name, field, named := strings.Cut(inner, ":")
	all := parts()
	i := slices.IndexFunc(all, func(p part) bool { return p.name == name })
	if i < 0 {
		names := make([]string, len(all))
		for k, p := range all {
			names[k] = p.name
		}
		return fmt.Errorf("there is no part %s; there are %s", name, strings.Join(names, ", "))
	}
	switch {
	case name == "REQUEST" && named && field != "request":
		return errors.New("a request line becomes method and path, and is given no field; write %{REQUEST}")
	case name == "REQUEST":
		field = "request"
	case !named:
		b.WriteString("(?:" + all[i].expression + ")")
		return nil
	case field == "request":
		return errors.New("the request line is %{REQUEST}")
	}
	if _, err := mappable(field); err != nil && field != "request" {
		return err
	}
	fmt.Fprintf(b, "(?P<%s__%d>%s)", field, len(*units), all[i].expression)
	*units = append(*units, all[i].unit)
	return nil
}

func (p *pattern) HasID() bool { return p.hasID }

// Decode fills e from a line, with or without its end, which must match completely.
// Texts are read as in combined.
func (p *pattern) Decode(data []byte, e *event.Event) error {
	line, ok := p.begin(data, e)
	if !ok || !p.line(line, e) {
		return &p.refusal
	}
	return nil
}

func (p *pattern) line(line string, e *event.Event) bool {
	at := p.expression.FindStringSubmatchIndex(line)
	if at == nil {
		return p.refuse(event.Syntax, event.None, 0)
	}
	for i := range p.groups {
		g := &p.groups[i]
		start, end := at[2*g.number], at[2*g.number+1]
		if start < 0 || g.source.field != event.None && e.Has(g.source.field) {
			continue
		}
		if refused := p.take(g, line[start:end], e); refused != 0 {
			return p.refuse(refused, g.source.field, start)
		}
	}
	if !e.Has(event.Time) {
		return p.refuse(event.MissingField, event.Time, 0)
	}
	return true
}

// take stores the text of a group in e.
func (p *pattern) take(g *group, raw string, e *event.Event) event.Reason {
	text := p.unescape(raw)
	if g.request {
		putRequest(e, text)
		return 0
	}
	if !g.source.field.Numeric() && text == `""` { // how Apache writes an empty name
		return 0
	}
	_, refused := g.source.apply(token{kind: tokenText, text: text}, e)
	return refused
}
