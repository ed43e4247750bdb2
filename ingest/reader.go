package ingest

import (
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/kafka"
)

// Reader makes events of raw records, as a configuration says: it decodes and
// completes them. What becomes of an event's time needs the log around it, and is
// not for a Reader. One goroutine uses it.
type Reader struct {
	format format.Format
	enrich *Enricher
}

// NewReader makes a reader; places may be for many of them.
func NewReader(cfg Config, places Places) (*Reader, error) {
	format, err := cfg.format().New()
	if err != nil {
		return nil, err
	}
	enrich, err := NewEnricher(cfg, places)
	if err != nil {
		return nil, err
	}
	return &Reader{format, enrich}, nil
}

// Read makes e of a record of a raw partition; e is valid until the next Read. own
// tells that the event has an id of its own, so that the same bytes are the same
// event. The error is an [*event.Refusal].
func (r *Reader) Read(partition int32, rec *kafka.Record, e *event.Event) (own bool, err error) {
	if err := r.format.Decode(rec.Value, e); err != nil {
		return false, err
	}
	own = e.Has(event.ID)
	r.enrich.Complete(e, partition, rec.Offset, rec.Key)
	return own, nil
}
