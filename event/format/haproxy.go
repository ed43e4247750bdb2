package format

import (
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/ascii"
)

// haproxy reads what HAProxy writes with "option httplog":
//
//	address:port [time] frontend backend/server TR/Tw/Tc/Tr/Ta status bytes … {captured|request|headers} {response's} "request"
//
// The time has no zone. It is read as UTC; docs/formats.md tells operators to run
// HAProxy in UTC. Client values are in captured headers and in the request, in
// which HAProxy escapes every quote, brace and bar.
type haproxy struct{ lines }

// Decode fills e from a line, with or without its end.
func (h *haproxy) Decode(data []byte, e *event.Event) error {
	line, ok := h.begin(data, e)
	if !ok || !h.line(line, e) {
		return &h.refusal
	}
	return nil
}

func (h *haproxy) line(line string, e *event.Event) bool {
	client, rest := word(line)
	peer, port, ok := cutLast(client, ':') // of IPv6 as well, without brackets
	if !ok || !ascii.IsPort(port) || peer != "unix" && !isPeer(peer) {
		return h.refuse(event.BadAddress, event.IP, 0)
	}
	putText(e, event.IP, peer)
	at := len(line) - len(rest)
	stamp, rest := word(rest)
	inner, ok := strings.CutPrefix(stamp, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if !ok || !closed {
		return h.refuse(event.Syntax, event.Time, at)
	}
	ms, ok := parseLocalTime(inner)
	if !ok {
		return h.refuse(event.BadTime, event.Time, at)
	}
	e.SetNum(event.Time, ms)
	if rest, ok = h.answer(rest, len(line), e); !ok {
		return false
	}
	quote := strings.IndexByte(rest, '"')
	if quote < 0 {
		return h.refuse(event.Truncated, event.Path, len(line))
	}
	h.captured(rest[:quote], e)
	request, _, _ := inQuotes(rest[quote:]) // may have been cut: it is the last there is
	h.request(h.unescapeHash(request), e)
	return true
}

// parseLocalTime reads 06/Feb/2009:12:14:14.655 as Unix milliseconds.
func parseLocalTime(s string) (ms int64, ok bool) {
	const seconds = len("06/Feb/2009:12:14:14")
	if len(s) < seconds {
		return 0, false
	}
	ms, ok1 := parseCLFClock(s[:seconds])
	fraction, rest, ok2 := millis(s[seconds:])
	ms += fraction
	return ms, ok1 && ok2 && rest == "" && holdsTime(ms)
}

// answer reads everything from frontend to bytes. length is the length of the line.
func (h *haproxy) answer(s string, length int, e *event.Event) (rest string, ok bool) {
	_, s = word(s) // frontend
	_, s = word(s) // backend and server
	timers, s := word(s)
	_, total, _ := cutLast(timers, '/')
	putNumber(e, event.LatencyMicros, strings.TrimPrefix(total, "+"), 3)
	at := length - len(s)
	status, s := word(s)
	if status == "-1" { // the client went away
		status = "0"
	}
	if !h.whole(event.Status, status, at, e) {
		return "", false
	}
	at = length - len(s)
	size, s := word(s)
	return s, h.whole(event.ResponseBytes, strings.TrimPrefix(size, "+"), at, e)
}

// captured reads the braces before the request. The configuration decides which
// headers are captured, and in which order: four are those of docs/formats.md. With
// others, the first is the host, if it is a name, as in HAProxy's manual.
func (h *haproxy) captured(s string, e *event.Event) {
	s, group := lastBraces(s)
	if _, first := lastBraces(s); first != "" {
		group = first // the other was the answer's
	}
	fields := [...]event.Field{event.Host, event.ForwardedFor, event.UserAgent, event.Referer}
	inner := strings.Trim(group, "{}")
	if strings.Count(inner, "|") != len(fields)-1 {
		name, _, _ := strings.Cut(inner, "|")
		if strings.Contains(name, ".") && isHostName(name) && !isPeer(name) {
			putHost(e, name)
		}
		return
	}
	for _, f := range fields {
		var v string
		v, inner, _ = strings.Cut(inner, "|")
		if v = h.unescapeHash(v); f == event.Host {
			putHost(e, v)
		} else {
			putText(e, f, v)
		}
	}
}

// lastBraces splits off braces at the end, with their content.
func lastBraces(s string) (rest, group string) {
	s = strings.TrimRight(s, " ")
	i := strings.LastIndexByte(s, '{')
	if i < 0 || !strings.HasSuffix(s, "}") {
		return s, ""
	}
	return s[:i], s[i:]
}

func (h *haproxy) request(line string, e *event.Event) {
	if line == "<BADREQ>" {
		return
	}
	method, target := splitRequest(line)
	putText(e, event.Method, method)
	putTarget(e, target)
}

// unescapeHash decodes #HH.
func (u *unescaper) unescapeHash(raw string) string {
	if strings.IndexByte(raw, '#') < 0 {
		return raw
	}
	start := len(u.scratch)
	for i := 0; i < len(raw); i++ {
		if raw[i] == '#' && i+2 < len(raw) && ascii.Hex(raw[i+1]) >= 0 && ascii.Hex(raw[i+2]) >= 0 {
			u.scratch = append(u.scratch, byte(ascii.Hex(raw[i+1])<<4|ascii.Hex(raw[i+2])))
			i += 2
			continue
		}
		u.scratch = append(u.scratch, raw[i])
	}
	return alias(u.scratch[start:])
}
