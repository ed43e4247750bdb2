package format

import (
	"errors"
	"strings"
	"unsafe"

	"github.com/weirdev/weir/event"
)

// carried reads log records that arrive in a wrapper: text that syslog or a
// container's runtime writes before a line, or a JSON object of Docker or of a log
// shipper that contains the line as a text. Nothing of the wrapper is kept.
type carried struct {
	Format
	objects bool // the format reads JSON objects, not lines
	envelope
	wrong event.Refusal
}

// Decode removes the wrapper, and reads the record.
func (c *carried) Decode(data []byte, e *event.Event) error {
	if len(data) > MaxBytes {
		return c.Format.Decode(data, e) // which refuses it
	}
	s := strings.TrimLeft(alias(data), " \t\r\n")
	switch {
	// For lines, every object is a wrapper; for objects, only Docker's.
	case !c.objects && strings.HasPrefix(s, "{"), c.objects && strings.HasPrefix(s, `{"log":"{`):
		line, ok := c.open(data)
		if !ok {
			return c.bare(data, e, &c.refusal)
		}
		data = line
	case c.objects && strings.HasPrefix(s, "{"):
		return c.Format.Decode(data, e)
	}
	skipped := len(data) - len(messageOf(alias(data)))
	err := c.Format.Decode(data[skipped:], e)
	if err == nil || skipped == 0 {
		return err
	}
	shift(err, skipped)
	return c.bare(data, e, err)
}

// bare reads a record with what looks like a wrapper: if a line begins with the
// host that a client named, that may look like anything. wrong is the refusal if
// the record cannot be read this way either.
func (c *carried) bare(data []byte, e *event.Event, wrong error) error {
	var refusal *event.Refusal
	if !errors.As(wrong, &refusal) {
		return wrong
	}
	c.wrong = *refusal // the format reuses its own
	if c.Format.Decode(data, e) == nil {
		return nil
	}
	return &c.wrong
}

// shift moves the position of a refusal by the length of the text before the
// record.
func shift(err error, by int) {
	var refusal *event.Refusal
	if errors.As(err, &refusal) {
		refusal.Pos += by
	}
}

// envelope is a JSON object with a log line in the text log, as Docker and Fluent
// Bit write it, or in message, as Filebeat and Vector do.
type envelope struct{ scanner }

// open returns the line, which must not be changed. It is valid until the next
// open.
func (v *envelope) open(data []byte) (line []byte, ok bool) {
	if !v.start(data) {
		return nil, false
	}
	v.space()
	found := ""
	if !v.skipAll('}', 1, event.None, func() bool { return v.member(&found) }) {
		return nil, false
	}
	if v.space(); v.i < len(v.b) {
		return nil, v.refuse(event.TrailingData, event.None)
	}
	if found == "" {
		return nil, v.refuse(event.Syntax, event.None)
	}
	return unsafe.Slice(unsafe.StringData(found), len(found)), true
}

func (v *envelope) member(found *string) bool {
	key, ok := v.text(event.None)
	if !ok {
		return false
	}
	if v.space(); !v.take(':', event.None) {
		return false
	}
	v.space()
	if key != "log" && key != "message" || !v.is('"') {
		return v.skip(2, event.None)
	}
	if *found != "" {
		return v.refuse(event.DuplicateKey, event.None)
	}
	*found, ok = v.text(event.None)
	return ok
}

