package kafka

import (
	"bytes"
	"encoding/binary"

	"github.com/segmentio/kafka-go/compress"
)

// claimed returns the most memory, in bytes, that a part of a body asks for before it
// shows that it needs it. A dozen bytes can ask for 512 MiB of zstd and for 4 GiB of
// snappy, which the libraries would allocate and keep.
func claimed(codec compress.Compression, body []byte) (most uint64) {
	c := cursor{b: body}
	switch codec {
	case compress.Zstd:
		for len(c.b) > 0 {
			most = max(most, c.zstdFrame())
		}
	case compress.Snappy:
		if !bytes.HasPrefix(body, xerial) {
			return snappyLength(body)
		}
		for c.skip(xerialHeader); len(c.b) > 0; {
			n := uint64(uint32(c.int32()))
			most = max(most, n, snappyLength(c.take(int64(n))))
		}
	}
	return most
}

const (
	zstdMagic    = 0xfd2fb528
	zstdSkipped  = 0x184d2a50 // the first of 16
	zstdLast     = 1          // of a block's header
	zstdRepeated = 1          // a block of one byte, many times
)

// zstdFrame passes over a frame, or over everything where none is, and returns the
// window that it asks for.
// https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1
func (c *cursor) zstdFrame() (window uint64) {
	switch magic := c.little(4); {
	case magic&^15 == zstdSkipped:
		c.skip(int64(c.little(4)))
		return 0
	case magic != zstdMagic:
		c.b = nil // whoever decompresses says so
		return 0
	}
	head := c.little(1)
	single := head&0x20 != 0
	if !single {
		w := c.little(1)
		base := uint64(1) << (10 + w>>3)
		window = base + base/8*(w&7)
	}
	c.skip([]int64{0, 1, 2, 4}[head&3]) // a dictionary's id
	switch size := c.little([]int64{0, 2, 4, 8}[head>>6]); {
	case single && head>>6 == 0:
		window = c.little(1)
	case single:
		window = size // up to 256 more
	}
	for last := false; !last && !c.bad; {
		block := c.little(3)
		last = block&zstdLast != 0
		if block>>1&3 == zstdRepeated {
			c.skip(1)
		} else {
			c.skip(int64(block >> 3))
		}
	}
	if head&4 != 0 {
		c.skip(4) // a checksum
	}
	return window
}

// little reads a number of up to 8 bytes, the lowest first.
func (c *cursor) little(bytes int64) (n uint64) {
	for i, b := range c.take(bytes) {
		n |= uint64(b) << (8 * i)
	}
	return n
}

// Snappy is framed as a Java library does it: a header, and before each chunk its
// length. Other clients write one chunk without either.
// https://github.com/xerial/snappy-java
const xerialHeader = 16

var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

// snappyLength returns the length that a chunk claims to decompress to.
func snappyLength(chunk []byte) uint64 {
	n, _ := binary.Uvarint(chunk)
	return n
}
