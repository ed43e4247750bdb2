package gate

import (
	cryptorand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"sync"

	"github.com/google/uuid"
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
	var id uuid.UUID
	s.mu.Lock()
	high, low := s.random.Uint64(), s.random.Uint64()
	s.mu.Unlock()
	binary.LittleEndian.PutUint64(id[:8], high)
	binary.LittleEndian.PutUint64(id[8:], low)
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}
