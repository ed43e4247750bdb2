package event

import "strings"

// proxyManager reads the access log of Nginx Proxy Manager:
//
//	[time] cache upstream-status status - method scheme host "uri" [Client address] [Length bytes] … "user agent" "referer"
//
// that of its hosts without a cache, which begins [time] status - method, and that
// of requests for none of its hosts, which is combined.
type proxyManager struct {
	lines
	fallback combined
}

// Decode fills e from a line, with or without its end.
func (p *proxyManager) Decode(data []byte, e *Event) error {
	if len(data) > 0 && data[0] != '[' {
		return p.fallback.Decode(data, e)
	}
	line, ok := p.begin(data, e)
	if !ok || !p.line(line, e) {
		return &p.refusal
	}
	return nil
}

func (p *proxyManager) line(line string, e *Event) bool {
	stamp, rest, ok := strings.Cut(line, "] ")
	if !ok || stamp == "" || stamp[0] != '[' {
		return p.refuse(Syntax, Time, 0)
	}
	ms, ok := parseLogTime(stamp[1:])
	if !ok {
		return p.refuse(BadTime, Time, 0)
	}
	e.SetNum(Time, ms)
	start := len(line) - len(rest)
	quote := strings.IndexByte(rest, '"')
	if quote < 0 {
		return p.refuse(Truncated, Path, len(line))
	}
	if !p.request(rest[:quote], start, e) {
		return false
	}
	target, rest, ok := inQuotes(rest[quote:])
	if !ok {
		return p.refuse(Truncated, Path, len(line))
	}
	putText(e, Path, p.unescape(target))
	return p.answer(strings.TrimLeft(rest, " "), len(line), e)
}

// request reads what is before the URI, from its end: of the upstream's status
// there may be several. at is where it begins.
func (p *proxyManager) request(s string, at int, e *Event) bool {
	s, host := lastWord(strings.TrimRight(s, " "))
	s, _ = lastWord(s) // scheme
	s, method := lastWord(s)
	s, dash := lastWord(s)
	_, status := lastWord(s)
	if dash != "-" {
		return p.refuse(Syntax, Status, at)
	}
	putText(e, Host, host)
	putText(e, Method, method)
	return p.whole(Status, status, at+len(s)-len(status), e)
}

// answer reads what is in brackets, and the texts behind it. length is that of the
// line.
func (p *proxyManager) answer(s string, length int, e *Event) bool {
	for strings.HasPrefix(s, "[") {
		inner, rest, ok := strings.Cut(s[1:], "]")
		if !ok {
			return p.refuse(Truncated, None, length)
		}
		name, v, _ := strings.Cut(inner, " ")
		switch name {
		case "Client":
			putText(e, IP, v)
		case "Length":
			if !p.whole(ResponseBytes, v, length-len(s), e) {
				return false
			}
		}
		s = strings.TrimLeft(rest, " ")
	}
	agent, s := column(s)
	putText(e, UserAgent, p.unescape(agent))
	referer, _ := column(s)
	putText(e, Referer, p.unescape(referer))
	return true
}
