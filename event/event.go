// Package event holds the request event as a gateway saw it: its fields, what is
// kept of what a client wrote, addresses, and how it is written as JSON. How it is
// read is in event/format; how a path gets its route is in event/route.
//
// It knows nothing of Kafka, of entities or of rules.
package event

// Event is one request. Values are indexed by [Field] rather than held in named
// members, so that decoding, projection into facets, columns and rules are all
// driven by one table.
//
// An Event is meant to be reused: [Event.Reset] forgets values without freeing.
// Text may alias the buffer that it was decoded from, and is valid only as long
// as that buffer is; whoever keeps text beyond it clones it.
type Event struct {
	present [2]uint64
	text    [MaxField]string
	num     [MaxField]int64
}

// Reset makes the event empty.
func (e *Event) Reset() { e.present = [2]uint64{} }

// Has reports whether f has a value.
func (e *Event) Has(f Field) bool {
	return f < MaxField && e.present[f>>6]&(1<<(f&63)) != 0
}

// Text is the text of f, "" where it is absent. f must not be numeric.
func (e *Event) Text(f Field) string {
	if !e.Has(f) {
		return ""
	}
	return e.text[f]
}

// Num is the number of f (Unix milliseconds for times, 1 or 0 for flags), 0
// where it is absent. f must be numeric.
func (e *Event) Num(f Field) int64 {
	if !e.Has(f) {
		return 0
	}
	return e.num[f]
}

// SetText gives f a text. The text is kept, not copied.
func (e *Event) SetText(f Field, v string) {
	e.present[f>>6] |= 1 << (f & 63)
	e.text[f] = v
}

// SetNum gives f a number.
func (e *Event) SetNum(f Field, v int64) {
	e.present[f>>6] |= 1 << (f & 63)
	e.num[f] = v
}

// Clear removes the value of f.
func (e *Event) Clear(f Field) { e.present[f>>6] &^= 1 << (f & 63) }
