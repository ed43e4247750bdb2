package detectors

import (
	"unicode/utf8"

	"github.com/weirdev/weir/event"
)

// valueHash identifies a field's value in 32 bits, by the text's keyed hash or by
// the number itself. It is 0 if the event has none.
func valueHash(h Hasher, e *event.Event, f event.Field) uint32 {
	if f.Numeric() {
		return uint32(e.Num(f))
	}
	if text := e.Text(f); text != "" {
		return max(uint32(h.Text(text)), 1)
	}
	return 0
}

// firstBytes returns the longest prefix of a text that fits into n bytes.
func firstBytes(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
