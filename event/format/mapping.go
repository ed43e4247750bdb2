package format

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/event"
)

// Mapping states where in a JSON object each field of an event is: by name of the
// field, as in [event.Fields]. Two more names are allowed: "request" is a request
// line METHOD TARGET PROTOCOL, which gives method and path if these are not found
// otherwise; "only" selects the records that are events.
type Mapping map[string]FieldSource

// FieldSource is the source of one field: a key, or a constant.
type FieldSource struct {
	From   string            `yaml:"from,omitempty" json:"from,omitempty" doc:"key of the object, or dotted path into nested objects; key[0] is the first element of an array, key[-1] the last, key[*] all of them, joined by commas"`
	Const  string            `yaml:"const,omitempty" json:"const,omitempty" doc:"the same value for every event"`
	Unit   string            `yaml:"unit,omitempty" json:"unit,omitempty" doc:"unit of a time or duration: s, ms, us, ns; rfc3339 and clf for times"`
	Values map[string]string `yaml:"values,omitempty" json:"values,omitempty" doc:"translation of the found values; values that are not listed count as absent"`
	Is     []string          `yaml:"is,omitempty" json:"is,omitempty" doc:"for only: the values of records that are events; one that ends in * is a prefix"`
}

const (
	requestLine = "request"
	onlyEvents  = "only"
	lastRank    = 255
)

// compiledSource is a FieldSource, or a part of a preset, that has been checked.
type compiledSource struct {
	field  event.Field
	from   string
	unit   unit
	values map[string]value
	fixed  *value   // a constant
	rank   uint8    // of several sources of a field that have a value, the lowest counts, then the first
	line   bool     // the request line: method and path
	is     []string // a filter: no field, but what the value must be
}

// value is a text, or a number if the field is numeric.
type value struct {
	text string
	num  int64
}

// compile checks the mapping as a whole.
func (m *Mapping) compile() ([]compiledSource, error) {
	names := make([]string, 0, len(*m))
	for name := range *m {
		names = append(names, name)
	}
	slices.Sort(names)
	var sources []compiledSource
	var errs []error
	for _, name := range names {
		src := (*m)[name]
		s, problems := src.compile(name)
		for _, p := range problems {
			errs = append(errs, fmt.Errorf("%s: %w", name, p))
		}
		sources = append(sources, s)
	}
	if _, ok := (*m)[event.Time.String()]; !ok {
		errs = append(errs, errors.New("time: every event needs one; map it, as in time: {from: ts, unit: s}"))
	}
	return sources, errors.Join(errs...)
}

// mappable finds a field that a user may map.
func mappable(name string) (event.Spec, error) {
	spec, ok := event.Lookup(name)
	switch {
	case !ok:
		return spec, errors.New("there is no such field")
	case spec.Derived:
		return spec, errors.New("this field is derived by Weir, and cannot be mapped")
	case spec.Kind == event.KindObject:
		return spec, errors.New("this field cannot be mapped; map what is in it to fields of their own")
	}
	return spec, nil
}

func (s *FieldSource) compile(name string) (compiledSource, []error) {
	switch name {
	case requestLine:
		return compiledSource{from: s.From, line: true, rank: lastRank}, s.onlyFrom("a request line")
	case onlyEvents:
		return compiledSource{from: s.From, is: s.Is}, s.checkFilter()
	}
	spec, err := mappable(name)
	if err != nil {
		return compiledSource{}, []error{err}
	}
	out := compiledSource{field: spec.Field, from: s.From}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	note(s.checkOrigin(spec.Field))
	out.unit, err = parseUnit(spec.Field, s.Unit)
	note(err)
	if s.Const != "" {
		v, err := parseValue(spec.Field, s.Const)
		note(err)
		out.fixed = &v
	}
	for _, found := range sortedKeys(s.Values) {
		v, err := parseValue(spec.Field, s.Values[found])
		note(err)
		if out.values == nil {
			out.values = map[string]value{}
		}
		out.values[found] = v
	}
	return out, errs
}

// onlyFrom refuses settings that make no sense for a source that is no field.
func (s *FieldSource) onlyFrom(what string) []error {
	var errs []error
	if s.Const != "" || s.Unit != "" || s.Values != nil {
		errs = append(errs, fmt.Errorf("%s takes from, and neither const nor unit nor values", what))
	}
	return append(errs, s.checkPath()...)
}

func (s *FieldSource) checkFilter() []error {
	errs := s.onlyFrom("a filter")
	if len(s.Is) == 0 {
		errs = append(errs, errors.New("says no values; name those that an event has, as in is: [http.log.access*]"))
	}
	return errs
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// maxPath limits the steps of a dotted path. Each of its dots may be part of a key,
// so a path stands for 2^(steps-1) ways to find a value.
const maxPath = 6

func (s *FieldSource) checkOrigin(f event.Field) error {
	switch {
	case s.From == "" && s.Const == "":
		return errors.New("says neither from nor const")
	case s.From != "" && s.Const != "":
		return errors.New("says both from and const; one of them is meant")
	case s.Const != "" && (s.Unit != "" || s.Values != nil):
		return errors.New("a const takes neither unit nor values")
	case s.Const != "" && (f == event.Time || f == event.ID):
		return errors.New("cannot be the same for every event")
	case s.Unit != "" && s.Values != nil:
		return errors.New("takes a unit or values, not both")
	case s.Is != nil:
		return fmt.Errorf("takes no is, which says in %q which records are events", onlyEvents)
	case s.From == "":
		return nil
	}
	return errors.Join(s.checkPath()...)
}

func (s *FieldSource) checkPath() []error {
	steps := strings.Split(s.From, ".")
	switch {
	case s.From == "":
		return []error{errors.New("says no from")}
	case len(steps) > maxPath:
		return []error{fmt.Errorf("from: more than %d steps in %q", maxPath, s.From)}
	case slices.Contains(steps, ""):
		return []error{fmt.Errorf("from: %q has an empty step", s.From)}
	}
	return nil
}
