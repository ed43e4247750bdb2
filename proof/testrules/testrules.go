// Package testrules has kinds of rules for tests of the packages that know no
// detector: the language, the engine, the simulation. A detector stands in it under
// a name that says what such a test needs of it, so that the tests do not change
// when detectors are renamed, replaced or added.
package testrules

import (
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/rules"
)

// Counting counts events in a window of time and fires where there are as many as a
// tier asks for:
//
//	counting: {window: 10m, count: status == 401, distinct: object, tiers: [{at: 5, weight: 50}]}
//
// Its keys are those of the sliding window.
func Counting() rules.Kind {
	k := detectors.SlidingWindowKind()
	k.Name, k.Doc = counting, "events in a window of time"
	return k
}

const counting = "counting"

// AsShipped is the text of rules with the names that detectors have in rules of
// users: for what is kept under those names, such as a snapshot.
func AsShipped(text string) string {
	return strings.ReplaceAll(text, counting+":", detectors.SlidingWindowKind().Name+":")
}

// Kinds are all kinds that are shipped, and those of this package.
func Kinds() []rules.Kind { return append(detectors.All(), Counting()) }
