package event

import (
	"strings"

	"github.com/weirdev/weir/internal/ascii"
)

const (
	// MaxSegments is the number of path segments that [Segments] holds; a path may
	// have more.
	MaxSegments = 16

	// MaxLiteral is the length of the longest segment that can be compared with a
	// literal, bytes.
	MaxLiteral = 48

	opaqueLen = 0xff
)

// Segments is a path in the form in which routes compare it. Spellings that servers
// treat alike get one route, so none of them evades a rule about the route. Query
// and fragment are dropped, escapes of unreserved bytes are decoded (%2F is not: it
// does not separate), letters are folded to lower case, path parameters (;…) are
// dropped, and so are empty and dot segments.
type Segments struct {
	n    int // may be more than MaxSegments; the first ones are held
	lens [MaxSegments + 1]uint8
	// One more than is held, for look-ups of a segment that is not.
	text [MaxSegments + 1][MaxLiteral]byte
}

// Read takes the path of a request target, which may be in absolute form; false if
// it has none, like "*" and "host:443".
func (s *Segments) Read(target string) bool {
	path, ok := pathOf(target)
	s.n = 0
	s.split(path)
	return ok
}

// Len returns the number of segments in the path, which may exceed [MaxSegments].
func (s *Segments) Len() int { return s.n }

// At returns the i-th segment, i at most [MaxSegments]; nil if it is longer than
// [MaxLiteral]. It is valid until the next Read.
func (s *Segments) At(i int) []byte {
	if s.lens[i] == opaqueLen {
		return nil
	}
	return s.text[i][:s.lens[i]]
}

// pathOf returns the path of a request target, which may be in absolute form.
func pathOf(target string) (string, bool) {
	target = pathPart(target)
	if strings.HasPrefix(target, "/") {
		return target, true
	}
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || scheme == "" || len(scheme) > 16 || strings.Contains(scheme, "/") {
		return "", false
	}
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[i:], true
	}
	return "/", true
}

// pathPart returns a request target without query and fragment.
func pathPart(target string) string {
	target, _, _ = strings.Cut(target, "?")
	target, _, _ = strings.Cut(target, "#")
	return target
}

func (s *Segments) split(path string) {
	for len(path) > 0 {
		part := path
		if i := strings.IndexByte(path, '/'); i >= 0 {
			part, path = path[:i], path[i+1:]
		} else {
			path = ""
		}
		if part != "" {
			s.add(part)
		}
	}
}

func (s *Segments) add(raw string) {
	if i := strings.IndexByte(raw, ';'); i >= 0 {
		raw = raw[:i]
	}
	at := min(s.n, MaxSegments)
	s.lens[at] = foldSegment(&s.text[at], raw)
	switch seg := s.At(at); {
	case seg == nil:
		s.n++
	case len(seg) == 0 || len(seg) == 1 && seg[0] == '.':
	case len(seg) == 2 && seg[0] == '.' && seg[1] == '.':
		s.n = max(s.n-1, 0)
	default:
		s.n++
	}
}

// foldSegment decodes and folds raw into buf, and returns its length, or opaqueLen
// if it is too long.
func foldSegment(buf *[MaxLiteral]byte, raw string) uint8 {
	n := 0
	for i := 0; i < len(raw); i++ {
		if n == MaxLiteral {
			return opaqueLen
		}
		c := raw[i]
		if c == '%' && i+2 < len(raw) {
			if hi, lo := ascii.Hex(raw[i+1]), ascii.Hex(raw[i+2]); hi >= 0 && lo >= 0 && unreserved(byte(hi<<4|lo)) {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[n] = c
		n++
	}
	return uint8(n)
}

// unreserved is RFC 3986, section 2.3.
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// segmentBytes is the minimum length to which [shortPath] cuts a segment. With
// three bytes for each comparable byte, a longer segment is opaque before and
// after.
const segmentBytes = 3*MaxLiteral + 56

// shortPath shortens a request target whose path alone is longer than n to a path
// with the same route. It removes what the route ignores, and the ends of long
// segments, as far as needed. Otherwise padding with slashes, dots or a long
// segment would change the route of a request.
func shortPath(target string, n int) string {
	path, ok := pathOf(target)
	if !ok {
		return target
	}
	kept, length := compared(path)
	if len(kept) == 0 {
		return "/"
	}
	var b strings.Builder
	for _, part := range kept {
		if length > n && len(part) > segmentBytes {
			short := clip(part, max(segmentBytes, len(part)-(length-n)))
			length -= len(part) - len(short)
			part = short
		}
		b.WriteByte('/')
		b.WriteString(part)
	}
	return b.String()
}

// compared lists the segments of a path that routes compare, and the length of a
// path of them.
func compared(path string) (kept []string, length int) {
	var s Segments
	for part := range strings.SplitSeq(path, "/") {
		s.n = 1
		switch s.add(part); s.n {
		case 2:
			kept = append(kept, part)
			length += 1 + len(part)
		case 0:
			if last := len(kept) - 1; last >= 0 {
				length -= 1 + len(kept[last])
				kept = kept[:last]
			}
		}
	}
	return kept, length
}
