package event

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// putText gives f a text from a gateway's log. Much of what is in a log was
// chosen by the client, and no client may choose to have his request refused
// here and so go unseen: what is too long is clipped, where our own format
// refuses it. Empty and "-" are how logs write that there is nothing. The result
// says whether f has got a value.
func putText(e *Event, f Field, v string) bool {
	if v == "-" {
		return false
	}
	if f.Kind() == KindAddress {
		v, _, _ = bareAddress(v)
	}
	if longest := specs[f].MaxBytes; len(v) > longest {
		v = clip(f, v, longest)
	}
	if v == "" {
		return false
	}
	e.SetText(f, v)
	return true
}

// clip shortens v to at most n bytes without cutting a character in two. Of
// X-Forwarded-For it keeps the end, which is what our own proxies wrote, from an
// element's start.
func clip(f Field, v string, n int) string {
	if f == ForwardedFor {
		v = v[len(v)-n:]
		_, whole, _ := strings.Cut(v, ",")
		return whole
	}
	for n > 0 && !utf8.RuneStart(v[n]) {
		n--
	}
	return v[:n]
}

// appendRepaired appends v with every byte that is not UTF-8 written as two
// hexadecimal digits after mark.
func appendRepaired(b []byte, v, mark string) []byte {
	const hex = "0123456789abcdef"
	for len(v) > 0 {
		r, size := utf8.DecodeRuneInString(v)
		if r == utf8.RuneError && size == 1 {
			b = append(append(b, mark...), hex[v[0]>>4], hex[v[0]&15])
		} else {
			b = append(b, v[:size]...)
		}
		v = v[size:]
	}
	return b
}

// repairSurrogates overwrites every escape of half a character, in JSON, with
// that of U+FFFD.
func repairSurrogates(b []byte) {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' {
			continue
		}
		r := escapedUnit(b[i:])
		switch {
		case !utf16.IsSurrogate(r):
			i++
		case utf16.DecodeRune(r, escapedUnit(b[i+6:])) != utf8.RuneError:
			i += 11
		default:
			copy(b[i+2:], "fffd")
			i += 5
		}
	}
}

// escapedUnit is the code unit of a \uXXXX at the start of b, 0 where there is
// none.
func escapedUnit(b []byte) (r rune) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0
	}
	for _, c := range b[2:6] {
		v := hexValue(c)
		if v < 0 {
			return 0
		}
		r = r<<4 | rune(v)
	}
	return r
}
