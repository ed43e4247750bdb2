package format

import (
	"strings"

	"github.com/weirdev/weir/event"
)

// combined reads the text log of Apache and nginx, and of all servers that imitate
// it:
//
//	address ident user [time] "request" status bytes "referer" "user agent" "x-forwarded-for"
//
// A virtual host and a list of addresses may come before the address (see
// combinedHead). From "bytes" on, fields may be missing, and anything after the
// known ones is ignored.
type combined struct {
	lines
	head combinedHead
}

// Decode fills e from a line, with or without its end. A client's text never makes
// a line unreadable (see putText), and an invalid request line is kept as the path.
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
// request counts as cut in transit: syslog cuts at 1,024 bytes and above, container
// logs at 16 KiB. The line is long because the client made it so, and he must not
// stay unseen that way. A shorter one is refused.
const transportCuts = 1000

// start reads everything before the request. It looks for the time first: the user
// may contain blanks and brackets, but never the quote that follows the time.
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

// longestTime is the length of [2026-11-23T10:05:03.123456789+00:00], bytes.
const longestTime = 40

// findTime finds the time in brackets between a blank and the request, and stores
// it in e. from is the place of the opening bracket, end that of the request's
// quote. Some logs have the host between them. If there is no time, from is the
// place of the first text that looks like one.
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

// requestBehind returns the place of the quote that begins the request: at i, or
// after a host's name there. It returns 0 if there is none.
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

// bracketBefore finds the opening bracket of what ends at end: after a blank, and
// close enough to hold a time. It returns 0 if there is none.
func bracketBefore(line string, end int) int {
	first := max(0, end-longestTime)
	i := strings.LastIndexByte(line[first:end], '[')
	if open := first + i; i >= 0 && open > 0 && line[open-1] == ' ' {
		return open
	}
	return 0
}

// result reads status and size. length is the length of the line.
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
