package event

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends e in Weir's own format: fields in number order, without
// derived ones.
func (e *Event) AppendJSON(b []byte) []byte { return e.appendFields(b, false) }

// AppendAll appends e with the derived fields, for people and tests to read; a
// decoder refuses it.
func (e *Event) AppendAll(b []byte) []byte { return e.appendFields(b, true) }

func (e *Event) appendFields(b []byte, derived bool) []byte {
	b = append(b, '{')
	first := true
	for f := Field(1); f < MaxField; f++ {
		spec := &specs[f]
		if !e.Has(f) || spec.Derived && !derived {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(append(append(b, '"'), spec.Name...), `":`...)
		switch spec.Kind {
		case KindInt:
			b = strconv.AppendInt(b, e.num[f], 10)
		case KindBool:
			b = strconv.AppendBool(b, e.num[f] != 0)
		case KindTime:
			b = AppendTime(append(b, '"'), e.num[f])
			b = append(b, '"')
		case KindObject:
			b = append(b, e.text[f]...)
		default:
			b = AppendText(b, e.text[f])
		}
	}
	return append(b, '}')
}

// AppendTime appends Unix milliseconds as RFC 3339, in UTC.
func AppendTime(b []byte, ms int64) []byte {
	return time.UnixMilli(ms).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
}

// AppendText appends s as a JSON string. Invalid UTF-8 becomes U+FFFD.
func AppendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}
