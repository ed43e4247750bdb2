package ingest

import "github.com/weirdev/weir/internal/kafka"

// A bracket bounds the time at which a record was appended to one raw partition. If
// the topic keeps the append time, the broker states it to the millisecond, and
// states the same to every reader. Otherwise only the worker's own clock is
// available: a record at an offset that was past the end of the log at some moment
// was appended after that moment, and before it was read.
//
// A gateway's timestamp is a claim. One more than maxFuture after the bracket is
// moved back to that limit. One more than maxLate before it is delayed, and stays:
// if a backlog were moved to one moment, it would look like a burst. A delayed
// event is late whatever the watermark says, so it is in no window that has already
// closed for others. With arrival it counts as of the bracket's beginning.
type bracket struct {
	low       int64 // Unix ms when the partition was last seen at its end; 0: never
	maxLate   int64 // ms
	maxFuture int64 // ms
	arrival   bool  // delayed events are moved to low
	believe   bool  // a history source: its times are believed
}

// placed is an event's time.
type placed struct {
	time    int64
	passed  int64 // later events of this partition that are older than this are late
	skewed  bool  // the time differs from the claim
	delayed bool  // the claim was too far back
}

// place fixes the time of the event in r, which was read at now (Unix ms).
func (b *bracket) place(claimed int64, r *kafka.Record, now int64) placed {
	// A clock that was ahead may have seen the end later than now.
	low, high := min(b.low, now), now
	if r.Appended {
		low, high = r.Time, r.Time
	}
	oldest, latest := low-b.maxLate, high+b.maxFuture
	switch {
	case b.believe:
		return placed{time: claimed, passed: claimed}
	case claimed > latest:
		return placed{time: latest, passed: latest, skewed: true}
	case claimed >= oldest:
		return placed{time: claimed, passed: claimed}
	case b.arrival:
		return placed{time: low, passed: low, skewed: true, delayed: true}
	}
	// If delayed events did not move the watermark, a partition that has no others
	// would hold back the time of all.
	return placed{time: claimed, passed: oldest, delayed: true}
}

// seenEnd records that a fetch sent at asked (Unix ms) reached the log's end. An
// earlier call counts even if the clock was set back since.
func (b *bracket) seenEnd(asked int64) { b.low = max(b.low, asked) }

// watermark follows the largest event time of one raw partition.
type watermark int64

func (w *watermark) see(t int64) { *w = max(*w, watermark(t)) }

// section returns the watermark as frames carry it.
func (w watermark) section() int64 { return int64(w) }
