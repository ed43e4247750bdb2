package event

import (
	"strings"
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
