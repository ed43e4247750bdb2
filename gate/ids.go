package gate

import (
	cryptorand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"sync"
)

// ids makes ids of decisions that nobody can guess: from a cryptographic generator
// that is seeded by the kernel once, because a call to the kernel takes as long as
// the rest of a decision. It is safe for concurrent use.
type ids struct {
	mu     sync.Mutex
	random *rand.ChaCha8
}

func newIDs() *ids {
	var seed [32]byte
	_, _ = cryptorand.Read(seed[:]) // it never fails
	return &ids{random: rand.NewChaCha8(seed)}
}

// next returns a UUID, version 4.
func (s *ids) next() string {
	s.mu.Lock()
	high, low := s.random.Uint64(), s.random.Uint64()
	s.mu.Unlock()
	high, low = high&^0xf000|0x4000, low&^(3<<62)|2<<62 // the version, and the variant
	var d [32]byte
	hexadecimal(d[:16], high)
	hexadecimal(d[16:], low)
	var id [36]byte
	copy(id[:], d[:8])
	copy(id[9:], d[8:12])
	copy(id[14:], d[12:16])
	copy(id[19:], d[16:20])
	copy(id[24:], d[20:])
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	return string(id[:])
}

// hexadecimal writes the 16 digits of v, eight at a time: each byte of a word becomes a digit.
func hexadecimal(to []byte, v uint64) {
	binary.BigEndian.PutUint64(to[:8], digits(uint32(v>>32)))
	binary.BigEndian.PutUint64(to[8:16], digits(uint32(v)))
}

// digits returns the eight hexadecimal digits of v, the first in the highest byte.
func digits(v uint32) uint64 {
	x := uint64(v)
	x = (x<<16 | x) & 0x0000ffff0000ffff
	x = (x<<8 | x) & 0x00ff00ff00ff00ff
	x = (x<<4 | x) & 0x0f0f0f0f0f0f0f0f
	const each = 0x0101010101010101
	letters := (x + 6*each) >> 4 & each // 1 for each of 10 … 15
	return x + '0'*each + letters*('a'-10-'0')
}
