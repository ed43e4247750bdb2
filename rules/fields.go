package rules

import (
	"slices"

	"github.com/weirdev/weir/event"
)

// mergeFields returns the union of two lists of fields, ascending, without repeats.
// It is never nil, because a projection distinguishes nil from empty.
func mergeFields(a, b []event.Field) []event.Field {
	all := append(append([]event.Field{}, a...), b...)
	slices.Sort(all)
	return slices.Compact(all)
}
