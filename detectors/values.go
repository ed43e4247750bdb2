package detectors

import (
	"unicode/utf8"

	"github.com/weirdev/weir/event"
)

// valueHash is 32 bits of what tells a field's value apart: of the text's keyed hash, or
// the number itself. It is 0 where the event has none.
func valueHash(h Hasher, e *event.Event, f event.Field) uint32 {
	if f.Kind().Numeric() {
		return uint32(e.Num(f))
	}
	if text := e.Text(f); text != "" {
		return max(uint32(h.Text(text)), 1)
	}
	return 0
}

// firstBytes is as much of a text as fits into so many bytes.
func firstBytes(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
