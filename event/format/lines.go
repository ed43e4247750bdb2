package format

import (
	"bytes"
	"strings"

	"github.com/weirdev/weir/event"
)

// lines is shared by formats that read lines of text.
type lines struct {
	unescaper
	refusal event.Refusal
}

func (l *lines) HasID() bool { return false }

// begin returns a line without its end.
func (l *lines) begin(data []byte, e *event.Event) (line string, ok bool) {
	e.Reset()
	l.scratch = l.scratch[:0]
	line = alias(bytes.TrimRight(data, "\r\n"))
	if len(line) > MaxBytes {
		return "", l.refuse(event.TooLarge, event.None, MaxBytes)
	}
	return line, true
}

func (l *lines) refuse(r event.Reason, f event.Field, pos int) bool {
	l.refusal = event.Refusal{Reason: r, Field: f, Pos: pos}
	return false
}

// whole stores a number that a log writes without sign and fraction; "-" is none.
func (l *lines) whole(f event.Field, w string, pos int, e *event.Event) bool {
	n, ok := digits(w)
	switch {
	case w == "-":
		return true
	case !ok || w == "":
		return l.refuse(event.WrongType, f, pos)
	case len(w) > maxDigits || n > f.Spec().Max:
		return l.refuse(event.OutOfRange, f, pos)
	}
	e.SetNum(f, n)
	return true
}

const maxDigits = 18 // of a number that an int64 surely holds

// word splits off the text before the first blank, and the following blanks.
func word(s string) (first, rest string) {
	first, rest, _ = strings.Cut(s, " ")
	return first, strings.TrimLeft(rest, " ")
}

// lastWord splits off the text after the last blank, and the blanks before it.
func lastWord(s string) (rest, last string) {
	i := strings.LastIndexByte(s, ' ')
	return strings.TrimRight(s[:i+1], " "), s[i+1:]
}

// column splits off a word, or a text in quotes.
func column(s string) (text, rest string) {
	if !strings.HasPrefix(s, `"`) {
		return word(s)
	}
	text, rest, _ = inQuotes(s)
	return text, strings.TrimLeft(rest, " ")
}

// cutLast is strings.Cut at the last sep.
func cutLast(s string, sep byte) (before, after string, found bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// putTarget stores the target of a request. A target with scheme and host also
// gives the host.
func putTarget(e *event.Event, target string) {
	for _, scheme := range [...]string{"http://", "https://", "ws://", "wss://"} {
		if rest, ok := strings.CutPrefix(target, scheme); ok {
			host, path := rest, "/"
			if i := strings.IndexAny(rest, "/?"); i >= 0 {
				host, path = rest[:i], rest[i:]
			}
			if !e.Has(event.Host) {
				putHost(e, host)
			}
			putText(e, event.Path, path)
			return
		}
	}
	putText(e, event.Path, target)
}
