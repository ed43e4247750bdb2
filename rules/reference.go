package rules

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/event"
)

// Reference lists, in Markdown, all keys of rule files and all fields that
// conditions can read.
func Reference(kinds []Kind) string {
	var b strings.Builder
	b.WriteString("| key | value | what it says |\n|---|---|---|\n")
	k := grammar(kinds)
	for i := range k.members {
		referKey(&b, &k.members[i], "")
	}
	b.WriteString("\n| field | type | what it is |\n|---|---|---|\n")
	for _, s := range event.Fields() {
		if condition.Readable(s.Kind) {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Name, referType(s), cell(s.Doc))
		}
	}
	return b.String()
}

func referKey(b *strings.Builder, k *Key, within string) {
	path := within + k.name
	need := ""
	if !k.required {
		need = ", optional"
	}
	fmt.Fprintf(b, "| `%s` | %s%s | %s |\n", path, cell(referValue(k)), need, cell(k.doc))
	inner := k
	if k.form == listForm {
		inner, path = k.item, path+"[]"
	}
	for i := range inner.members {
		referKey(b, &inner.members[i], path+".")
	}
}

func referValue(k *Key) string {
	span := func(ms int64) string { return formatDuration(time.Duration(ms) * time.Millisecond) }
	switch k.form {
	case countForm:
		return fmt.Sprintf("%d to %d", k.min, k.max)
	case durationForm:
		return span(k.min) + " to " + span(k.max)
	case conditionForm:
		return "condition"
	case objectForm:
		return "mapping"
	case listForm:
		return fmt.Sprintf("list of %d to %d", k.min, k.max)
	case valuesForm:
		return "field: value"
	}
	switch {
	case k.pattern != nil:
		return "`" + k.pattern.String() + "`"
	case len(k.oneOf) > 0 && len(k.oneOf) <= 12:
		return "`" + strings.Join(k.oneOf, "`, `") + "`"
	case len(k.oneOf) > 12:
		return "a field that is a text or a number"
	}
	return fmt.Sprintf("text, at most %d characters", k.max)
}

func referType(s event.Spec) string {
	t := "text"
	switch s.Kind {
	case event.KindInt:
		t = "number"
	case event.KindTime:
		t = "number: Unix ms"
	case event.KindBool:
		t = "flag"
	}
	if known := s.Enum; known != nil {
		t += ": `" + strings.Join(known, "`, `") + "`"
	}
	return t
}

// cell escapes what would end a cell of a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
