package format

import (
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/ascii"
)

// balancer reads the access logs of AWS load balancers: Application,
//
//	type time elb client:port target:port t t t status target-status received sent "request" "user agent"
//	cipher protocol group "trace" "domain" …
//
// and Classic, which lacks the type and everything after the protocol.
type balancer struct{ lines }

// Decode fills e from a line, with or without its end.
func (b *balancer) Decode(data []byte, e *event.Event) error {
	line, ok := b.begin(data, e)
	if !ok || !b.line(line, e) {
		return &b.refusal
	}
	return nil
}

func (b *balancer) line(line string, e *event.Event) bool {
	stamp, rest := word(line)
	switch stamp {
	case "http", "https", "h2", "grpcs", "ws", "wss":
		stamp, rest = word(rest)
	}
	ms, ok := parseTime(stamp)
	if !ok || !holdsTime(ms) {
		return b.refuse(event.BadTime, event.Time, len(line)-len(rest)-len(stamp)-1)
	}
	e.SetNum(event.Time, ms)
	_, rest = word(rest) // the balancer's name
	client, rest := word(rest)
	host, port, ok := cutLast(client, ':') // IPv6 has a port as well, with or without brackets
	if !ok || !ascii.IsPort(port) {
		return b.refuse(event.BadAddress, event.IP, len(line)-len(rest)-len(client)-1)
	}
	putText(e, event.IP, strings.Trim(host, "[]"))
	_, rest = word(rest) // target
	rest = b.latency(rest, e)
	if rest, ok = b.answer(rest, len(line), e); !ok {
		return false
	}
	b.request(rest, e)
	return true
}

// latency adds up the three times, in seconds. If one of them is -1, there was no
// answer.
func (b *balancer) latency(s string, e *event.Event) (rest string) {
	var sum int64
	known := true
	for range 3 {
		var w string
		w, s = word(s)
		n, fits, ok := parseDecimal(w, 6)
		known = known && ok && fits && n >= 0 && n <= maxExact/4
		sum += n
	}
	if known {
		e.SetNum(event.LatencyMicros, sum)
	}
	return s
}

// answer reads the two statuses and the two sizes. length is the length of the
// line.
func (b *balancer) answer(s string, length int, e *event.Event) (rest string, ok bool) {
	for _, f := range [...]event.Field{event.Status, event.None, event.RequestBytes, event.ResponseBytes} {
		at := length - len(s)
		if s == "" {
			return "", b.refuse(event.Truncated, f, at)
		}
		var w string
		w, s = word(s)
		if f != event.None && !b.whole(f, w, at, e) {
			return "", false
		}
	}
	return s, true
}

// request reads the texts.
func (b *balancer) request(s string, e *event.Event) {
	line, s := column(s)
	if method, target := splitRequest(b.unescape(line)); method != "" && method != "-" {
		putText(e, event.Method, method)
		putTarget(e, target)
	}
	agent, s := column(s)
	putText(e, event.UserAgent, b.unescape(agent))
	for range 3 { // cipher, protocol, target group
		_, s = column(s)
	}
	trace, s := column(s)
	putText(e, event.RequestID, trace)
	domain, _ := column(s)
	if !e.Has(event.Host) {
		putText(e, event.Host, b.unescape(domain))
	}
}
