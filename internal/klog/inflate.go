package klog

import (
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/compress"
)

// MaxInflated is the most bytes that one batch may decompress to. A batch is
// small on the wire and as large as its sender likes behind it.
const MaxInflated = 32 << 20

// inflate appends what a batch's body decompresses to.
func (b *Batch) inflate(codec compress.Compression, body []byte) ([]byte, error) {
	c := codec.Codec()
	if c == nil {
		return nil, fmt.Errorf("compression %d is unknown", codec)
	}
	if codec == compress.Zstd && zstdWindow(body) > MaxInflated {
		return nil, fmt.Errorf("%w: it asks for a window of %d bytes", ErrInflated, zstdWindow(body))
	}
	b.source.Reset(body)
	r := c.NewReader(&b.source)
	defer r.Close()
	b.arenaFor(4 * len(body))
	first := len(b.arena)
	for {
		if len(b.arena) == cap(b.arena) {
			first = b.move(first)
		}
		room := b.arena[len(b.arena):cap(b.arena)]
		if left := MaxInflated - (len(b.arena) - first); len(room) > left+1 {
			room = room[:left+1] // one more tells too many from just enough
		}
		n, err := r.Read(room)
		b.arena = b.arena[:len(b.arena)+n]
		switch {
		case len(b.arena)-first > MaxInflated:
			return nil, ErrInflated
		case errors.Is(err, io.EOF):
			b.inflated += len(b.arena) - first
			return b.arena[first:len(b.arena):len(b.arena)], nil
		case err != nil:
			return nil, fmt.Errorf("decompress %s: %w", c.Name(), err)
		}
	}
}

// arenaFor makes room for n bytes. A full arena is left to the records that are
// in it, and a larger one is begun.
func (b *Batch) arenaFor(n int) {
	if len(b.arena)+n > cap(b.arena) {
		b.arena = make([]byte, 0, max(n, min(2*cap(b.arena), MaxInflated), 64<<10))
	}
}

// move takes what was appended since first to a larger arena.
func (b *Batch) move(first int) int {
	old := b.arena[first:]
	b.arena = append(make([]byte, 0, max(2*len(old), 64<<10)), old...)
	return 0
}

// keptBytes is how large a buffer may be that is kept although it is not needed.
const keptBytes = 4 << 20

// shrunk empties a buffer, and gives one up that was made for an exception.
func shrunk(buf []byte) []byte {
	if cap(buf) > keptBytes && len(buf) < cap(buf)/4 {
		return nil
	}
	return buf[:0]
}

// zstdWindow is how much memory a zstd frame asks for at its start, bytes. Ten
// bytes can ask for 512 MiB, which the library would give, and keep.
// https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1
func zstdWindow(frame []byte) uint64 {
	if len(frame) < 6 || frame[4]&0x20 != 0 {
		return 0 // too short, or as large as its content, which is counted as it comes
	}
	exponent, mantissa := frame[5]>>3, uint64(frame[5]&7)
	base := uint64(1) << (10 + exponent)
	return base + base/8*mantissa
}
