package ingest

import "github.com/weirdev/weir/internal/kafka"

// A bracket bounds when records were appended to one raw partition. Where the
// topic keeps the time of appending, the broker says it to the millisecond, and
// says the same to whoever reads the record again. Elsewhere the clock of the
// worker that reads is all there is: a record found at an offset that was past
// the end of the log at a moment was appended after that moment, and before it
// was read.
//
// A gateway's timestamp is a claim. One that lies after the bracket by more than
// maxFuture is moved to there. One that lies before it by more than maxLate is
// delayed, and stays: moved to one moment, a backlog would look like a burst. Such
// an event is late whatever the watermark says, so that it is in no window that
// others have passed. With arrival it counts as of the bracket's beginning.
type bracket struct {
	low       int64 // Unix ms when the partition was last seen at its end; 0: never
	maxLate   int64 // ms
	maxFuture int64 // ms
	arrival   bool  // delayed events are moved to low
	believe   bool  // a history source: claims are times
}

// placed is an event's time.
type placed struct {
	time    int64
	passed  int64 // no event of this partition that comes later and is older than that is on time
	skewed  bool  // time is not what was claimed
	delayed bool  // the claim lay too far back
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
	// Were delayed events to say nothing, a partition with no others would hold
	// back the time of all.
	return placed{time: claimed, passed: oldest, delayed: true}
}

// seenEnd records that a fetch sent at asked (Unix ms) reached the log's end. What
// was seen once stays seen, whatever a clock says that was set back.
func (b *bracket) seenEnd(asked int64) { b.low = max(b.low, asked) }

// watermark follows the largest event time of one raw partition.
type watermark int64

func (w *watermark) see(t int64) { *w = max(*w, watermark(t)) }

// section is the watermark as frames carry it.
func (w watermark) section() int64 { return int64(w) }
