package rules

import (
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/condition"
)

// value is a part of a file that satisfies its key. A nil value stands for an
// absent or reported one; its accessors return zeros.
type value struct {
	node    *yaml.Node
	text    string
	num     int64 // counts; durations in milliseconds; moments in Unix milliseconds
	cond    *condition.Condition
	items   []*value
	members map[string]*value
	found   map[string]bool // keys that stand in the file, be their values right or wrong
	values  []Value
	flawed  bool // of an object: something in it is wrong, and was reported
}

func (v *value) get(name string) *value {
	if v == nil {
		return nil
	}
	return v.members[name]
}

// has reports whether the file contains the key, with a valid or an invalid value.
func (v *value) has(name string) bool { return v != nil && v.found[name] }

func (v *value) str() string {
	if v == nil {
		return ""
	}
	return v.text
}

func (v *value) int() int {
	if v == nil {
		return 0
	}
	return int(v.num)
}

func (v *value) span() time.Duration {
	if v == nil {
		return 0
	}
	return time.Duration(v.num) * time.Millisecond
}

func (v *value) condition() *condition.Condition {
	if v == nil {
		return nil
	}
	return v.cond
}

func (v *value) list() []*value {
	if v == nil {
		return nil
	}
	return v.items
}
