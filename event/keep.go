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

// Keep says how a text stands in field f of an event, whatever format it came
// in. v is what was written, byte for byte.
//
// A text that a client wrote is never refused, for no client may choose to go
// unseen. Bytes that are not UTF-8 and control characters become \xhh, escaped
// halves of characters U+FFFD. A text that is too long is clipped at the end, or,
// for [ForwardedFor], at the start, in front of an element; of a [Path] that is too
// long without its query stays what has the same route. An identifier that
// is too long, or was repaired, becomes a prefix, "~" and 32 hexadecimal digits
// of the SHA-256 of v, so that different ones stay different. whole is false
// where any of this was done. Keep changes nothing that it has returned before.
//
// What a gateway makes is right, or refused with a reason; text is then "".
func Keep(f Field, v string) (text string, whole bool, refused Reason) {
	return keep(f, v, sound(v))
}

// keep is [Keep] for a text of which it is known whether it is sound.
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

// check says what is wrong with a text that the gateway made; 0: nothing.
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

// visible reports whether a tenant is free of control characters, which
// separate tenants from what stands behind them wherever both are one key.
func visible(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' {
			return false
		}
	}
	return true
}

// AdmitText gives f, which is not numeric, the text v, as [Keep] has it, unless
// nothing is left of it. Every format gives an event its texts through here.
// isSound: v is known to be UTF-8 without control characters and U+FFFD. done says
// whether f has got a value; refused is 0 where there is nothing to refuse.
func (e *Event) AdmitText(f Field, v string, isSound bool) (done bool, refused Reason) {
	isSound = isSound || sound(v)
	if spec := &specs[f]; isSound && spec.Client && len(v) <= spec.MaxBytes && v != "" { // as nearly all are
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

// AdmitNumber gives f, which is numeric, the number n, or, where that is no value
// of f and a client stated it, none. Every format gives an event its numbers
// through here. wrong is what is known to be wrong with n, 0 where nothing is. done
// and refused are as in [Event.AdmitText].
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

// markLen is the length of what ends a shortened identifier: "~" and 128 bits.
const markLen = 1 + 2*16

// shorten makes of a client's text one that is sound, and short enough.
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

// replaced stands for what was no text.
const replaced = string(utf8.RuneError)

// repairedStart is v repaired, of which no more than n bytes are wanted.
func repairedStart(v string, n int) string {
	// A repair makes nothing shorter. A character that begins before n is whole.
	return Repaired(v[:min(len(v), n+utf8.UTFMax-1)])
}

// clip is v, clipped to n bytes without cutting a character.
func clip(v string, n int) string {
	if len(v) <= n {
		return v
	}
	for n > 0 && !utf8.RuneStart(v[n]) {
		n--
	}
	return v[:n]
}

// repairedEnd is the end of a list, repaired: at most n bytes, from an element's
// start. What was cut in two is not kept: its end could be another address.
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

// Repaired is v as UTF-8 without control characters, as [Keep] has it.
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
// that UTF-8 would have for it. Readers of JSON write it so, and different halves
// stay different until [Keep] sees them.
func isSurrogate(v string) bool {
	return len(v) >= 3 && v[0] == 0xed && v[1] >= 0xa0 && v[1] <= 0xbf && v[2] >= 0x80 && v[2] <= 0xbf
}
