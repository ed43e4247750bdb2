package try

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/printable"
)

// excerptBytes limits the shown part of a record.
const excerptBytes = 160

// Write writes a result for people.
func (r *Result) Write(out io.Writer) {
	fmt.Fprintf(out, "line %d\n", r.Line)
	if r.Refusal != nil {
		r.WriteRefusal(out)
		return
	}
	line := func(name, text string) { fmt.Fprintf(out, "  %-9s %s\n", name, text) }
	line("record", excerpt(r.Record))
	line("event", values(r.Event))
	line("derived", values(r.Derived))
	line("client", r.throughProxies())
	line("route", printable.Text(orNone(r.Route)))
	if r.Clipped {
		line("clipped", "something that the client wrote was shortened, escaped or dropped; the event is marked")
	}
	line("entities", r.entities())
	line("matches", r.matches())
}

// WriteRefusal writes why a record is not an event, with a caret below the
// position.
func (r *Result) WriteRefusal(out io.Writer) {
	f := r.Refusal
	kind := "DEAD"
	if f.Filtered {
		kind = "PASSED OVER"
	}
	where := ""
	if f.Field != "" {
		where = " in " + f.Field
	}
	fmt.Fprintf(out, "  %s: %s%s at byte %d: the record %s\n", kind, f.Reason, where, f.Position, f.Explain)
	text, caret := point(r.Record, f.Position)
	fmt.Fprintf(out, "    %s\n    %s^\n", text, strings.Repeat(" ", caret))
}

// point returns the part of a record around a position, and the position within it.
func point(record string, position int) (text string, caret int) {
	position = min(max(position, 0), len(record))
	from, to := max(position-excerptBytes/2, 0), min(position+excerptBytes/2, len(record))
	for from > 0 && !utf8.RuneStart(record[from]) {
		from--
	}
	before, after := printable.Text(record[from:position]), printable.Text(record[position:to])
	if from > 0 {
		before = "…" + before
	}
	if to < len(record) {
		after += "…"
	}
	return before + after, utf8.RuneCountInString(before)
}

func excerpt(record string) string {
	if len(record) <= excerptBytes {
		return printable.Text(record)
	}
	return printable.Text(record[:excerptBytes]) + "…"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func values(list []Value) string {
	if len(list) == 0 {
		return "nothing"
	}
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = v.Field.Name + "=" + v.String()
	}
	return strings.Join(parts, " ")
}

// String formats a value for people: texts with blanks have quotes.
func (v Value) String() string {
	switch v.Field.Kind {
	case event.KindTime:
		return string(event.AppendTime(nil, v.Num))
	case event.KindBool:
		return strconv.FormatBool(v.Num != 0)
	case event.KindInt:
		return strconv.FormatInt(v.Num, 10)
	}
	text := excerpt(v.Text)
	if v.Field.Kind != event.KindObject && strings.ContainsAny(text, " \"=") {
		return strconv.Quote(text)
	}
	return text
}

func (r *Result) entities() string {
	parts := make([]string, 0, len(r.Entities))
	for _, e := range r.Entities {
		text := e.Kind + " " + printable.Text(e.Key)
		if !e.Looked {
			text += " (no rule looks at it)"
		}
		parts = append(parts, text)
	}
	return orNone(strings.Join(parts, ", "))
}

func (r *Result) matches() string {
	if r.Refused {
		return "none: Weir's own decision refused the request, so it counts for nothing new"
	}
	parts := make([]string, 0, len(r.Matches))
	for _, m := range r.Matches {
		parts = append(parts, fmt.Sprintf("%s (%s, for %s %s)", m.Rule, m.Phase, m.Kind, printable.Text(m.Entity)))
	}
	return orNone(strings.Join(parts, ", "))
}

// jsonResult is the JSON form of a result.
type jsonResult struct {
	Line     int             `json:"line"`
	Refused  *jsonRefusal    `json:"refused,omitempty"`
	Event    json.RawMessage `json:"event,omitempty"`
	Derived  json.RawMessage `json:"derived,omitempty"`
	Client   string          `json:"client,omitempty"`
	Route    string          `json:"route,omitempty"`
	Clipped  bool            `json:"clipped,omitempty"`
	Decided  bool            `json:"refused_by_decision,omitempty"`
	Entities []jsonEntity    `json:"entities,omitempty"`
	Matches  []jsonMatch     `json:"matches,omitempty"`
}

type jsonRefusal struct {
	Reason   string `json:"reason"`
	Field    string `json:"field,omitempty"`
	Position int    `json:"position"`
	Filtered bool   `json:"filtered,omitempty"`
	Explain  string `json:"explain"`
}

type jsonEntity struct {
	Kind   string `json:"kind"`
	Key    string `json:"key"`
	Looked bool   `json:"looked_at"`
}

type jsonMatch struct {
	Rule   string `json:"rule"`
	Phase  string `json:"phase"`
	Kind   string `json:"kind"`
	Entity string `json:"entity"`
}

// WriteJSON writes a result as a JSON object on one line.
func (r *Result) WriteJSON(out io.Writer) error {
	j := jsonResult{Line: r.Line, Client: r.Client, Route: r.Route, Clipped: r.Clipped, Decided: r.Refused}
	if r.Refusal != nil {
		f := r.Refusal
		j.Refused = &jsonRefusal{Reason: f.Reason, Field: f.Field, Position: f.Position, Filtered: f.Filtered, Explain: f.Explain}
	} else {
		j.Event, j.Derived = object(r.Event), object(r.Derived)
	}
	for _, e := range r.Entities {
		j.Entities = append(j.Entities, jsonEntity(e))
	}
	for _, m := range r.Matches {
		j.Matches = append(j.Matches, jsonMatch(m))
	}
	return encode(out, j)
}

func encode(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// object returns values as an object in the event's own format.
func object(list []Value) json.RawMessage {
	var e event.Event
	for _, v := range list {
		if v.Field.Kind.Numeric() {
			e.SetNum(v.Field.Field, v.Num)
		} else {
			e.SetText(v.Field.Field, v.Text)
		}
	}
	return e.AppendAll(nil)
}

// Write writes the summary for people.
func (s *Summary) Write(out io.Writer) {
	fmt.Fprintf(out, "%s: %d read", plural(s.Lines, "line"), s.Read)
	if n := total(s.Dead); n > 0 {
		fmt.Fprintf(out, ", %d dead (%s)", n, counts(s.Dead))
	}
	if s.Filtered > 0 {
		fmt.Fprintf(out, ", %d passed over", s.Filtered)
	}
	fmt.Fprintln(out)
	if s.Read == 0 {
		return
	}
	fmt.Fprintf(out, "of those read: %d without an address, %d without a path, %d without an account, %d clipped\n", s.NoAddress, s.NoPath, s.NoAccount, s.Clipped)
	if len(s.Matched) > 0 {
		fmt.Fprintf(out, "rules that would count them: %s\n", counts(s.Matched))
	} else {
		fmt.Fprintln(out, "no rule would count any of them")
	}
}

// WriteJSON writes the summary as a JSON object on one line.
func (s *Summary) WriteJSON(out io.Writer, format string) error {
	return encode(out, struct {
		Format  string   `json:"format"`
		Summary *Summary `json:"summary"`
	}{format, s})
}

func total(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

func counts(m map[string]int) string {
	parts := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
	}
	return strings.Join(parts, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
