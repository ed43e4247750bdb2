package ingest

import (
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/internal/kafka"
)

// Reader makes events from raw records, as configured: it decodes and completes
// them. It does not fix the time of an event, which depends on the log around it.
// One goroutine uses it.
type Reader struct {
	format format.Format
	enrich *Enricher
}

// NewReader creates a reader; several readers may share places.
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

// Read fills e from a record of a raw partition; e is valid until the next Read.
// own reports whether the event has an id of its own, so that equal bytes mean the
// same event. The error is an [*event.Refusal].
func (r *Reader) Read(partition int32, rec *kafka.Record, e *event.Event) (own bool, err error) {
	if err := r.format.Decode(rec.Value, e); err != nil {
		return false, err
	}
	own = e.Has(event.ID)
	r.enrich.Complete(e, partition, rec.Offset, rec.Key)
	return own, nil
}
