package http1

import (
	"bytes"
	"strings"
)

// question is POST /v1/decide, in the form that is read here.
type question struct {
	head, body    int // bytes
	token         string
	parent, state string // traceparent and tracestate
}

// size returns the bytes of a question.
func (q *question) size() int { return q.head + q.body }

// verdict says what the bytes of a connection begin with.
type verdict uint8

const (
	whole   verdict = iota // a question
	partial                // a question may become of it
	other                  // something else, which is for net/http
)

const (
	start    = "POST /v1/decide HTTP/1.1\r\n"
	mostHead = 4 << 10
	mostBody = 16 << 10
)

// parse reads the question at the beginning of b. Only what has one meaning for
// everybody is a question: a header that frames a message otherwise than by one
// Content-Length, that net/http may refuse, or that is not known here, is for
// net/http.
func parse(b []byte) (q question, v verdict) {
	if n := min(len(b), len(start)); string(b[:n]) != start[:n] {
		return q, other
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	switch {
	case end > mostHead-len("\r\n\r\n") || end < 0 && len(b) >= mostHead:
		return q, other
	case end < 0:
		return q, partial
	}
	q.head = end + 4
	var seen headers
	for rest := b[len(start) : end+2]; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		if n < 1 || rest[n-1] != '\r' || !q.header(rest[:n-1], &seen) {
			return q, other
		}
		rest = rest[n+1:]
	}
	if !seen.has(host) || !seen.has(contentLength) {
		return q, other
	}
	if len(b) < q.size() {
		return q, partial
	}
	return q, whole
}

// headers is a set of those that a question may have.
type headers uint16

const (
	host headers = 1 << iota
	contentLength
	contentType
	connection
	token
	traceparent
	tracestate
	ignored // may be repeated
)

func (h headers) has(one headers) bool { return h&one != 0 }

// header reads one line. It reports false if the line is for net/http.
func (q *question) header(line []byte, seen *headers) bool {
	name, value, found := bytes.Cut(line, []byte{':'})
	h := known(name)
	if !found || h == 0 || seen.has(h) && h != ignored {
		return false
	}
	value = bytes.Trim(value, " \t")
	for _, c := range value {
		if c < ' ' || c > '~' {
			return false
		}
	}
	*seen |= h
	switch h {
	case host:
		return isHost(value)
	case contentLength:
		return q.length(value)
	case contentType:
		return isJSON(value)
	case connection:
		return strings.EqualFold(string(value), "keep-alive")
	case token:
		q.token = string(value)
	case traceparent:
		q.parent = string(value)
	case tracestate:
		q.state = string(value)
	}
	return true
}

// known returns the header of a name, 0 if it is for net/http.
func known(name []byte) headers {
	is := func(want string) bool { return string(name) == want || strings.EqualFold(string(name), want) }
	switch len(name) {
	case len("Host"):
		if is("Host") {
			return host
		}
	case len("Accept"):
		if is("Accept") {
			return ignored
		}
	case len("Connection"): // and User-Agent, Tracestate
		switch {
		case is("Connection"):
			return connection
		case is("User-Agent"):
			return ignored
		case is("Tracestate"):
			return tracestate
		}
	case len("Traceparent"):
		if is("Traceparent") {
			return traceparent
		}
	case len("Content-Type"): // and X-Weir-Token
		switch {
		case is("Content-Type"):
			return contentType
		case is("X-Weir-Token"):
			return token
		}
	case len("Content-Length"):
		if is("Content-Length") {
			return contentLength
		}
	case len("Accept-Encoding"):
		if is("Accept-Encoding") {
			return ignored
		}
	}
	return 0
}

func isJSON(v []byte) bool {
	const want = "application/json"
	return string(v) == want || strings.EqualFold(string(v), want)
}

// isHost reports whether net/http takes the value of Host, too.
func isHost(v []byte) bool {
	for _, c := range v {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == ':', c == '[', c == ']', c == '_':
		default:
			return false
		}
	}
	return len(v) > 0
}

// length reads a Content-Length of at least 1.
func (q *question) length(v []byte) bool {
	if len(v) > 5 {
		return false
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return false
		}
		q.body = q.body*10 + int(c-'0')
	}
	return 0 < q.body && q.body <= mostBody
}
