package format

import (
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/ascii"
)

// tail reads what the common format lacks:
//
//	"referer" "user agent" "x-forwarded-for"
//
// Any of them may be a dash without quotes, and the last may have a name before it.
// The last text may be truncated, as syslog and fixed buffers do with long lines;
// it is read as far as it goes.
func (c *combined) tail(s string, e *event.Event) {
	s, next := c.beforeTexts(s, e)
	for ; next <= tailChain; next++ {
		s = strings.TrimLeft(s, " ")
		if next == tailChain {
			s = strings.TrimPrefix(s, "X-Forwarded-For=")
		}
		if after, ok := strings.CutPrefix(s, "- "); ok || s == "-" {
			s = after
			continue
		}
		text, rest, closed := inQuotes(s)
		if !closed && rest != "" { // not in quotes at all
			break
		}
		s = rest
		c.putTail(next, text, e)
	}
	c.behindTexts(strings.TrimLeft(s, " "), e)
}

// The texts of the tail, in their order.
const (
	tailReferer = iota
	tailAgent
	tailChain
)

func (c *combined) putTail(at int, text string, e *event.Event) {
	switch at {
	case tailReferer:
		putText(e, event.Referer, c.unescape(text))
	case tailAgent:
		putText(e, event.UserAgent, c.unescape(text))
	case tailChain:
		if !c.head.vhost || !isUpstream(text) {
			putText(e, event.ForwardedFor, c.unescape(text))
		}
	}
}

// isUpstream reports whether a text names the servers behind the proxy, which the
// format of nginx-proxy has in place of X-Forwarded-For.
func isUpstream(s string) bool {
	for {
		element, rest, more := strings.Cut(s, ", ")
		host, port, ok := cutLast(element, ':')
		if !ok || host != "unix" && (!ascii.IsPort(port) || !isChain(host)) {
			return false
		}
		if !more {
			return true
		}
		s = rest
	}
}

// beforeTexts skips words between the size and the first quote, which many logs
// have: times and sizes, the host, and a referer without quotes. It returns which
// text comes next.
func (c *combined) beforeTexts(s string, e *event.Event) (rest string, next int) {
	s = strings.TrimLeft(s, " ")
	dash := false
	for range 4 {
		if s == "" || s[0] == '"' {
			break
		}
		w, after := word(s)
		switch {
		case w == "-":
			dash = true
		case strings.HasPrefix(w, "http://") || strings.HasPrefix(w, "https://"):
			putText(e, event.Referer, c.unescape(w))
			return after, tailAgent
		case isDecimal(w):
		case !e.Has(event.Host) && strings.Contains(w, ".") && isHostName(w):
			putHost(e, w)
		default:
			return s, tailReferer
		}
		s = after
	}
	if dash && refererIsDash(s) {
		return s, tailAgent
	}
	return s, tailReferer
}

// refererIsDash decides whether a dash before the texts is the referer: it is if
// one text follows, or two of which the first cannot be one.
func refererIsDash(s string) bool {
	text, rest, closed := inQuotes(s)
	if !closed || !strings.HasPrefix(rest, ` "`) {
		return true
	}
	return text != "-" && !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://")
}

// behindTexts reads the fields that two servers write there, and by which they are
// recognised. Request size, response time, and the upstream's name in brackets
// belong to ingress-nginx; a count, router, server and time belong to Traefik.
func (c *combined) behindTexts(s string, e *event.Event) {
	number, rest := word(s)
	if !isDecimal(number) {
		return
	}
	if strings.HasPrefix(rest, `"`) {
		_, rest = column(rest)
		_, rest = column(rest)
		if took, ok := strings.CutSuffix(rest, "ms"); ok && isDecimal(took) {
			putNumber(e, event.LatencyMicros, took, 3)
		}
		return
	}
	took, rest := word(rest)
	if !isDecimal(took) || !strings.HasPrefix(rest, "[") {
		return
	}
	putNumber(e, event.RequestBytes, number, 0)
	putNumber(e, event.LatencyMicros, took, 6)
	// Now the list before the user is the server's own, not a part of a name.
	if chain := withoutPeer(c.head.inner, c.head.peer); chain != "" && !e.Has(event.ForwardedFor) {
		putText(e, event.ForwardedFor, chain)
	}
}

// putNumber stores the number w times 10^shift in f, if f can have it.
func putNumber(e *event.Event, f event.Field, w string, shift int) {
	spec := f.Spec()
	if n, fits, ok := parseDecimal(w, shift); ok && fits && n >= spec.Min && n <= spec.Max {
		e.SetNum(f, n)
	}
}

// withoutPeer removes the peer from the end of a list that repeats it.
func withoutPeer(chain, peer string) string {
	before, last, more := cutLast(chain, ',')
	if !more {
		before, last = "", chain
	}
	if strings.TrimSpace(last) == peer {
		return before
	}
	return chain
}

// isDecimal reports whether w is a number, with or without a fraction.
func isDecimal(w string) bool {
	dots := 0
	for i := range len(w) {
		if w[i] == '.' {
			dots++
		} else if w[i] < '0' || w[i] > '9' {
			return false
		}
	}
	return w != "" && dots <= 1 && w != "." && len(w) <= maxDigits
}
