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
	b.WriteString(ReferenceOf(grammar(kinds)))
	b.WriteString("\n| field | type | what it is |\n|---|---|---|\n")
	for _, w := range append(condition.Fields(), routeClasses{}.word(nil)) {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", w.Name, referWord(w), cell(w.Doc))
	}
	return b.String()
}

// ReferenceOf lists, in Markdown, all keys of files that are as k demands.
func ReferenceOf(k Key) string {
	var b strings.Builder
	b.WriteString("| key | value | what it says |\n|---|---|---|\n")
	for i := range k.members {
		referKey(&b, &k.members[i], "")
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
	case momentForm:
		return "date or moment"
	case entryForm:
		return "value or mapping"
	case listForm:
		return fmt.Sprintf("list of %d to %d", k.min, k.max)
	case valuesForm:
		return "field: value"
	}
	switch {
	case k.pattern != nil:
		return "`" + k.pattern.String() + "`"
	case len(k.oneOf) > 0 && len(k.oneOf) <= 16:
		return "`" + strings.Join(k.oneOf, "`, `") + "`"
	case len(k.oneOf) > 16:
		return "a field that is a text or a number"
	}
	return fmt.Sprintf("text, at most %d characters", k.max)
}

func referWord(w condition.Word) string {
	t := strings.TrimPrefix(w.Sort.String(), "a ")
	if w.Field.Kind() == event.KindTime {
		t += ": Unix ms"
	}
	if w.Values != nil {
		t += ": `" + strings.Join(w.Values, "`, `") + "`"
	}
	return t
}

// cell escapes the character that would end a table cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
