package format

import (
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/ascii"
)

// combined reads the text log of Apache and nginx, and of all that imitate it:
//
//	address ident user [time] "request" status bytes "referer" "user agent" "x-forwarded-for"
//
// A virtual host and a list of addresses may stand before the address (see
// combinedHead); from "bytes" on, fields may be missing, and what follows the
// known ones is not looked at.
type combined struct {
	lines
	head combinedHead
}

// Decode fills e from a line, with or without its end. What the client wrote
// never makes a line unreadable: see putText, and a request line that is none is
// kept as the path.
func (c *combined) Decode(data []byte, e *event.Event) error {
	line, ok := c.begin(data, e)
	if !ok {
		return &c.refusal
	}
	rest, ok := c.start(line, e)
	if !ok {
		return &c.refusal
	}
	request, rest, closed := inQuotes(rest)
	if !closed && len(line) < transportCuts {
		c.refuse(event.Truncated, event.Path, len(line))
		return &c.refusal
	}
	putRequest(e, c.unescape(request))
	if !closed {
		return nil
	}
	if rest, ok = c.result(rest, len(line), e); !ok {
		return &c.refusal
	}
	c.tail(rest, e)
	return nil
}

// transportCuts is the length, in bytes, from which a line that ends within its
// request is taken to be cut on its way: syslog cuts at 1,024 bytes and above,
// container logs at 16 KiB. Such a line is long because the client made it so,
// and he must not go unseen by that. A shorter one is refused.
const transportCuts = 1000

// start reads all that is before the request. The time is looked for first: the
// user may be given with blanks and brackets, but never with the quote that
// follows the time.
func (c *combined) start(line string, e *event.Event) (rest string, ok bool) {
	from, end, reason := findTime(line, e)
	if reason != 0 {
		return "", c.refuse(reason, event.Time, from)
	}
	if !c.head.read(line[:from], &c.unescaper, e) {
		return "", c.refuse(event.BadAddress, event.IP, 0)
	}
	return line[end:], true
}

// longestTime is that of [2026-11-23T10:05:03.123456789+00:00], bytes.
const longestTime = 40

// findTime finds the time in brackets between a blank and the request, and gives
// it to e: from is where the bracket opens, end where the request's quote is. Some
// have the host between them. Where there is no time, from is where the first is
// that looks like one.
func findTime(line string, e *event.Event) (from, end int, reason event.Reason) {
	reason = event.Syntax
	for at := 0; ; at = end + 1 {
		i := strings.Index(line[at:], "] ")
		if i < 0 {
			return from, 0, reason
		}
		end = at + i
		open := bracketBefore(line, end)
		if open == 0 {
			continue
		}
		quote := requestBehind(line, end+len("] "))
		if quote == 0 {
			continue
		}
		if ms, ok := parseLogTime(line[open+1 : end]); ok {
			e.SetNum(event.Time, ms)
			putHost(e, strings.TrimRight(line[end+len("] "):quote], " "))
			return open, quote, 0
		}
		if reason == event.Syntax && end-open > len("[23/Nov/2026") {
			from, reason = open, event.BadTime
		}
	}
}

// requestBehind is where the quote is with which the request begins: at i, or
// behind a host's name there. It is 0 where there is none.
func requestBehind(line string, i int) int {
	if i < len(line) && line[i] == '"' {
		return i
	}
	const longestHost = 256
	w, rest, ok := strings.Cut(line[i:min(len(line), i+longestHost)], " ")
	if ok && strings.HasPrefix(rest, `"`) && strings.Contains(w, ".") && isHostName(w) {
		return i + len(w) + 1
	}
	return 0
}

// bracketBefore finds the bracket that opens what ends at end: behind a blank, and
// so near that a time may be in it. It is 0 where there is none.
func bracketBefore(line string, end int) int {
	first := max(0, end-longestTime)
	i := strings.LastIndexByte(line[first:end], '[')
	if open := first + i; i >= 0 && open > 0 && line[open-1] == ' ' {
		return open
	}
	return 0
}

