package rules

import (
	"slices"

	"github.com/weirdev/weir/event"
)

// mergeFields is the union of two lists of fields, ascending, without repeats.
func mergeFields(a, b []event.Field) []event.Field {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
