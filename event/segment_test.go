package event_test

import (
	"bytes"
	"testing"

	"github.com/weirdev/weir/event"
)

// FuzzRawSegments: raw segments are those that routes compare, in the client's spelling.
func FuzzRawSegments(f *testing.F) {
	for _, path := range []string{
		"/a/B;c=1//./d/../%2e%2E/e?f/g", "https://host:1/%41/%2F/%", "/..;x/a/%2e;/;/b", "*", "host:443", "", "/%2e%2e%2e/.../....",
		"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/../../x", "/0123456789012345678901234567890123456789012345678901234567890/a",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		var s event.Segments
		var raw event.RawSegments
		if s.Read(path) != raw.Read(path) || s.Len() != raw.Len() {
			t.Fatalf("%q: %d segments, raw ones are %d", path, s.Len(), raw.Len())
		}
		for i := range min(s.Len(), event.MaxSegments) {
			var decoded []byte
			for rest := raw.At(i); rest != ""; {
				c, size := event.PathByte(rest)
				if c >= 'A' && c <= 'Z' {
					c += 'a' - 'A'
				}
				decoded, rest = append(decoded, c), rest[size:]
			}
			if want := s.At(i); want == nil && len(decoded) <= event.MaxLiteral || want != nil && !bytes.Equal(decoded, want) {
				t.Fatalf("%q: segment %d is %q, the raw one is %q", path, i, want, raw.At(i))
			}
		}
	})
}
