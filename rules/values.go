package rules

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
)

// values reads a mapping from event fields to values.
func (r *reader) values(n *yaml.Node) *value {
	if !r.mapping(n, settable()) {
		return nil
	}
	v := &value{node: n}
	r.pairs(n, func(name, content *yaml.Node) {
		if !slices.Contains(settable(), name.Value) {
			r.node(name, fmt.Sprintf("an event of a test has no field %q", name.Value), didYouMean(name.Value, settable()))
			return
		}
		spec, _ := event.Lookup(name.Value)
		if one, ok := r.fieldValue(content, spec); ok {
			v.values = append(v.values, one)
		}
	})
	return v
}

// settable lists the fields that a test may set: all but the time, which comes from
// at, and the free attributes.
func settable() []string {
	var all []string
	for _, s := range event.Fields() {
		if s.Field != event.Time && s.Kind != event.KindObject {
			all = append(all, s.Name)
		}
	}
	return all
}

func (r *reader) fieldValue(n *yaml.Node, spec event.Spec) (Value, bool) {
	v := Value{Field: spec.Field}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 || n.Value == "" {
		r.node(n, fmt.Sprintf("%s needs a value", spec.Name), "write a plain value, or leave the key out where the event lacks it")
		return v, false
	}
	what, do := v.parse(n.Value, spec)
	if what != "" {
		r.node(n, what, do)
		return v, false
	}
	return v, true
}

// parse reads text as a value of the field; what describes the error.
func (v *Value) parse(text string, spec event.Spec) (what, do string) {
	switch spec.Kind {
	case event.KindInt:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Sprintf("%s is a whole number, not %q", spec.Name, text), "write digits only"
		}
		v.Num = n
		return condition.ImpossibleNumber(spec, n)
	case event.KindTime:
		n, ok := parseMoment(text)
		if !ok {
			return fmt.Sprintf("%s is a moment, not %q", spec.Name, text), "write it like 2026-01-01T00:05:00Z, or as Unix milliseconds; tests start at 2026-01-01T00:00:00Z"
		}
		v.Num = n
		return condition.ImpossibleNumber(spec, n)
	case event.KindBool:
		if text != "true" && text != "false" {
			return fmt.Sprintf("%s is a flag, not %q", spec.Name, text), "write true or false"
		}
		if text == "true" {
			v.Num = 1
		}
		return "", ""
	}
	v.Text = text
	longest, err := numbered(text, maxSeries)
	if err != nil {
		return err.Error(), "write a whole number from 1 behind the percent sign; where the bracket is to stand for itself, write {{} for it"
	}
	return condition.ImpossibleText(spec, longest)
}

func parseMoment(s string) (ms int64, ok bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.UnixMilli(), err == nil
}
