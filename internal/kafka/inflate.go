package kafka

import (
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go/compress"
)

// MaxInflated is the largest size to which one batch may decompress. A batch is
// small on the wire, and decompresses to any size that its sender likes.
const MaxInflated = 32 << 20

// enoughInflated is the number of decompressed bytes after which a fetch leaves the
// rest to the next. Otherwise a fetch of highly compressible records would return
// ten times the requested size.
const enoughInflated = 4 << 20

// inflate appends the decompressed body of a batch. If the size is much larger than
// the body, it is measured first: decompressing twice costs less than memory for
// every claimed size.
func (b *Batch) inflate(codec compress.Compression, body []byte) ([]byte, error) {
	c := codec.Codec()
	if c == nil {
		return nil, fmt.Errorf("compression %d is unknown", codec)
	}
	if n := claimed(codec, body); n > MaxInflated {
		return nil, fmt.Errorf("%w: it claims to need %d bytes at once", ErrInflated, n)
	}
	b.arenaFor(min(4*len(body), MaxInflated) + 1)
	out, err := b.inflateInto(c, body)
	if errors.Is(err, errRoom) {
		var size int
		if size, err = b.measure(c, body); err == nil {
			b.arenaFor(size + 1)
			out, err = b.inflateInto(c, body)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", c.Name(), err)
	}
	b.inflated += len(out)
	return out, nil
}

var errRoom = errors.New("the room that was made does not suffice")

// inflateInto appends to the arena as far as it has room. It requires that one byte
// of the room remains free.
func (b *Batch) inflateInto(c compress.Codec, body []byte) ([]byte, error) {
	b.source.Reset(body)
	r := c.NewReader(&b.source)
	defer r.Close()
	first := len(b.arena)
	room := b.arena[first:cap(b.arena)]
	n := 0
	for n < len(room) && n <= MaxInflated {
		m, err := r.Read(room[n:])
		n += m
		switch {
		case n > MaxInflated:
			return nil, ErrInflated
		case errors.Is(err, io.EOF):
			b.arena = b.arena[:first+n]
			return room[:n:n], nil
		case err != nil:
			return nil, err
		}
	}
	return nil, errRoom
}

// measure returns the decompressed size of a body, or [ErrInflated].
func (b *Batch) measure(c compress.Codec, body []byte) (int, error) {
	b.source.Reset(body)
	r := c.NewReader(&b.source)
	defer r.Close()
	n, err := io.Copy(io.Discard, io.LimitReader(r, MaxInflated+1))
	if err == nil && n > MaxInflated {
		err = ErrInflated
	}
	return int(n), err
}

// arenaFor makes room for n bytes. A full arena is left to the records in it, and a
// larger one is allocated.
func (b *Batch) arenaFor(n int) {
	if len(b.arena)+n > cap(b.arena) {
		b.arena = make([]byte, 0, max(n, min(2*cap(b.arena), enoughInflated), 64<<10))
	}
}

// keptBytes is the size up to which an unused buffer is kept.
const keptBytes = 4 << 20

// shrunk empties a buffer, and drops an exceptionally large one.
func shrunk(buf []byte) []byte {
	if cap(buf) > keptBytes && len(buf) < cap(buf)/4 {
		return nil
	}
	return buf[:0]
}