// parseLogTime reads the time of a log as Unix milliseconds: in common log
// format, or RFC 3339.
func parseLogTime(s string) (ms int64, ok bool) {
	if len(s) > 2 && s[2] == '/' {
		return parseCLFTime(s)
	}
	ms, ok = parseTime(s)
	return ms, ok && holdsTime(ms)
}

// parseCLFTime reads 17/May/2015:10:05:03 +0000, with or without a fraction of
// the second, as Unix milliseconds. A leap second is the next one.
func parseCLFTime(s string) (ms int64, ok bool) {
	const seconds = len("17/May/2015:10:05:03")
	if len(s) < seconds {
		return 0, false
	}
	ms, ok1 := parseCLFClock(s[:seconds])
	fraction, zone, ok2 := millis(s[seconds:])
	east, ok3 := parseCLFZone(zone)
	ms += fraction - east
	return ms, ok1 && ok2 && ok3 && holdsTime(ms)
}

func parseCLFClock(s string) (ms int64, ok bool) {
	if s[2] != '/' || s[6] != '/' || s[11] != ':' || s[14] != ':' || s[17] != ':' {
		return 0, false
	}
	month := int64(strings.Index("JanFebMarAprMayJunJulAugSepOctNovDec", s[3:6]))
	day, ok1 := digits(s[0:2])
	year, ok2 := digits(s[7:11])
	hour, ok3 := digits(s[12:14])
	minute, ok4 := digits(s[15:17])
	second, ok5 := digits(s[18:20])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || month%3 != 0 ||
		!calendar(year, month/3+1, day) || hour > 23 || minute > 59 || second > 60 {
		return 0, false
	}
	return (daysOf(year, month/3+1, day)*86_400 + hour*3600 + minute*60 + second) * 1000, true
}

// parseCLFZone reads " +0130", as milliseconds east.
func parseCLFZone(s string) (ms int64, ok bool) {
	if len(s) != len(" +0000") || s[0] != ' ' || s[1] != '+' && s[1] != '-' {
		return 0, false
	}
	hours, ok1 := digits(s[2:4])
	minutes, ok2 := digits(s[4:6])
	ms = (hours*3600 + minutes*60) * 1000
	if s[1] == '-' {
		ms = -ms
	}
	return ms, ok1 && ok2 && hours <= 23 && minutes <= 59
}

// result reads status and size. length is that of the line.
func (c *combined) result(s string, length int, e *event.Event) (rest string, ok bool) {
	for _, f := range [...]event.Field{event.Status, event.ResponseBytes} {
		pos := length - len(s)
		if s == "" {
			return "", c.refuse(event.Truncated, f, pos)
		}
		if s[0] != ' ' {
			return "", c.refuse(event.Syntax, f, pos)
		}
		w, _, _ := strings.Cut(s[1:], " ")
		if !c.whole(f, w, pos+1, e) {
			return "", false
		}
		s = s[1+len(w):]
	}
	return s, true
}

// putRequest gives e what a request line says.
func putRequest(e *event.Event, line string) {
	method, target := splitRequest(line)
	putText(e, event.Method, method)
	putText(e, event.Path, target)
}

// splitRequest splits METHOD TARGET PROTOCOL. What is no request is the target,
// without a method. Servers pass over blanks around the target.
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
// 5.6.2. Clients invent them, and some servers answer.
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

// unescaper decodes the escapes of text logs. What it returns is valid until its
// scratch is cut.
type unescaper struct {
	scratch []byte // texts that had escapes
}

// unescape decodes the escapes of Apache and nginx: what is left is what the
// client wrote, byte for byte.
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
		if len(s) >= 4 && ascii.Hex(s[2]) >= 0 && ascii.Hex(s[3]) >= 0 {
			return byte(ascii.Hex(s[2])<<4 | ascii.Hex(s[3])), 4
		}
	}
	return 0, 0
}
