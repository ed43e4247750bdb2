// Package testrules provides kinds of rules for tests of packages that know no
// detector: the rule language, the engine, the simulation. A detector has a name
// here that says what the test needs it for. So the tests do not change when
// detectors are renamed, replaced or added.
package testrules

import (
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/rules"
)

// Counting counts events in a window of time and fires when there are as many as a
// tier requires:
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

// AsShipped returns the text of rules with the detectors' public names: for data
// stored under those names, such as a snapshot.
func AsShipped(text string) string {
	return strings.ReplaceAll(text, counting+":", detectors.SlidingWindowKind().Name+":")
}

// Kinds returns all shipped kinds, and those of this package.
func Kinds() []rules.Kind { return append(detectors.All(), Counting()) }
