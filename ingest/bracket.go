package ingest

// A bracket bounds when records were appended to one raw partition, by the only
// clock that is trusted: the one of the worker that reads them. A record found
// at an offset that was past the end of the log at a moment was appended after
// that moment; and it was appended before it was read.
//
// A gateway's timestamp is a claim. It becomes the event's time clamped to the
// bracket, widened by maxLate and maxFuture.
type bracket struct {
	low       int64 // Unix ms when the partition was last seen at its end; 0: never
	maxLate   int64 // ms
	maxFuture int64 // ms
	believe   bool  // a history source: claims are not clamped
}

// clamp fixes the time of an event that was read at now (Unix ms).
func (b *bracket) clamp(claimed, now int64) (t int64, skewed bool) {
	switch {
	case b.believe:
		return claimed, false
	case claimed > now+b.maxFuture:
		return now + b.maxFuture, true
	case claimed < b.low-b.maxLate:
		return b.low - b.maxLate, true
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
