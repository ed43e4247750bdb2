package format

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/ascii"
)

// MaxBytes is the size of the largest record that is read, in any format. It is the
// default limit of a Kafka broker, and more than a client can cause: 64 KiB of path
// and 64 KiB of headers, each byte written in six, leave a quarter of it for the
// gateway's fields.
const MaxBytes = 1 << 20

const maxDepth = 16

// maxExact is the largest number that JSON carries exactly everywhere.
const maxExact = 1<<53 - 1

// scanner reads JSON from one buffer, without allocating. It is strict, except for
// the bytes of texts, which clients write and [event.Keep] handles. A failed read
// stores its reason in refusal, and returns false.
type scanner struct {
	b       []byte
	i       int
	scratch []byte // texts that had escapes
	refusal event.Refusal

	allSound bool // the record is UTF-8 without DEL and U+FFFD
	isSound  bool // the text that was read last is known to be UTF-8 without control characters and U+FFFD
	raw      bool // it had what JSON does not allow: a control character as it is, or another language's escape
}

// start starts on a record: its size and its encoding are checked once, for the
// whole record.
func (s *scanner) start(data []byte) bool {
	s.b, s.i, s.scratch, s.refusal = data, 0, s.scratch[:0], event.Refusal{}
	if len(data) > MaxBytes {
		return s.refuse(event.TooLarge, event.None)
	}
	s.allSound = utf8.Valid(data) && bytes.IndexByte(data, 0x7f) < 0 && !strings.Contains(alias(data), string(utf8.RuneError))
	return true
}

func (s *scanner) refuse(r event.Reason, f event.Field) bool {
	s.refusal = event.Refusal{Reason: r, Field: f, Pos: s.i}
	return false
}

// unexpected refuses the text at the current position.
func (s *scanner) unexpected(f event.Field) bool {
	if s.i >= len(s.b) {
		return s.refuse(event.Truncated, f)
	}
	return s.refuse(event.Syntax, f)
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// is reports whether c comes next, without consuming it.
func (s *scanner) is(c byte) bool { return s.i < len(s.b) && s.b[s.i] == c }

// take takes c.
func (s *scanner) take(c byte, f event.Field) bool {
	if !s.is(c) {
		return s.unexpected(f)
	}
	s.i++
	return true
}

// word takes a literal such as true.
func (s *scanner) word(w string, f event.Field) bool {
	for k := range len(w) {
		if !s.take(w[k], f) {
			return false
		}
	}
	return true
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special finds the first quote, backslash or control character from i on.
func special(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		q, e := x^(ones*'"'), x^(ones*'\\')
		m := ((q - ones) &^ q) | ((e - ones) &^ e) | ((x - ones*0x20) &^ x)
		if m &= highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 {
			return i
		}
	}
	return i
}

// text reads a string, which may contain any bytes. It aliases the record, or the
// scratch if it had escapes.
func (s *scanner) text(f event.Field) (string, bool) {
	if !s.is('"') {
		return "", s.wrongType(f)
	}
	s.isSound, s.raw = s.allSound, false
	s.i++
	start := s.i
	s.i = special(s.b, s.i)
	if s.is('"') {
		t := s.b[start:s.i]
		s.i++
		return unsafe.String(unsafe.SliceData(t), len(t)), true
	}
	return s.escaped(start, f)
}

// escaped completes a string with a backslash or a control character, copying it.
func (s *scanner) escaped(start int, f event.Field) (string, bool) {
	s.isSound = false
	from := len(s.scratch)
	for {
		s.scratch = append(s.scratch, s.b[start:s.i]...)
		switch {
		case s.i >= len(s.b):
			return "", s.refuse(event.Truncated, f)
		case s.b[s.i] == '"':
			s.i++
			t := s.scratch[from:]
			return unsafe.String(unsafe.SliceData(t), len(t)), true
		case s.b[s.i] != '\\':
			s.raw = true
			s.scratch = append(s.scratch, s.b[s.i])
			s.i++
		case !s.escape(f):
			return "", false
		}
		start = s.i
		s.i = special(s.b, s.i)
	}
}

// escape reads one escape and appends its meaning.
func (s *scanner) escape(f event.Field) bool {
	if s.i+1 >= len(s.b) {
		return s.refuse(event.Truncated, f)
	}
	c := s.b[s.i+1]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return s.escapedRune(f)
	case 'v', 'x':
		return s.escapedByte(f)
	default:
		return s.refuse(event.BadEscape, f)
	}
	s.scratch = append(s.scratch, c)
	s.i += 2
	return true
}

// escapedByte reads \v or \xhh, which JSON does not have. Apache writes them for
// client bytes, and so does nginx if its log_format lacks escape=json. A client
// must not be able to stay unseen that way.
func (s *scanner) escapedByte(f event.Field) bool {
	s.raw = true
	if s.b[s.i+1] == 'v' {
		s.scratch = append(s.scratch, '\v')
		s.i += 2
		return true
	}
	if s.i+4 > len(s.b) {
		return s.refuse(event.Truncated, f)
	}
	high, low := ascii.Hex(s.b[s.i+2]), ascii.Hex(s.b[s.i+3])
	if high < 0 || low < 0 {
		return s.refuse(event.BadEscape, f)
	}
	s.scratch = append(s.scratch, byte(high<<4|low))
	s.i += 4
	return true
}

