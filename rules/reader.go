package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/condition"
)

// reader checks a file against the grammar and reads its values.
type reader struct {
	*file
	kinds    []Kind
	language *condition.Language
	events   int    // of all tests so far
	docs     string // page that describes the file; "": docs/rules.md
}

// read checks n against k; nil if it does not satisfy k, which is then reported.
func (r *reader) read(n *yaml.Node, k *Key) *value {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		r.node(n, "anchors and aliases are not read", "write the value out")
		return nil
	}
	if n.Style&yaml.TaggedStyle != 0 {
		r.node(n, "tags such as "+n.Tag+" are not read", "leave the tag out")
		return nil
	}
	switch k.form {
	case objectForm:
		return r.object(n, k)
	case listForm:
		return r.list(n, k)
	case entryForm:
		if n.Kind != yaml.ScalarNode {
			return r.object(n, k)
		}
		one := r.scalar(n, k.member("value"))
		if one == nil {
			return nil
		}
		return &value{node: n, members: map[string]*value{"value": one}}
	case valuesForm:
		return r.values(n)
	}
	return r.scalar(n, k)
}

func (r *reader) object(n *yaml.Node, k *Key) *value {
	if !r.mapping(n, k.names()) {
		return nil
	}
	before := len(r.problems.List)
	v := &value{node: n, members: make(map[string]*value, len(k.members)), found: make(map[string]bool, len(k.members))}
	r.pairs(n, func(name, content *yaml.Node) {
		m := k.member(name.Value)
		if m == nil {
			r.node(name, fmt.Sprintf("there is no key %q here", name.Value), didYouMean(name.Value, k.names()))
			return
		}
		v.found[m.name] = true
		if one := r.read(content, m); one != nil {
			v.members[m.name] = one
		}
	})
	r.missing(n, k, v.found)
	v.flawed = len(r.problems.List) > before
	return v
}

func (r *reader) missing(n *yaml.Node, k *Key, found map[string]bool) {
	var names, docs []string
	for i := range k.members {
		if m := &k.members[i]; m.required && !found[m.name] {
			names, docs = append(names, strconv.Quote(m.name)), append(docs, m.doc)
		}
	}
	switch len(names) {
	case 0:
	case 1:
		r.node(n, "the key "+names[0]+" is missing here", "add it: "+docs[0])
	default:
		r.node(n, "the keys "+strings.Join(names, ", ")+" are missing here", "add them; "+cmp.Or(r.docs, "docs/rules.md")+" says what each is for")
	}
}

func (r *reader) mapping(n *yaml.Node, names []string) bool {
	if n.Kind != yaml.MappingNode {
		r.node(n, "a mapping is needed here", "write key: value pairs; known here: "+strings.Join(names, ", "))
		return false
	}
	return true
}

// pairs calls yield for each key and its value, and reports duplicate keys and keys
// that are no plain names.
func (r *reader) pairs(n *yaml.Node, yield func(name, content *yaml.Node)) {
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		switch first := lines[name.Value]; {
		case name.Kind != yaml.ScalarNode || name.Anchor != "" || name.Style&yaml.TaggedStyle != 0:
			r.node(name, "this is no key", "write a plain name, a colon and a value")
		case first != 0:
			r.node(name, fmt.Sprintf("the key %q stands twice", name.Value), fmt.Sprintf("remove one of the two; the first is in line %d", first))
		default:
			lines[name.Value] = name.Line
			yield(name, n.Content[i+1])
		}
	}
}

func (r *reader) list(n *yaml.Node, k *Key) *value {
	if n.Kind != yaml.SequenceNode {
		r.node(n, fmt.Sprintf("a list is needed for %q", k.name), "start each of its items with a dash: "+k.doc)
		return nil
	}
	if got := int64(len(n.Content)); got < k.min || got > k.max {
		r.node(n, fmt.Sprintf("%q has %s", k.name, plural(int(got), "item")), fmt.Sprintf("write %d to %d", k.min, k.max))
		return nil
	}
	v := &value{node: n}
	for _, c := range n.Content {
		if one := r.read(c, k.item); one != nil {
			v.items = append(v.items, one)
		}
	}
	return v
}

func (r *reader) scalar(n *yaml.Node, k *Key) *value {
	name := k.name
	if name == "" {
		name = k.doc
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.node(n, fmt.Sprintf("%q needs a value", name), "write one: "+k.doc)
		return nil
	}
	v := &value{node: n, text: strings.TrimRight(n.Value, "\n")}
	ok := true
	switch k.form {
	case textForm:
		ok = r.text(v, k)
	case countForm:
		ok = r.count(v, k)
	case durationForm:
		ok = r.duration(v, k)
	case conditionForm:
		ok = r.condition(v)
	case momentForm:
		ok = r.moment(v, k)
	}
	if !ok {
		return nil
	}
	return v
}

func (r *reader) text(v *value, k *Key) bool {
	switch length := int64(utf8.RuneCountInString(v.text)); {
	case strings.TrimSpace(v.text) == "":
		r.node(v.node, fmt.Sprintf("%q is empty", k.name), "write "+k.doc)
	case len(k.oneOf) > 0 && !slices.Contains(k.oneOf, v.text):
		r.node(v.node, fmt.Sprintf("%q is no value of %q", v.text, k.name), didYouMean(v.text, k.oneOf))
	case k.pattern != nil && !k.pattern.MatchString(v.text):
		r.node(v.node, fmt.Sprintf("%q is not written as %q must be", v.text, k.name), "it must match "+k.pattern.String())
	case length > k.max:
		r.node(v.node, fmt.Sprintf("%q is %d characters long", k.name, length), fmt.Sprintf("at most %d are read", k.max))
	default:
		return true
	}
	return false
}

func (r *reader) count(v *value, k *Key) bool {
	n, err := strconv.ParseInt(v.text, 10, 64)
	switch {
	case err != nil:
		r.node(v.node, fmt.Sprintf("%q is not a whole number", v.text), fmt.Sprintf("write %d to %d: %s", k.min, k.max, k.doc))
	case n < k.min || n > k.max:
		r.node(v.node, fmt.Sprintf("%q cannot be %d", k.name, n), fmt.Sprintf("write %d to %d", k.min, k.max))
	default:
		v.num = n
		return true
	}
	return false
}

func (r *reader) duration(v *value, k *Key) bool {
	d, err := parseDuration(v.text)
	ms := d.Milliseconds()
	switch {
	case err != nil:
		r.node(v.node, fmt.Sprintf("%q is not a duration", v.text), err.Error())
	case ms < k.min || ms > k.max:
		r.node(v.node, fmt.Sprintf("%q cannot be %s", k.name, v.text),
			fmt.Sprintf("write %s to %s", formatDuration(time.Duration(k.min)*time.Millisecond), formatDuration(time.Duration(k.max)*time.Millisecond)))
	default:
		v.num = ms
		return true
	}
	return false
}

func (r *reader) moment(v *value, k *Key) bool {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, v.text); err == nil && t.UnixMilli() > 0 {
			v.num = t.UnixMilli()
			return true
		}
	}
	r.node(v.node, fmt.Sprintf("%q is no moment", v.text), "write a date like 2027-06-30, which means its beginning in UTC, or 2027-06-30T12:00:00Z")
	return false
}

func (r *reader) condition(v *value) bool {
	cond, faults := r.language.Compile(v.text)
	for _, f := range faults {
		line, column := r.inside(v.node, v.text, f.Line, f.Column)
		r.at(line, column, f.What, f.Do)
	}
	v.cond = cond
	return len(faults) == 0
}
