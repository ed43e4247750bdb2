package state

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// Records live in slabs: large byte slices cut into pieces of one size. A
// garbage collector sees a handful of slices without pointers, however many
// records there are.
//
// Sizes grow by half and by a third in turn (64, 96, 128, 192, …), so that at
// most a third of a record is unused.
const (
	smallest   = 64
	classes    = 21 // up to 64 KiB
	chunkBytes = 256 << 10
)

// ref names a piece: size class in the upper 5 bits, number in the rest. 0 is
// no piece.
type ref uint32

const (
	noRef     ref = 0
	classBits     = 5
	indexBits     = 32 - classBits
)

func (r ref) class() int { return int(r >> indexBits) }
func (r ref) index() int { return int(r & (1<<indexBits - 1)) }

// sizeOf is the size of pieces of a class.
func sizeOf(class int) int {
	base := smallest << (class / 2)
	if class%2 == 1 {
		base += base / 2
	}
	return base
}

// classFor is the smallest class whose pieces hold n bytes; ok is false where
// none does.
func classFor(n int) (class int, ok bool) {
	if n <= smallest {
		return 0, true
	}
	class = 2 * (bits.Len(uint((n-1)/smallest)) - 1)
	for class < classes && sizeOf(class) < n {
		class++
	}
	return class, class < classes
}

// slab holds the pieces of one class.
type slab struct {
	size   int
	per    int // pieces a chunk
	chunks [][]byte
	used   int    // pieces ever handed out
	free   uint32 // first free piece + 1; each free piece names the next
	live   int
}

func newSlab(class int) slab {
	size := sizeOf(class)
	return slab{size: size, per: max(1, chunkBytes/size)}
}

func (s *slab) at(i int) []byte {
	c, o := i/s.per, i%s.per*s.size
	return s.chunks[c][o : o+s.size : o+s.size]
}

// alloc hands out a piece with whatever it held before.
func (s *slab) alloc() (index int) {
	s.live++
	if s.free != 0 {
		index = int(s.free - 1)
		s.free = binary.LittleEndian.Uint32(s.at(index))
		return index
	}
	if s.used == len(s.chunks)*s.per {
		s.chunks = append(s.chunks, make([]byte, s.per*s.size))
	}
	s.used++
	if s.used >= math.MaxInt32>>classBits {
		panic("state: more records than can be named") // 67 million of one size in one partition
	}
	return s.used - 1
}

func (s *slab) release(i int) {
	s.live--
	binary.LittleEndian.PutUint32(s.at(i), s.free)
	s.free = uint32(i + 1)
}

// bytes is the memory that the slab holds.
func (s *slab) bytes() int { return len(s.chunks) * s.per * s.size }
