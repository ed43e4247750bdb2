package event

import (
	"strings"

	"github.com/weirdev/weir/internal/ascii"
)

// RawSegments is a path as [Segments] divides it, but with each segment as the client
// wrote it: of any length, in its letters' case, with its escapes. Parameters (;…) are
// dropped. The texts alias the path.
type RawSegments struct {
	n    int // may be more than MaxSegments; the first ones are held
	text [MaxSegments]string
}

// Read takes the path of a request target, as [Segments.Read] does.
func (s *RawSegments) Read(target string) bool {
	path, ok := pathOf(target)
	s.n = 0
	for path != "" {
		var part string
		part, path, _ = strings.Cut(path, "/")
		part, _, _ = strings.Cut(part, ";")
		switch dots(part) {
		case 0, 1:
		case 2:
			s.n = max(s.n-1, 0)
		default:
			if s.n < MaxSegments {
				s.text[s.n] = part
			}
			s.n++
		}
	}
	return ok
}

// Len returns the number of segments in the path, which may exceed [MaxSegments].
func (s *RawSegments) Len() int { return s.n }

// At returns the i-th segment, i less than [MaxSegments] and [RawSegments.Len].
func (s *RawSegments) At(i int) string { return s.text[i] }

// dots returns the number of dots that a segment consists of, as such or escaped; 3 if
// it has another byte, or more dots.
func dots(segment string) int {
	if segment != "" && segment[0] != '.' && segment[0] != '%' { // the usual case
		return 3
	}
	n := 0
	for len(segment) > 0 {
		c, size := PathByte(segment)
		if c != '.' || n == 2 {
			return 3
		}
		n++
		segment = segment[size:]
	}
	return n
}

// PathByte returns the first byte of a segment of a path, and the number of bytes that
// it takes there: three if it is an unreserved one that is escaped. Other escapes remain
// as they are.
func PathByte(segment string) (c byte, size int) {
	if segment[0] == '%' && len(segment) > 2 {
		if hi, lo := ascii.Hex(segment[1]), ascii.Hex(segment[2]); hi >= 0 && lo >= 0 && unreserved(byte(hi<<4|lo)) {
			return byte(hi<<4 | lo), 3
		}
	}
	return segment[0], 1
}
