package rules

import (
	"fmt"

	"github.com/weirdev/weir/condition"
)

const (
	maxLists = 100    // in all files
	maxItems = 10_000 // of a list
)

const namePattern = `^[a-z][a-z0-9_]{0,63}$`

// listKey describes a named list, which conditions use as lists.NAME.
func listKey() Key {
	return ObjectKey("", Required, "one list",
		NamedKey("name", namePattern, "names the list in conditions: client_ip in lists.NAME"),
		ChoiceKey("type", Required, condition.ListKinds(), "type of the items: networks and addresses, autonomous system numbers, countries, JA4 fingerprints, or any texts"),
		TextKey("description", Optional, 4000, "what the list is for"),
		ListKey("items", Required, 1, maxItems, "its entries", entryKey()))
}

// entryKey describes an entry of a list: a value alone, or with its metadata.
func entryKey() Key {
	k := ObjectKey("", Required, "one entry: a value, or a mapping",
		TextKey("value", Required, 1024, "the value"),
		MomentKey("expires", Optional, "event time at which the value leaves the list"),
		TextKey("note", Optional, 1000, "why it is there"))
	k.form = entryForm
	return k
}

// list adds a list from a file.
func (l *loader) list(r *reader, v *value) {
	name := v.get("name")
	kind, _ := condition.ParseListKind(v.get("type").str())
	if name == nil || kind == 0 {
		return
	}
	if first, taken := l.listed[name.text]; taken {
		r.node(name.node, fmt.Sprintf("another list has the name %q", name.text), "rename one of the two; the first is in "+first)
		return
	}
	l.listed[name.text] = fmt.Sprintf("%s, line %d", r.name, name.node.Line)
	if len(l.listed) == maxLists+1 {
		r.node(name.node, "too many lists", fmt.Sprintf("at most %d are loaded, of all files together", maxLists))
	}
	var items []condition.Item
	var at []*value
	for _, e := range v.get("items").list() {
		value := e.get("value")
		if value == nil {
			continue // reported
		}
		it := condition.Item{Value: value.text}
		if x := e.get("expires"); x != nil {
			it.Expires = x.num
		}
		items, at = append(items, it), append(at, e)
		l.expiring = append(l.expiring, expiring{r.file, e, it.Expires, fmt.Sprintf("%s in the list %s has expired", it.Value, name.text)})
	}
	list, faults := condition.NewList(name.text, kind, items)
	for _, f := range faults {
		r.node(at[f.Item].get("value").node, f.What, f.Do)
	}
	if list == nil {
		// Conditions that use it should not be reported, too.
		list, _ = condition.NewList(name.text, kind, nil)
	}
	l.vocabulary.Lists = append(l.vocabulary.Lists, list)
}
