package event

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Format turns a record, as a gateway wrote it, into an event. What it sets in
// the event aliases the record or the Format itself, and is valid until the next
// Decode. A Format is used by one goroutine at a time.
type Format interface {
	// Decode resets e and fills it. The error is a *[Refusal]; e is then
	// undefined.
	Decode(data []byte, e *Event) error

	// HasID reports whether the events bring an id of their own. Where they do
	// not, [ID] is left absent.
	HasID() bool
}

// FormatNames lists what [NewFormat] knows.
func FormatNames() []string {
	return []string{"weir", "combined", "nginx", "envoy", "traefik", "mapping"}
}

// NewFormat makes the format with that name. m is the mapping of format
// "mapping", and nil for all others. The error names everything that is wrong
// with it.
func NewFormat(name string, m *Mapping) (Format, error) {
	if m != nil && name != "mapping" {
		return nil, fmt.Errorf("format %s takes no mapping; format mapping does", name)
	}
	switch name {
	case "weir":
		return &own{}, nil
	case "combined":
		return &combined{}, nil
	case "nginx":
		return newObjectFormat(withOwnNames(nginxSources())), nil
	case "envoy":
		return newObjectFormat(withOwnNames(envoySources())), nil
	case "traefik":
		return newObjectFormat(traefikSources()), nil
	case "mapping":
		if m == nil {
			return nil, errors.New("format mapping: there is no mapping")
		}
		sources, err := m.compile()
		if err != nil {
			return nil, fmt.Errorf("mapping: %w", err)
		}
		return newObjectFormat(sources), nil
	}
	return nil, fmt.Errorf("format %q is not known; there are %s", name, strings.Join(FormatNames(), ", "))
}

// own is the project's own JSON.
type own struct{ Decoder }

func (*own) HasID() bool { return true }

// Mapping says where in a JSON object each field of an event is found: by name
// of the field, as in [Fields].
type Mapping map[string]Source

// Source is where one field comes from: a key, or a constant.
type Source struct {
	From   string            `yaml:"from,omitempty" json:"from,omitempty" doc:"key of the object, or dotted path into objects within it"`
	Const  string            `yaml:"const,omitempty" json:"const,omitempty" doc:"the same value for every event"`
	Unit   string            `yaml:"unit,omitempty" json:"unit,omitempty" doc:"unit of a time or duration: s, ms, us, ns; rfc3339 for times"`
	Values map[string]string `yaml:"values,omitempty" json:"values,omitempty" doc:"what the values found mean; values not named here count as none"`
}

// source is a Source, or a part of a preset, that has been checked.
type source struct {
	field  Field
	from   string
	unit   unit
	values map[string]value
	fixed  *value // a constant
	rank   uint8  // of several sources of a field that have a value, the lowest counts, then the first
}

// value is a text, or a number where the field is numeric.
type value struct {
	text string
	num  int64
}

// compile checks the mapping as a whole.
func (m *Mapping) compile() ([]source, error) {
	names := make([]string, 0, len(*m))
	for name := range *m {
		names = append(names, name)
	}
	slices.Sort(names)
	var sources []source
	var errs []error
	for _, name := range names {
		src := (*m)[name]
		s, problems := src.compile(name)
		for _, p := range problems {
			errs = append(errs, fmt.Errorf("%s: %w", name, p))
		}
		sources = append(sources, s)
	}
	if _, ok := (*m)[Time.String()]; !ok {
		errs = append(errs, errors.New("time: every event needs one; map it, as in time: {from: ts, unit: s}"))
	}
	return sources, errors.Join(errs...)
}

func (s *Source) compile(name string) (source, []error) {
	spec, ok := Lookup(name)
	switch {
	case !ok:
		return source{}, []error{errors.New("there is no such field")}
	case spec.Derived:
		return source{}, []error{errors.New("this field is derived by Weir, and cannot be mapped")}
	case spec.Kind == KindObject:
		return source{}, []error{errors.New("this field cannot be mapped; map what is in it to fields of their own")}
	}
	out := source{field: spec.Field, from: s.From}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	note(s.checkOrigin(spec.Field))
	var err error
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

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// maxPath bounds the steps of a dotted path; each of its dots may be one of a
// key, so that a path stands for 2^(steps-1) ways to find a value.
const maxPath = 6

func (s *Source) checkOrigin(f Field) error {
	switch steps := strings.Split(s.From, "."); {
	case s.From == "" && s.Const == "":
		return errors.New("says neither from nor const")
	case s.From != "" && s.Const != "":
		return errors.New("says both from and const; one of them is meant")
	case s.Const != "" && (s.Unit != "" || s.Values != nil):
		return errors.New("a const takes neither unit nor values")
	case s.Const != "" && (f == Time || f == ID):
		return errors.New("cannot be the same for every event")
	case s.Unit != "" && s.Values != nil:
		return errors.New("takes a unit or values, not both")
	case len(steps) > maxPath:
		return fmt.Errorf("from: more than %d steps in %q", maxPath, s.From)
	case s.From != "" && slices.Contains(steps, ""):
		return fmt.Errorf("from: %q has an empty step", s.From)
	}
	return nil
}
