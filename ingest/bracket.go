package ingest

import "github.com/weirdev/weir/internal/klog"

// A bracket bounds when records were appended to one raw partition. Where the
// topic keeps the time of appending, the broker says it to the millisecond, and
// says the same to whoever reads the record again. Elsewhere the clock of the
// worker that reads is all there is: a record found at an offset that was past
// the end of the log at a moment was appended after that moment, and before it
// was read.
//
// A gateway's timestamp is a claim. It becomes the event's time clamped to the
// bracket, widened by maxLate and maxFuture.
type bracket struct {
	low       int64 // Unix ms when the partition was last seen at its end; 0: never
	maxLate   int64 // ms
	maxFuture int64 // ms
	believe   bool  // a history source: claims are not clamped
}

// clamp fixes the time of the event in r, which was read at now (Unix ms).
func (b *bracket) clamp(claimed int64, r *klog.Record, now int64) (t int64, skewed bool) {
	low, high := b.low, now
	if r.Appended {
		low, high = r.Time, r.Time
	}
	switch {
	case b.believe:
		return claimed, false
	case claimed > high+b.maxFuture:
		return high + b.maxFuture, true
	case claimed < low-b.maxLate:
		return low - b.maxLate, true
	}
	return claimed, false
}

// seenEnd records that a fetch sent at asked (Unix ms) reached the log's end.
func (b *bracket) seenEnd(asked int64) { b.low = max(b.low, asked) }

// watermark follows the largest event time of one raw partition.
type watermark int64

func (w *watermark) see(t int64) { *w = max(*w, watermark(t)) }

// section is the watermark as frames carry it.
func (w watermark) section() int64 { return int64(w) }
