package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// Keep returns the text of field f in an event, whatever its format. v is the
// original text, byte for byte.
//
// A client's text is never refused, because a client must not be able to stay
// unseen. Bytes that are not UTF-8 and control characters become \xhh; escaped
// halves of characters become U+FFFD. A text that is too long is clipped at the end
// or, for [ForwardedFor], at the start, before an element. A [Path] that is too
// long without its query becomes a shorter path with the same route. An identifier
// that is too long, or was repaired, becomes a prefix, "~" and 32 hexadecimal
// digits of the SHA-256 of v, so that different ones stay different. whole is false
// if anything was changed. Keep never modifies earlier results.
//
// A gateway's text is valid, or refused with a reason; text is then "".
func Keep(f Field, v string) (text string, whole bool, refused Reason) {
	return keep(f, v, sound(v))
}

// keep is [Keep] with the caller's knowledge of whether v is sound.
func keep(f Field, v string, isSound bool) (text string, whole bool, refused Reason) {
	spec := &specs[f]
	switch {
	case !spec.Client:
		if refused = check(f, v, isSound); refused != 0 {
			return "", false, refused
		}
	case !isSound || len(v) > spec.MaxBytes:
		text = shorten(f, v)
		return text, text == v, 0
	}
	return v, true, 0
}

// check validates a text from the gateway; 0: valid.
func check(f Field, v string, isSound bool) Reason {
	switch s := &specs[f]; {
	case !isSound && !utf8.ValidString(v):
		return InvalidUTF8
	case len(v) > s.MaxBytes:
		return TooLong
	case s.Enum != nil && !slices.Contains(s.Enum, v):
		return BadValue
	case f == Tenant && !isSound && !visible(v):
		return ControlCharacter
	}
	return 0
}

// visible reports whether a tenant is free of control characters, which separate
// tenants from the following text in combined keys.
func visible(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' {
			return false
		}
	}
	return true
}

// AdmitText sets f, which is not numeric, to the text v as [Keep] returns it,
// unless that is empty. Every format sets an event's texts through it. isSound: v
// is known to be UTF-8 without control characters and U+FFFD. done reports whether
// f has a value; refused is 0 if nothing was refused.
func (e *Event) AdmitText(f Field, v string, isSound bool) (done bool, refused Reason) {
	isSound = isSound || sound(v)
	if spec := &specs[f]; isSound && spec.Client && len(v) <= spec.MaxBytes && v != "" { // the usual case
		e.SetText(f, v)
		return true, 0
	}
	text, whole, refused := keep(f, v, isSound)
	if refused != 0 {
		return false, refused
	}
	if !whole {
		e.SetNum(Clipped, 1)
	}
	if text == "" {
		return false, 0
	}
	e.SetText(f, text)
	return true, 0
}

// AdmitNumber sets f, which is numeric, to the number n; if n is invalid and comes
// from a client, f stays unset. Every format sets an event's numbers through it.
// wrong is a known error of n, or 0. done and refused are as in [Event.AdmitText].
func (e *Event) AdmitNumber(f Field, n int64, wrong Reason) (done bool, refused Reason) {
	spec := &specs[f]
	if wrong == 0 && (n < spec.Min || n > spec.Max) {
		wrong = OutOfRange
	}
	switch {
	case wrong == 0:
		e.SetNum(f, n)
		return true, 0
	case spec.Client:
		e.SetNum(Clipped, 1)
		return false, 0
	}
	return false, wrong
}

// markLen is the length of the end of a shortened identifier: "~" and 128 bits.
const markLen = 1 + 2*16

// shorten turns a client's text into a sound one that is short enough.
func shorten(f Field, v string) string {
	switch s := &specs[f]; {
	case s.Identifier:
		sum := sha256.Sum256(unsafe.Slice(unsafe.StringData(v), len(v)))
		var mark [markLen - 1]byte
		hex.Encode(mark[:], sum[:len(mark)/2])
		n := s.MaxBytes - markLen
		return clip(strings.ReplaceAll(repairedStart(v, n), replaced, `\xef\xbf\xbd`), n) + "~" + string(mark[:])
	case f == ForwardedFor:
		return repairedEnd(v, s.MaxBytes)
	case f == Path && len(pathPart(repairedStart(v, s.MaxBytes))) > s.MaxBytes:
		return clip(shortPath(Repaired(v), s.MaxBytes), s.MaxBytes)
	default:
		return clip(repairedStart(v, s.MaxBytes), s.MaxBytes)
	}
}

// replaced stands for invalid text.
const replaced = string(utf8.RuneError)

// repairedStart repairs v, of which at most n bytes are needed.
func repairedStart(v string, n int) string {
	// A repair makes nothing shorter. A character that begins before n is complete.
	return Repaired(v[:min(len(v), n+utf8.UTFMax-1)])
}

// clip cuts v to n bytes without splitting a character.
func clip(v string, n int) string {
	if len(v) <= n {
		return v
	}
	for n > 0 && !utf8.RuneStart(v[n]) {
		n--
	}
	return v[:n]
}

// repairedEnd repairs the end of a list: at most n bytes, from the start of an
// element. An element that is cut in two is dropped, because its end could be
// another address.
func repairedEnd(v string, n int) string {
	v = Repaired(v[max(0, len(v)-n-1):])
	if len(v) <= n {
		return v
	}
	_, whole, _ := strings.Cut(v[len(v)-n:], ",")
	return whole
}

// sound reports whether v is UTF-8 without control characters and U+FFFD.
func sound(v string) bool {
	const (
		ones  = 0x0101010101010101
		highs = ones * 0x80
		dels  = ones * 0x7f
	)
	b := unsafe.Slice(unsafe.StringData(v), len(v))
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		d := x ^ dels
		if (x|(x-ones*0x20)|((d-ones)&^d))&highs != 0 {
			break
		}
	}
	ascii := true
	for _, c := range b[i:] {
		if isControl(c) {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.Valid(b[i:]) && !strings.Contains(v[i:], replaced)
}

func isControl(c byte) bool { return c < ' ' || c == 0x7f }

// Repaired returns v as UTF-8 without control characters, as in [Keep].
func Repaired(v string) string {
	const digits = "0123456789abcdef"
	if sound(v) {
		return v
	}
	b := make([]byte, 0, len(v)+len(v)/2)
	for len(v) > 0 {
		r, size := utf8.DecodeRuneInString(v)
		switch {
		case isControl(v[0]), r == utf8.RuneError && size == 1 && !isSurrogate(v):
			b = append(b, '\\', 'x', digits[v[0]>>4], digits[v[0]&15])
		case r == utf8.RuneError && size == 1:
			size = 3
			b = utf8.AppendRune(b, utf8.RuneError)
		default:
			b = append(b, v[:size]...)
		}
		v = v[size:]
	}
	return string(b)
}

// isSurrogate reports whether v begins with half of a character, in the three bytes
// that UTF-8 would use for it. JSON decoders write it so, and different halves stay
// different until [Keep] sees them.
func isSurrogate(v string) bool {
	return len(v) >= 3 && v[0] == 0xed && v[1] >= 0xa0 && v[1] <= 0xbf && v[2] >= 0x80 && v[2] <= 0xbf
}