func (s *scanner) escapedRune(f event.Field) bool {
	r, ok := s.hex4(s.i+2, f)
	if !ok {
		return false
	}
	if !utf16.IsSurrogate(r) {
		s.scratch = utf8.AppendRune(s.scratch, r)
		s.i += 6
		return true
	}
	if end := s.i + 12; end <= len(s.b) && s.b[s.i+6] == '\\' && s.b[s.i+7] == 'u' {
		low, ok := s.hex4(s.i+8, f)
		if !ok {
			return false
		}
		if whole := utf16.DecodeRune(r, low); whole != utf8.RuneError {
			s.scratch = utf8.AppendRune(s.scratch, whole)
			s.i = end
			return true
		}
	}
	// These are the three bytes that UTF-8 would have for half of a character, see
	// [event.Keep].
	s.scratch = append(s.scratch, 0xe0|byte(r>>12), 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
	s.i += 6
	return true
}

func (s *scanner) hex4(i int, f event.Field) (r rune, ok bool) {
	if i+4 > len(s.b) {
		return 0, s.refuse(event.Truncated, f)
	}
	for _, c := range s.b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, s.refuse(event.BadEscape, f)
		}
	}
	return r, true
}

// integer reads a whole number. A number that JSON does not carry exactly is out of
// range.
func (s *scanner) integer(f event.Field) (n int64, ok bool) {
	negative := s.is('-')
	start := s.i
	if negative {
		s.i++
	}
	first := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		if n > maxExact/10 {
			s.i = start
			return 0, s.refuse(event.OutOfRange, f)
		}
		n = n*10 + int64(s.b[s.i]-'0')
		s.i++
	}
	switch {
	case s.i == first:
		s.i = start
		return 0, s.wrongType(f)
	case s.b[first] == '0' && (s.i > first+1 || negative):
		s.i = start
		return 0, s.refuse(event.Syntax, f)
	case s.is('.'), s.is('e'), s.is('E'):
		s.i = start
		return 0, s.refuse(event.WrongType, f)
	}
	if negative {
		n = -n
	}
	return n, true
}

// wrongType refuses the value at the current position: another type is expected, or
// it is no value at all.
func (s *scanner) wrongType(f event.Field) bool {
	if s.i >= len(s.b) {
		return s.refuse(event.Truncated, f)
	}
	switch c := s.b[s.i]; {
	case c == '"', c == '{', c == '[', c == '-', c >= '0' && c <= '9', c == 't', c == 'f', c == 'n':
		return s.refuse(event.WrongType, f)
	}
	return s.refuse(event.Syntax, f)
}

// number reads any JSON number, without interpreting it.
func (s *scanner) number(f event.Field) bool {
	if s.is('-') {
		s.i++
	}
	digits := func() bool {
		from := s.i
		for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
			s.i++
		}
		return s.i > from
	}
	zero := s.is('0')
	from := s.i
	if !digits() || zero && s.i > from+1 {
		return s.unexpected(f)
	}
	if s.is('.') {
		s.i++
		if !digits() {
			return s.unexpected(f)
		}
	}
	if s.is('e') || s.is('E') {
		s.i++
		if s.is('+') || s.is('-') {
			s.i++
		}
		if !digits() {
			return s.unexpected(f)
		}
	}
	return true
}

// skip reads any value.
func (s *scanner) skip(depth int, f event.Field) bool {
	if depth > maxDepth {
		return s.refuse(event.TooDeep, f)
	}
	if s.i >= len(s.b) {
		return s.refuse(event.Truncated, f)
	}
	switch s.b[s.i] {
	case '"':
		keep := len(s.scratch)
		_, ok := s.text(f)
		s.scratch = s.scratch[:keep]
		return ok
	case 't':
		return s.word("true", f)
	case 'f':
		return s.word("false", f)
	case 'n':
		return s.word("null", f)
	case '{':
		return s.skipAll('}', depth, f, func() bool {
			if _, ok := s.text(f); !ok {
				return false
			}
			s.space()
			if !s.take(':', f) {
				return false
			}
			s.space()
			return s.skip(depth+1, f)
		})
	case '[':
		return s.skipAll(']', depth, f, func() bool { return s.skip(depth+1, f) })
	}
	return s.number(f)
}

// skipAll reads an object or array, element by element.
func (s *scanner) skipAll(end byte, depth int, f event.Field, element func() bool) bool {
	s.i++
	s.space()
	if s.is(end) {
		s.i++
		return true
	}
	for {
		if !element() {
			return false
		}
		s.space()
		if s.is(end) {
			s.i++
			return true
		}
		if !s.take(',', f) {
			return false
		}
		s.space()
	}
}
