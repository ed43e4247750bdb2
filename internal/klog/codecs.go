package klog

import (
	"io"
	"sync"

	"github.com/segmentio/kafka-go/compress"
)

// MaxInflated is the most bytes that one batch may decompress to. A batch is
// small on the wire and as large as its sender likes behind it.
const MaxInflated = 32 << 20

var limitOnce sync.Once

// limitInflation puts a limit in front of every decompressor. The library looks
// codecs up in a table of its own, a package variable, and offers no other place
// to stand: so it is changed once, before the first client does anything.
func limitInflation() {
	limitOnce.Do(func() {
		for i, c := range compress.Codecs {
			if c != nil {
				compress.Codecs[i] = limitedCodec{c}
			}
		}
	})
}

type limitedCodec struct{ compress.Codec }

func (c limitedCodec) NewReader(r io.Reader) io.ReadCloser {
	return &limitedReader{ReadCloser: c.Codec.NewReader(r), left: MaxInflated}
}

type limitedReader struct {
	io.ReadCloser
	left int
}

func (r *limitedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.left -= n; r.left < 0 {
		return 0, ErrInflated
	}
	return n, err
}
