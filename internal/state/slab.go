package state

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"sync/atomic"
)

// Records live in slabs: large byte slices cut into pieces of one size. The garbage
// collector sees a handful of slices without pointers, however many records there
// are.
//
// Sizes grow by a quarter of a power of two (64, 80, 96, 112, 128, 160, …), so that at
// most a fifth of a record is unused.
const (
	smallest   = 64
	classes    = 41       // up to 64 KiB
	chunkBytes = 64 << 10 // at most
)

// ref names a piece: size class in the upper 6 bits, number in the rest. 0 means
// none.
type ref uint32

const (
	noRef     ref = 0
	classBits     = 6
	indexBits     = 32 - classBits
)

func (r ref) class() int { return int(r >> indexBits) }
func (r ref) index() int { return int(r & (1<<indexBits - 1)) }

// sizeOf returns the size of pieces of a class.
func sizeOf(class int) int {
	base := smallest << (class / 4)
	return base + base/4*(class%4)
}

// classFor returns the smallest class whose pieces hold n bytes; ok is false if
// none does.
func classFor(n int) (class int, ok bool) {
	if n <= smallest {
		return 0, true
	}
	class = 4 * (bits.Len(uint((n-1)/smallest)) - 1)
	for class < classes && sizeOf(class) < n {
		class++
	}
	return class, class < classes
}

// slab holds the pieces of one class. Records that came together grow together, and
// leave whole chunks empty. Their memory is freed.
type slab struct {
	size   int
	shift  uint // log₂ of the pieces per chunk
	chunks []chunk
	open   []uint32      // chunks with free pieces; the last is filled first
	views  *atomic.Int32 // frozen views that may still be read
}

// chunk is memory for some pieces. It has none if no piece is in use, unless it is the
// chunk that is being filled. A shared one is also in a frozen view, and is copied
// before it is written to.
type chunk struct {
	b      []byte
	shared bool
	live   int32  // pieces in use
	used   int32  // pieces handed out since the memory was allocated
	free   uint32 // first free piece of these + 1; each names the next
}

func newSlab(class int, views *atomic.Int32) slab {
	size := sizeOf(class)
	return slab{size: size, shift: uint(bits.Len(uint(chunkBytes/size)) - 1), views: views}
}

// at returns a piece to read and write.
func (s *slab) at(i int) []byte {
	c := &s.chunks[i>>s.shift]
	if c.shared {
		c.unshare(s.views)
	}
	return s.piece(c, i)
}

// peek returns a piece to read only.
func (s *slab) peek(i int) []byte {
	return s.piece(&s.chunks[i>>s.shift], i)
}

func (s *slab) piece(c *chunk, i int) []byte {
	o := i & (1<<s.shift - 1) * s.size
	return c.b[o : o+s.size : o+s.size]
}

// unshare makes a chunk the table's own again: by a copy, unless no view is read
// any more. It is separate from at, which must be small enough to inline.
//
//go:noinline
func (c *chunk) unshare(views *atomic.Int32) {
	if views.Load() > 0 {
		c.b = bytes.Clone(c.b)
	}
	c.shared = false
}

// share marks chunks as shared and returns them for a view.
func share(chunks []chunk) []chunk {
	for i := range chunks {
		chunks[i].shared = true
	}
	return append([]chunk(nil), chunks...)
}

// freeze returns the readable part of the slab while the slab changes.
func (s *slab) freeze() slab {
	view := *s
	view.chunks = share(s.chunks)
	return view
}

// alloc returns a piece with arbitrary content.
func (s *slab) alloc() (index int) {
	if len(s.open) == 0 {
		if len(s.chunks)<<s.shift >= math.MaxInt32>>classBits {
			panic("state: more records than can be named") // 33 million of one size in one partition
		}
		s.open = append(s.open, uint32(len(s.chunks)))
		s.chunks = append(s.chunks, chunk{})
	}
	n := int(s.open[len(s.open)-1])
	c := &s.chunks[n]
	if c.b == nil {
		*c = chunk{b: make([]byte, s.size<<s.shift)}
	}
	c.live++
	if c.free != 0 {
		index = n<<s.shift | int(c.free-1)
		c.free = binary.LittleEndian.Uint32(s.peek(index))
	} else {
		index = n<<s.shift | int(c.used)
		c.used++
	}
	if c.live == 1<<s.shift {
		s.open = s.open[:len(s.open)-1]
	}
	return index
}

func (s *slab) release(i int) {
	n := i >> s.shift
	c := &s.chunks[n]
	full := c.live == 1<<s.shift
	c.live--
	if !full && c.live == 0 && s.open[len(s.open)-1] != uint32(n) {
		*c = chunk{}
		return
	}
	binary.LittleEndian.PutUint32(s.at(i), c.free)
	c.free = uint32(i&(1<<s.shift-1) + 1)
	if !full {
		return
	}
	if len(s.open) > 0 {
		if last := &s.chunks[s.open[len(s.open)-1]]; last.live == 0 {
			*last = chunk{}
		}
	}
	s.open = append(s.open, uint32(n))
}

// bytes returns the memory of the slab.
func (s *slab) bytes() (n int) {
	for i := range s.chunks {
		n += len(s.chunks[i].b)
	}
	return n
}