// messageOf returns a line without the text that transport puts before a message:
//
//	<190>Sep 15 16:13:46 host nginx[1]: message          RFC 3164, with or without <…>, host and tag
//	2026-09-15T16:13:46.123+02:00 host nginx[1]: message the same, as rsyslog writes it to files
//	<190>1 2026-09-15T16:13:46Z host app 1 id [x] message RFC 5424, with or without <…>
//	2026-09-15T16:13:46.123456789Z stdout F message      CRI: containerd, CRI-O
//	2026-09-15T16:13:46.123456789Z message               docker logs -t, kubectl logs --timestamps
//	web-1  | message                                     docker compose logs
//	[pod/web-0/nginx] message                            kubectl logs --prefix
//	nginx[1]: message                                    a tag alone, or host nginx[1]: message
//
// It returns any other line unchanged.
func messageOf(line string) string {
	s := withoutPriority(line)
	if rest, ok := strings.CutPrefix(s, "1 "); ok {
		if m, ok := structured(rest); ok {
			return m
		}
	}
	if strings.HasPrefix(s, "[pod/") {
		if _, rest, ok := strings.Cut(s, "] "); ok {
			s = rest
		}
	}
	if hasOldDate(s) {
		return behindHost(s[len("Sep 15 16:13:46 "):])
	}
	first, rest := word(s)
	second, message := word(rest)
	switch {
	case isStamp(first):
		return stamped(rest)
	case isTag(first):
		return rest
	case isTag(second) && isHostName(first) && !isPeer(first): // lighttpd has the client's host behind his address
		return message
	case strings.HasPrefix(rest, "| ") && isHostName(first):
		return rest[len("| "):]
	}
	return s
}

// withoutPriority removes <190>.
func withoutPriority(s string) string {
	if !strings.HasPrefix(s, "<") {
		return s
	}
	number, rest, ok := strings.Cut(s[1:], ">")
	if _, isNumber := digits(number); !ok || !isNumber || number == "" || len(number) > 3 {
		return s
	}
	return rest
}

// structured reads the header of RFC 5424 after its version: time, host,
// application, process, message id, and structured data.
func structured(s string) (message string, ok bool) {
	stamp, rest := word(s)
	if !isStamp(stamp) && stamp != "-" {
		return "", false
	}
	for range 4 {
		_, rest = word(rest)
	}
	if after, ok := strings.CutPrefix(rest, "- "); ok {
		return strings.TrimPrefix(after, "\ufeff"), true
	}
	if !strings.HasPrefix(rest, "[") {
		return "", false
	}
	end := endOfData(rest)
	return strings.TrimPrefix(strings.TrimPrefix(rest[end:], " "), "\ufeff"), end > 0
}

// endOfData returns the end of elements such as [id name="value"]; 0 if there is
// none. Quotes, backslashes and closing brackets in values are escaped.
func endOfData(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ']' && !quoted && (i+1 == len(s) || s[i+1] != '['):
			return i + 1
		}
	}
	return 0
}

// hasOldDate reports whether s begins with a date as in RFC 3164, "Sep 15 16:13:46
// " or "Sep  5 16:13:46 ".
func hasOldDate(s string) bool {
	if len(s) < len("Sep 15 16:13:46 ") || s[3] != ' ' || s[6] != ' ' || s[9] != ':' || s[12] != ':' || s[15] != ' ' {
		return false
	}
	_, ok1 := digits(strings.TrimLeft(s[4:6], " "))
	_, ok2 := digits(s[7:9])
	return ok1 && ok2 && strings.Index("JanFebMarAprMayJunJulAugSepOctNovDec", s[:3])%3 == 0
}

// isStamp reports whether w is a time of RFC 3339.
func isStamp(w string) bool {
	_, ok := parseTime(w)
	return ok
}

// stamped removes the text after a time: a container's stream and whether the line
// is complete, or syslog's host and tag, or nothing.
func stamped(s string) string {
	first, rest := word(s)
	if first == "stdout" || first == "stderr" {
		tags, message := word(rest)
		if kind, _, _ := strings.Cut(tags, ":"); kind == "F" || kind == "P" {
			return message
		}
	}
	if second, message := word(rest); !isTag(first) && isTag(second) {
		return message
	}
	if isTag(first) {
		return rest
	}
	return s
}

// behindHost removes host and tag, either of which may be missing.
func behindHost(s string) string {
	first, rest := word(s)
	if isTag(first) {
		return rest
	}
	second, message := word(rest)
	switch {
	case isTag(second):
		return message
	case second == "-" || strings.ContainsAny(first, `{[",`): // a message already
		return s
	}
	return rest
}

// isTag reports whether w is the name of a program before its message: nginx:,
// nginx[123]:.
func isTag(w string) bool {
	name, ok := strings.CutSuffix(w, ":")
	if !ok || name == "" || name == "unix" || len(name) > 64 || strings.ContainsAny(name, `{"=`) {
		return false
	}
	return !isPeer(w) && strings.Trim(name, ":") != ""
}
