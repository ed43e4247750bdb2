package rules

import (
	"slices"

	"github.com/weirdev/weir/event"
)

// mergeFields is the union of two lists of fields, ascending, without repeats. It
// is never nil: no list of fields and an empty one are different things to a
// projection.
func mergeFields(a, b []event.Field) []event.Field {
	all := append(append([]event.Field{}, a...), b...)
	slices.Sort(all)
	return slices.Compact(all)
}
