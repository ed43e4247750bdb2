package rules

import "regexp"

// form is what may stand as the value of a key.
type form uint8

const (
	textForm      form = iota + 1 // a scalar, as it is written
	countForm                     // a whole number
	durationForm                  // 90s, 10m, 7d
	conditionForm                 // a condition over event fields
	objectForm                    // a mapping with the keys in members
	listForm                      // a list of item
	valuesForm                    // a mapping from event fields to their values
)

// key describes one key of a rule file. The tree of keys is what the loader
// checks files against, and what the JSON Schema and the reference are made
// from.
type key struct {
	name     string
	form     form
	required bool
	doc      string

	min, max int64          // count: range; duration: milliseconds; text and list: length
	pattern  *regexp.Regexp // text
	oneOf    []string       // text
	members  []key          // object
	item     *key           // list
}

func (k *key) member(name string) *key {
	for i := range k.members {
		if k.members[i].name == name {
			return &k.members[i]
		}
	}
	return nil
}

func (k *key) names() []string {
	all := make([]string, len(k.members))
	for i := range k.members {
		all[i] = k.members[i].name
	}
	return all
}

// A need says whether a key must be there.
const (
	optional = false
	required = true
)

func text(name string, need bool, longest int64, doc string) key {
	return key{name: name, form: textForm, required: need, max: longest, doc: doc}
}

func choice(name string, need bool, of []string, doc string) key {
	return key{name: name, form: textForm, required: need, max: 64, oneOf: of, doc: doc}
}

func named(name string, pattern, doc string) key {
	return key{name: name, form: textForm, required: required, max: 64, pattern: regexp.MustCompile(pattern), doc: doc}
}

func count(name string, need bool, from, to int64, doc string) key {
	return key{name: name, form: countForm, required: need, min: from, max: to, doc: doc}
}

func duration(name string, need bool, from, to int64, doc string) key {
	return key{name: name, form: durationForm, required: need, min: from, max: to, doc: doc}
}

func conditional(name string, need bool, doc string) key {
	return key{name: name, form: conditionForm, required: need, max: maxCondition, doc: doc}
}

func object(name string, need bool, doc string, members ...key) key {
	return key{name: name, form: objectForm, required: need, members: members, doc: doc}
}

func list(name string, need bool, from, to int64, doc string, item key) key {
	return key{name: name, form: listForm, required: need, min: from, max: to, doc: doc, item: &item}
}
