package event

import "strings"

const (
	maxSegments = 16 // of a template; a path may have more
	maxLiteral  = 48 // bytes of a segment that can be compared with a literal

	opaqueLen = 0xff
)

// segments is a path in the form in which routes compare it, so that spellings
// that servers treat alike get one route, and none of them slips past a rule
// about the route: query and fragment are dropped, escapes of unreserved bytes
// are decoded (%2F is not: it does not separate), letters are folded to lower
// case, path parameters (;…) are dropped, and so are empty and dot segments.
type segments struct {
	n    int // may be more than maxSegments; the first of them are held
	lens [maxSegments + 1]uint8
	// One more than is held: the place to look at a segment that is not.
	text [maxSegments + 1][maxLiteral]byte
}

// pathOf takes the path out of a request target, which may be in absolute form.
func pathOf(target string) (string, bool) {
	target, _, _ = strings.Cut(target, "?")
	target, _, _ = strings.Cut(target, "#")
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

func (s *segments) split(path string) {
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

func (s *segments) add(raw string) {
	if i := strings.IndexByte(raw, ';'); i >= 0 {
		raw = raw[:i]
	}
	at := min(s.n, maxSegments)
	s.lens[at] = foldSegment(&s.text[at], raw)
	switch seg := s.segment(at); {
	case s.opaque(at):
		s.n++
	case len(seg) == 0 || len(seg) == 1 && seg[0] == '.':
	case len(seg) == 2 && seg[0] == '.' && seg[1] == '.':
		s.n = max(s.n-1, 0)
	default:
		s.n++
	}
}

// foldSegment decodes and folds raw into buf, and returns its length, or
// opaqueLen where it is too long.
func foldSegment(buf *[maxLiteral]byte, raw string) uint8 {
	n := 0
	for i := 0; i < len(raw); i++ {
		if n == maxLiteral {
			return opaqueLen
		}
		c := raw[i]
		if c == '%' && i+2 < len(raw) {
			if hi, lo := hexValue(raw[i+1]), hexValue(raw[i+2]); hi >= 0 && lo >= 0 && unreserved(byte(hi<<4|lo)) {
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

// segment is the i-th segment; empty where it is opaque.
func (s *segments) segment(i int) []byte {
	if s.lens[i] == opaqueLen {
		return nil
	}
	return s.text[i][:s.lens[i]]
}

// opaque reports whether the i-th segment is too long to be looked at.
func (s *segments) opaque(i int) bool { return s.lens[i] == opaqueLen }
