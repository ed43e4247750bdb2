// Package event defines the request event as a gateway saw it: its fields, the
// limits on client values, addresses, and its JSON form. Package event/format reads
// events; package event/route derives the route of a path.
//
// It knows nothing of Kafka, entities or rules.
package event

// Event is one request. Values are indexed by [Field] rather than held in named
// members, so that one table drives decoding, projection into facets, columns and
// rules.
//
// An Event is meant to be reused: [Event.Reset] forgets values without freeing.
// Text may alias the buffer that it was decoded from, and is valid only as long as
// that buffer. Clone text to keep it longer.
type Event struct {
	present [2]uint64
	derived *Derivation // of the text; nil: none was computed
	made    string
	text    [MaxField]string
	num     [MaxField]int64
}

// Reset makes the event empty.
func (e *Event) Reset() { e.present, e.derived = [2]uint64{}, nil }

// Has reports whether f has a value.
func (e *Event) Has(f Field) bool {
	return f < MaxField && e.present[f>>6]&(1<<(f&63)) != 0
}

// Text returns the text of f, "" if absent. f must not be numeric.
func (e *Event) Text(f Field) string {
	if !e.Has(f) {
		return ""
	}
	return e.text[f]
}

// Num returns the number of f (Unix milliseconds for times, 1 or 0 for flags), 0 if
// absent. f must be numeric.
func (e *Event) Num(f Field) int64 {
	if !e.Has(f) {
		return 0
	}
	return e.num[f]
}

// SetText sets the text of f. It keeps the text, without a copy.
func (e *Event) SetText(f Field, v string) {
	e.derived = nil
	e.present[f>>6] |= 1 << (f & 63)
	e.text[f] = v
}

// SetNum sets the number of f.
func (e *Event) SetNum(f Field, v int64) {
	e.derived = nil
	e.present[f>>6] |= 1 << (f & 63)
	e.num[f] = v
}

// Clear removes the value of f.
func (e *Event) Clear(f Field) {
	e.derived = nil
	e.present[f>>6] &^= 1 << (f & 63)
}

// Derivation is a text that is computed from an event's fields. Of must not change the
// event.
type Derivation struct{ Of func(*Event) string }

// Derive returns the text of d. The event remembers it until it changes or another text
// is computed: many conditions ask for the same one.
func (e *Event) Derive(d *Derivation) string {
	if e.derived != d {
		e.made, e.derived = d.Of(e), d
	}
	return e.made
}
