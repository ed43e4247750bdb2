package state

import (
	"bytes"
	"encoding/binary"
	"io"
	"sync/atomic"
)

// sketch counts how often keys without a record came lately, in a fixed size. It is
// a count-min sketch with conservative update, whose counters are all halved after
// a number of additions (TinyLFU: Einziger, Friedman, Manes, ACM ToS 2017). A count
// is never too low, and is too high for one in some hundred keys of a flood.
//
// A key has four counters of 4 bits, one in each quarter of one block of 64 bytes,
// so that it costs one cache line.
type sketch struct {
	chunks []chunk // none until something is added
	adds   int     // since the last halving
	views  *atomic.Int32
}

const (
	blockBytes    = 64
	sketchBlocks  = 1 << 14
	sketchChunks  = sketchBlocks * blockBytes / chunkBytes
	blocksInChunk = chunkBytes / blockBytes
	sketchRows    = 4
	mostCount     = 15
	// sketchPeriod is the number of additions between two halvings: half of the
	// counters of a quarter.
	sketchPeriod = sketchBlocks * 16
)

// counters returns the places of a key's counters: four nibbles, numbered within
// the chunk.
func counters(key uint64) (chunk int, at [sketchRows]int) {
	// The keys are hashes, but those of one partition share their upper bits.
	h := (key ^ key>>32) * 0x9E3779B97F4A7C15
	h ^= h >> 29
	block := int(h & (sketchBlocks - 1))
	h >>= 14
	first := block % blocksInChunk * blockBytes * 2
	for row := range at {
		at[row] = first + row*blockBytes*2/sketchRows + int(h&31)
		h >>= 5
	}
	return block / blocksInChunk, at
}

// add counts a key once more and returns its count.
func (s *sketch) add(key uint64) (count uint8) {
	if s.chunks == nil {
		for range sketchChunks {
			s.chunks = append(s.chunks, chunk{b: make([]byte, chunkBytes)})
		}
	}
	i, at := counters(key)
	b := s.own(i)
	least := uint8(mostCount)
	for _, n := range at {
		least = min(least, b[n/2]>>(n%2*4)&mostCount)
	}
	if least < mostCount {
		for _, n := range at {
			if b[n/2]>>(n%2*4)&mostCount == least {
				b[n/2] += 1 << (n % 2 * 4)
			}
		}
		least++
	}
	if s.adds++; s.adds == sketchPeriod {
		s.halve()
	}
	return least
}

func (s *sketch) own(i int) []byte {
	c := &s.chunks[i]
	if c.shared {
		c.unshare(s.views)
	}
	return c.b
}

func (s *sketch) halve() {
	s.adds = 0
	for i := range s.chunks {
		b := s.own(i)
		for o := 0; o < len(b); o += 8 {
			le.PutUint64(b[o:], le.Uint64(b[o:])>>1&0x7777777777777777)
		}
	}
}

func (s *sketch) bytes() int { return len(s.chunks) * chunkBytes }

// freeze returns the readable part of the sketch while the sketch changes.
func (s *sketch) freeze() sketch {
	view := *s
	view.chunks = share(s.chunks)
	return view
}

// dump writes: chunks · additions since the last halving · for each chunk a bit
// for each block that is not zero, and those blocks.
func (s *sketch) dump(w io.Writer) error {
	b := binary.AppendUvarint(nil, uint64(len(s.chunks)))
	b = binary.AppendUvarint(b, uint64(s.adds))
	for i := range s.chunks {
		b = appendBlocks(b, s.chunks[i].b)
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	_, err := w.Write(b)
	return err
}

const mapBytes = blocksInChunk / 8

func appendBlocks(b, chunk []byte) []byte {
	var zero [blockBytes]byte
	at := len(b)
	b = append(b, make([]byte, mapBytes)...)
	for i := range blocksInChunk {
		if block := chunk[i*blockBytes:][:blockBytes]; !bytes.Equal(block, zero[:]) {
			b[at+i/8] |= 1 << (i % 8)
			b = append(b, block...)
		}
	}
	return b
}

func (d *restoring) sketch() error {
	n, err := binary.ReadUvarint(d.r)
	if err != nil || n != 0 && n != sketchChunks {
		return d.failed(err, "a sketch of %d chunks", n)
	}
	adds, err := binary.ReadUvarint(d.r)
	if err != nil || adds >= sketchPeriod {
		return d.failed(err, "a sketch with %d additions", adds)
	}
	d.t.sketch.adds = int(adds)
	for range n {
		b, err := d.blocks()
		if err != nil {
			return err
		}
		d.t.sketch.chunks = append(d.t.sketch.chunks, chunk{b: b})
	}
	return nil
}

func (d *restoring) blocks() ([]byte, error) {
	var there [mapBytes]byte
	if _, err := io.ReadFull(d.r, there[:]); err != nil {
		return nil, d.failed(err, "")
	}
	b := make([]byte, chunkBytes)
	for i := range blocksInChunk {
		if there[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if _, err := io.ReadFull(d.r, b[i*blockBytes:][:blockBytes]); err != nil {
			return nil, d.failed(err, "")
		}
	}
	return b, nil
}
