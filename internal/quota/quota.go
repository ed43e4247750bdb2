// Package quota describes exact sliding windows over requests, and counts them in
// memory. sink/redis counts them in Redis, by the same rules.
package quota

import (
	"time"

	"github.com/weirdev/weir/internal/facet"
)

// MostRequests is the highest number of requests that a window may allow.
const MostRequests = 10_000

// Counter allows Most requests in any window, for one combination of entities.
type Counter struct {
	ID       string         // of the limit: letters, digits and hyphens
	Entities []facet.Entity // at least one
	Most     int            // 1 … MostRequests
	Window   time.Duration  // whole milliseconds

	// Refuses says that a request that exceeds it is refused. Otherwise the counter
	// only observes.
	Refuses bool
	// All says that requests count even if they are refused, by this counter or by
	// another one.
	All bool
}

// Count is the state of a counter after a request.
type Count struct {
	Exceeded  bool          // there were Most requests in the window before this one
	Remaining int           // how many more fit into the window
	Reset     time.Duration // until one more fits; 0 if the window is empty
}

// Answer holds the counts of a request's counters.
type Answer struct {
	Counts []Count   // one per counter, in order
	At     time.Time // when the request was counted, by the clock of whatever counts
	Err    error     // if it is not nil, there are no counts
}
