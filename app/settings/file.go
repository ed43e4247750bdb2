package settings

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/internal/problem"
	"github.com/weirdev/weir/internal/telemetry"
)

const longestFile = 1 << 20

// loadFile reads a YAML file into config. Its error is a [*problem.Problems] with
// all errors.
func (o *Origins) loadFile(config any, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the file of -config cannot be read: %w", err)
	}
	problems := &problem.Problems{In: "the settings"}
	r := &reader{Document: problem.Document{Name: file, Problems: problems}, origins: o}
	o.document = &r.Document
	if len(data) > longestFile {
		r.Whole(fmt.Sprintf("%d bytes are too many for a configuration", len(data)), fmt.Sprintf("at most %d are read; is this the right file?", longestFile))
		return problems
	}
	r.Read(data)
	for i, line := range r.Lines { // they are shown
		r.Lines[i] = secretLine.ReplaceAllString(telemetry.HideSecrets(line), "${1}REDACTED")
	}
	if root, _ := r.Parse("check indentation, quotes and brackets"); root != nil {
		r.object(root, reflect.ValueOf(config).Elem(), "")
	}
	if len(problems.List) > 0 {
		problems.Sort()
		return problems
	}
	return nil
}

// secretLine matches a line with a secret, perhaps under a misspelt name.
var secretLine = regexp.MustCompile(`(?i)([a-z_-]*(?:secret|pas+w|credential|token)[a-z]*\s*:\s*)[^\s,}][^,}]*`)

// reader checks the nodes of a file against the types of a configuration.
type reader struct {
	problem.Document
	origins *Origins
	depth   int
}

// deepest limits the levels of a configuration, aliases included.
const deepest = 20

// value reads n into v, whose name is name.
func (r *reader) value(n *yaml.Node, v reflect.Value, name, doc string) {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if r.depth++; r.depth > deepest {
		r.Node(n, "this is nested too deeply", "write the values out")
	} else if n.Tag != "!!null" || leaf(v) {
		r.origins.places[name] = place{n.Line, n.Column}
		r.content(n, v, name, doc)
	}
	r.depth--
}

func leaf(v reflect.Value) bool { return settable(v) && v.Type() != textList }

func (r *reader) content(n *yaml.Node, v reflect.Value, name, doc string) {
	switch {
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		r.content(n, v.Elem(), name, doc)
	case v.Kind() == reflect.Struct:
		r.object(n, v, name)
	case v.Kind() == reflect.Map:
		r.table(n, v, name)
	case v.Kind() == reflect.Slice:
		r.list(n, v, name, doc)
	default:
		r.scalar(n, v, name, doc)
	}
}

// object reads a mapping whose keys are the members of v.
func (r *reader) object(n *yaml.Node, v reflect.Value, name string) {
	members := map[string]member{}
	collect(members, v)
	names := make([]string, 0, len(members))
	for k := range members {
		names = append(names, k)
	}
	slices.Sort(names)
	r.pairs(n, names, func(k *yaml.Node, content *yaml.Node) {
		m, ok := members[k.Value]
		if !ok {
			r.Node(k, fmt.Sprintf("there is no setting %q", join(name, k.Value)), r.advise(k.Value, name, names))
			return
		}
		r.value(content, m.value, join(name, k.Value), m.doc)
	})
}

// advise names the setting that was probably meant: one of this section, or the
// full name of one elsewhere.
func (r *reader) advise(key, section string, here []string) string {
	if problem.Nearest(key, here) == "" {
		for _, s := range r.origins.settings {
			if last := s.Name[strings.LastIndexByte(s.Name, '.')+1:]; last == key || s.Name == join(section, key) || s.Name == key {
				return fmt.Sprintf("did you mean %q? Each dot is a level of its own", s.Name)
			}
		}
	}
	return problem.DidYouMean(key, here)
}

type member struct {
	value reflect.Value
	doc   string
}

func collect(members map[string]member, v reflect.Value) {
	for i := range v.NumField() {
		name, inline, ok := key(v.Type().Field(i))
		switch {
		case ok && inline:
			collect(members, v.Field(i))
		case ok:
			members[name] = member{v.Field(i), v.Type().Field(i).Tag.Get("doc")}
		}
	}
}

// table reads a mapping with keys of the user's choice.
func (r *reader) table(n *yaml.Node, v reflect.Value, name string) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	r.pairs(n, nil, func(k *yaml.Node, content *yaml.Node) {
		one := reflect.New(v.Type().Elem()).Elem()
		r.value(content, one, join(name, k.Value), "")
		v.SetMapIndex(reflect.ValueOf(k.Value), one)
	})
}

// pairs calls yield for each key and its value, and reports anything but a mapping
// with unique names.
func (r *reader) pairs(n *yaml.Node, names []string, yield func(key, content *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		do := "write key: value pairs, each on a line of its own"
		if len(names) > 0 {
			do += "; known here: " + strings.Join(names, ", ")
		}
		r.Node(n, "a mapping is needed here", do)
		return
	}
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		switch line := first[k.Value]; {
		case k.Kind != yaml.ScalarNode:
			r.Node(k, "this is no key", "write a plain name, a colon and a value")
		case k.Tag == "!!merge":
			r.Node(k, "keys that are merged in are not read", "write the settings out")
		case line != 0:
			r.Node(k, fmt.Sprintf("the key %q stands twice", k.Value), fmt.Sprintf("remove one of the two; the first is in line %d", line))
		default:
			first[k.Value] = k.Line
			yield(k, n.Content[i+1])
		}
	}
}

func (r *reader) list(n *yaml.Node, v reflect.Value, name, doc string) {
	if n.Kind != yaml.SequenceNode {
		do := "start each item with a dash"
		if n.Kind == yaml.ScalarNode {
			do = fmt.Sprintf("write [%s]", n.Value)
		}
		r.Node(n, fmt.Sprintf("%q needs a list", name), do+about(doc))
		return
	}
	all := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, c := range n.Content {
		r.value(c, all.Index(i), name, doc)
	}
	v.Set(all)
}

func (r *reader) scalar(n *yaml.Node, v reflect.Value, name, doc string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.Node(n, fmt.Sprintf("%q needs a single value", name), "write one after the colon"+about(doc))
		return
	}
	if !settable(v) {
		r.Node(n, fmt.Sprintf("%q cannot be set", name), "remove it")
		return
	}
	if err := (Setting{value: v}).Set(n.Value); err != nil {
		r.Node(n, fmt.Sprintf("%s: %v", name, err), name+about(doc))
	}
}

func about(doc string) string {
	if doc == "" {
		return ""
	}
	return ": " + doc
}
