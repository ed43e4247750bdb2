package event

import (
	"bytes"
	"strings"
)

// combined reads the text log of Apache and nginx, and of all that imitate it:
//
//	host ident user [time] "request" status bytes "referer" "user agent" "x-forwarded-for"
//
// from "bytes" on, fields may be missing, and whatever follows is not looked at.
// The referer has no place in an event.
type combined struct {
	scratch []byte // texts that had escapes
	refusal Refusal
}

func (c *combined) HasID() bool { return false }

// Decode fills e from a line, with or without its end. What the client wrote
// never makes a line unreadable: see putText, and a request line that is none is
// kept as the path.
func (c *combined) Decode(data []byte, e *Event) error {
	e.Reset()
	c.scratch = c.scratch[:0]
	line := alias(bytes.TrimRight(data, "\r\n"))
	if len(line) > MaxBytes {
		c.refuse(TooLarge, None, MaxBytes)
		return &c.refusal
	}
	rest, ok := c.head(line, e)
	if !ok {
		return &c.refusal
	}
	request, rest, ok := inQuotes(rest)
	if !ok {
		c.refuse(Truncated, Path, len(line))
		return &c.refusal
	}
	c.request(request, e)
	if rest, ok = c.result(rest, len(line), e); !ok {
		return &c.refusal
	}
	c.tail(rest, e)
	return nil
}

func (c *combined) refuse(r Reason, f Field, pos int) bool {
	c.refusal = Refusal{Reason: r, Field: f, Pos: pos}
	return false
}

const (
	clfTimeLen = 28 // of [17/May/2015:10:05:03 +0000]
	maxDigits  = 18 // of a number that an int64 surely holds
)

// head reads all that is before the request. The time is looked for first: the
// user may be given with blanks, but never with the quote that follows the time.
func (c *combined) head(line string, e *Event) (rest string, ok bool) {
	end := strings.Index(line, `] "`) + 1
	start := end - clfTimeLen
	if end == 0 || start < 1 || line[start-1] != ' ' || line[start] != '[' {
		return "", c.refuse(Syntax, Time, 0)
	}
	ms, ok := parseCLFTime(line[start+1 : end-1])
	if !ok {
		return "", c.refuse(BadTime, Time, start)
	}
	e.SetNum(Time, ms)
	host, names, _ := strings.Cut(line[:start-1], " ")
	_, user, _ := strings.Cut(names, " ")
	putText(e, IP, host)
	if user != `""` { // how Apache writes an empty name
		putText(e, Account, c.unescape(user))
	}
	return line[end+1:], true
}

// parseCLFTime reads 17/May/2015:10:05:03 +0000 as Unix milliseconds. A leap
// second is the next one.
func parseCLFTime(s string) (ms int64, ok bool) {
	if s[2] != '/' || s[6] != '/' || s[11] != ':' || s[14] != ':' || s[17] != ':' || s[20] != ' ' || s[21] != '+' && s[21] != '-' {
		return 0, false
	}
	month := int64(strings.Index("JanFebMarAprMayJunJulAugSepOctNovDec", s[3:6]))
	day, ok1 := digits(s[0:2])
	year, ok2 := digits(s[7:11])
	hour, ok3 := digits(s[12:14])
	minute, ok4 := digits(s[15:17])
	second, ok5 := digits(s[18:20])
	east, ok6 := digits(s[22:24])
	eastMinutes, ok7 := digits(s[24:26])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || !ok6 || !ok7 || month%3 != 0 ||
		!calendar(year, month/3+1, day) || hour > 23 || minute > 59 || second > 60 || east > 23 || eastMinutes > 59 {
		return 0, false
	}
	zone := east*3600 + eastMinutes*60
	if s[21] == '-' {
		zone = -zone
	}
	ms = (daysOf(year, month/3+1, day)*86_400 + hour*3600 + minute*60 + second - zone) * 1000
	return ms, ms >= minMillis && ms <= maxMillis
}

// inQuotes splits off what is between double quotes at the start of s. A quote
// after an odd number of backslashes is text.
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

func (c *combined) request(raw string, e *Event) {
	line := c.unescape(raw)
	method, target, ok := strings.Cut(line, " ")
	if !ok || !isLogMethod(method) {
		putText(e, Path, line)
		return
	}
	if i := strings.LastIndexByte(target, ' '); i >= 0 && strings.HasPrefix(target[i+1:], "HTTP/") {
		target = target[:i]
	}
	putText(e, Method, method)
	putText(e, Path, target)
}

func isLogMethod(s string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != "" && len(s) <= specs[Method].MaxBytes
}

// result reads status and size. length is that of the line.
func (c *combined) result(s string, length int, e *Event) (rest string, ok bool) {
	for _, f := range [...]Field{Status, ResponseBytes} {
		pos := length - len(s)
		if s == "" {
			return "", c.refuse(Truncated, f, pos)
		}
		word, _, _ := strings.Cut(s[1:], " ")
		n, ok := digits(word)
		switch {
		case s[0] != ' ':
			return "", c.refuse(Syntax, f, pos)
		case word == "-":
		case !ok || word == "":
			return "", c.refuse(WrongType, f, pos+1)
		case len(word) > maxDigits || n > specs[f].Max:
			return "", c.refuse(OutOfRange, f, pos+1)
		default:
			e.SetNum(f, n)
		}
		s = s[1+len(word):]
	}
	return s, true
}

// tail reads what the common format lacks. The last text may have been cut, as
// syslog and fixed buffers do with long lines: what there is of it counts.
func (c *combined) tail(s string, e *Event) {
	for _, f := range [...]Field{None, UserAgent, ForwardedFor} {
		if s == "" || s[0] != ' ' {
			return
		}
		text, rest, ok := inQuotes(s[1:])
		if !ok && rest != "" { // not in quotes at all
			return
		}
		if f != None {
			putText(e, f, c.unescape(text))
		}
		s = rest
	}
}

// unescape decodes the escapes of Apache and nginx: what is left is what the
// client wrote, byte for byte.
func (c *combined) unescape(raw string) string {
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

// unescaped is the byte that an escape at the start of s stands for, and the
// escape's length; 0 where there is none.
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
		if len(s) >= 4 && hexValue(s[2]) >= 0 && hexValue(s[3]) >= 0 {
			return byte(hexValue(s[2])<<4 | hexValue(s[3])), 4
		}
	}
	return 0, 0
}
