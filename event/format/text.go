package format

import (
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/ascii"
)

// putLogText stores a text from a gateway's log, as in [event.Keep]. Empty and "-"
// mean no value in logs, and so does an invalid address. isSound is as in
// [event.Event.AdmitText]. done reports whether f has a value; refused is 0 if
// nothing was refused.
func putLogText(e *event.Event, f event.Field, v string, isSound bool) (done bool, refused event.Reason) {
	if v == "-" {
		return false, 0
	}
	if f.Kind() == event.KindAddress {
		v, isSound = event.BareAddress(v), true
	}
	if v == "" {
		return false, 0
	}
	return e.AdmitText(f, v, isSound)
}

// Put stores the text that a gateway gives for a field, as a mapping does: numbers
// in the field's own unit, times as RFC 3339 or Unix milliseconds, flags as true or
// false. Derived fields and [event.Attrs] are for nobody to give. done and refused
// are those of [event.Event.AdmitText].
func Put(e *event.Event, f event.Field, v string) (done bool, refused event.Reason) {
	s := compiledSource{field: f, unit: ownUnit()}
	return s.apply(token{kind: tokenText, text: v}, e)
}

// Givable finds a field that [Put] can store.
func Givable(name string) (event.Field, error) {
	spec, err := mappable(name)
	return spec.Field, err
}

// putText is putLogText for fields of which nothing can be refused: addresses, and
// client values.
func putText(e *event.Event, f event.Field, v string) bool {
	done, _ := putLogText(e, f, v, false)
	return done
}

// putRequest stores the parts of a request line.
func putRequest(e *event.Event, line string) {
	method, target := splitRequest(line)
	putText(e, event.Method, method)
	putText(e, event.Path, target)
}

// splitRequest splits METHOD TARGET PROTOCOL. An invalid request becomes the
// target, without a method. Like servers, it ignores blanks around the target.
func splitRequest(line string) (method, target string) {
	method, target, ok := strings.Cut(line, " ")
	i := strings.LastIndexByte(target, ' ')
	versioned := i >= 0 && strings.HasPrefix(target[i+1:], "HTTP/")
	if !ok || !isLogMethod(method) && !(versioned && isToken(method)) {
		return "", line
	}
	if versioned {
		target = target[:i]
	}
	return method, strings.Trim(target, " ")
}

// isToken reports whether s may be a method, after RFC 9110, sections 9.1 and
// 5.6.2. Clients invent methods, and some servers answer.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if letter := c | 0x20; (letter < 'a' || letter > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= event.Method.Spec().MaxBytes
}

func isLogMethod(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != "" && len(s) <= event.Method.Spec().MaxBytes
}

// inQuotes splits off the text in double quotes at the start of s. A quote after an
// odd number of backslashes is text.
func inQuotes(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", s, false
	}
	for i := 1; i < len(s); i++ {
		j := strings.IndexByte(s[i:], '"')
		if j < 0 {
			break
		}
		i += j
		escapes := i
		for s[escapes-1] == '\\' {
			escapes--
		}
		if (i-escapes)%2 == 0 {
			return s[1:i], s[i+1:], true
		}
	}
	return s[1:], "", false
}

// unescaper decodes the escapes of text logs. Its results are valid until its
// scratch is reset.
type unescaper struct {
	scratch []byte // texts that had escapes
}

// unescape decodes the escapes of Apache and nginx; the result is the client's
// text, byte for byte.
func (c *unescaper) unescape(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw
	}
	start := len(c.scratch)
	c.scratch = appendUnescaped(c.scratch, raw)
	return alias(c.scratch[start:])
}

func appendUnescaped(b []byte, raw string) []byte {
	for {
		i := strings.IndexByte(raw, '\\')
		if i < 0 || i+1 == len(raw) {
			return append(b, raw...)
		}
		b, raw = append(b, raw[:i]...), raw[i:]
		if c, taken := unescaped(raw); taken > 0 {
			b, raw = append(b, c), raw[taken:]
			continue
		}
		b, raw = append(b, raw[:2]...), raw[2:]
	}
}

// unescaped returns the byte of an escape at the start of s, and the escape's
// length; 0 if there is none.
func unescaped(s string) (c byte, length int) {
	switch s[1] {
	case '"', '\\':
		return s[1], 2
	case 'b':
		return '\b', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'v':
		return '\v', 2
	case 'x':
		if len(s) >= 4 && ascii.Hex(s[2]) >= 0 && ascii.Hex(s[3]) >= 0 {
			return byte(ascii.Hex(s[2])<<4 | ascii.Hex(s[3])), 4
		}
	}
	return 0, 0
}
