package format

import (
	"strings"

	"github.com/weirdev/weir/event"
)

// proxyManager reads the access log of Nginx Proxy Manager:
//
//	[time] cache upstream-status status - method scheme host "uri" [Client address] [Length bytes] … "user agent" "referer"
//
// It also reads the lines of hosts without a cache, which begin [time] status -
// method, and those of requests for none of its hosts, which are combined.
type proxyManager struct {
	lines
	fallback combined
}

// Decode fills e from a line, with or without its end.
func (p *proxyManager) Decode(data []byte, e *event.Event) error {
	if len(data) > 0 && data[0] != '[' {
		return p.fallback.Decode(data, e)
	}
	line, ok := p.begin(data, e)
	if !ok || !p.line(line, e) {
		return &p.refusal
	}
	return nil
}

func (p *proxyManager) line(line string, e *event.Event) bool {
	stamp, rest, ok := strings.Cut(line, "] ")
	if !ok || stamp == "" || stamp[0] != '[' {
		return p.refuse(event.Syntax, event.Time, 0)
	}
	ms, ok := parseLogTime(stamp[1:])
	if !ok {
		return p.refuse(event.BadTime, event.Time, 0)
	}
	e.SetNum(event.Time, ms)
	start := len(line) - len(rest)
	quote := strings.IndexByte(rest, '"')
	if quote < 0 {
		return p.refuse(event.Truncated, event.Path, len(line))
	}
	if !p.request(rest[:quote], start, e) {
		return false
	}
	target, rest, ok := inQuotes(rest[quote:])
	if !ok {
		return p.refuse(event.Truncated, event.Path, len(line))
	}
	putText(e, event.Path, p.unescape(target))
	return p.answer(strings.TrimLeft(rest, " "), len(line), e)
}

// request reads the part before the URI, from its end, because there may be several
// upstream statuses. at is its place in the line.
func (p *proxyManager) request(s string, at int, e *event.Event) bool {
	s, host := lastWord(strings.TrimRight(s, " "))
	s, _ = lastWord(s) // scheme
	s, method := lastWord(s)
	s, dash := lastWord(s)
	_, status := lastWord(s)
	if dash != "-" {
		return p.refuse(event.Syntax, event.Status, at)
	}
	putText(e, event.Host, host)
	putText(e, event.Method, method)
	return p.whole(event.Status, status, at+len(s)-len(status), e)
}

// answer reads the values in brackets, and the texts after them. length is the
// length of the line.
func (p *proxyManager) answer(s string, length int, e *event.Event) bool {
	for strings.HasPrefix(s, "[") {
		inner, rest, ok := strings.Cut(s[1:], "]")
		if !ok {
			return p.refuse(event.Truncated, event.None, length)
		}
		name, v, _ := strings.Cut(inner, " ")
		switch name {
		case "Client":
			putText(e, event.IP, v)
		case "Length":
			if !p.whole(event.ResponseBytes, v, length-len(s), e) {
				return false
			}
		}
		s = strings.TrimLeft(rest, " ")
	}
	agent, s := column(s)
	putText(e, event.UserAgent, p.unescape(agent))
	referer, _ := column(s)
	putText(e, event.Referer, p.unescape(referer))
	return true
}
