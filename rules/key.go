package rules

import (
	"regexp"
	"time"

	"github.com/weirdev/weir/condition"
)

// form is the form of a key's value.
type form uint8

const (
	textForm      form = iota + 1 // a scalar, as it is written
	countForm                     // a whole number
	durationForm                  // 90s, 10m, 7d
	conditionForm                 // a condition over event fields
	objectForm                    // a mapping with the keys in members
	listForm                      // a list of item
	momentForm                    // a date, or a moment
	entryForm                     // a value alone, or an object with the keys in members
	valuesForm                    // a mapping from event fields to their values
)

// Key describes one key of a rule file. The loader checks files against the tree of
// keys, and the JSON Schema and the reference are generated from it.
type Key struct {
	name     string
	form     form
	required bool
	doc      string

	min, max int64          // count: range; duration: milliseconds; text and list: length
	pattern  *regexp.Regexp // text
	oneOf    []string       // text
	members  []Key          // object
	item     *Key           // list

	anyOfKeys []string // object: at least one of these
	oneOfKeys []string // object: keys of which exactly one must stand there
}

func (k *Key) member(name string) *Key {
	for i := range k.members {
		if k.members[i].name == name {
			return &k.members[i]
		}
	}
	return nil
}

func (k *Key) names() []string {
	all := make([]string, len(k.members))
	for i := range k.members {
		all[i] = k.members[i].name
	}
	return all
}

// Whether a key is required.
const (
	Optional = false
	Required = true
)

// TextKey describes a text of at most longest characters.
func TextKey(name string, need bool, longest int64, doc string) Key {
	return Key{name: name, form: textForm, required: need, max: longest, doc: doc}
}

// ChoiceKey describes one of several texts.
func ChoiceKey(name string, need bool, of []string, doc string) Key {
	return Key{name: name, form: textForm, required: need, max: 64, oneOf: of, doc: doc}
}

// NamedKey describes a required text that matches a pattern.
func NamedKey(name string, pattern, doc string) Key {
	return Key{name: name, form: textForm, required: Required, max: 64, pattern: regexp.MustCompile(pattern), doc: doc}
}

// CountKey describes a whole number in a range.
func CountKey(name string, need bool, from, to int64, doc string) Key {
	return Key{name: name, form: countForm, required: need, min: from, max: to, doc: doc}
}

// WeightKey describes the weight of a signal, which [Params.Weight] reads.
func WeightKey(name, doc string) Key {
	return CountKey(name, Required, 0, 100, doc+"; 0 changes no score, and is for signals that ask for an action")
}

// DurationKey describes a duration in a range.
func DurationKey(name string, need bool, from, to time.Duration, doc string) Key {
	return Key{name: name, form: durationForm, required: need, min: from.Milliseconds(), max: to.Milliseconds(), doc: doc}
}

// ConditionKey describes a condition over event fields.
func ConditionKey(name string, need bool, doc string) Key {
	return Key{name: name, form: conditionForm, required: need, max: condition.MaxLength, doc: doc}
}

// MomentKey describes a date, or a moment with its offset; stored as Unix
// milliseconds.
func MomentKey(name string, need bool, doc string) Key {
	return Key{name: name, form: momentForm, required: need, doc: doc}
}

// ObjectKey describes a mapping with the keys members.
func ObjectKey(name string, need bool, doc string, members ...Key) Key {
	return Key{name: name, form: objectForm, required: need, members: members, doc: doc}
}

// ListKey describes a list of items, each described by item.
func ListKey(name string, need bool, from, to int64, doc string, item Key) Key {
	return Key{name: name, form: listForm, required: need, min: from, max: to, doc: doc, item: &item}
}
