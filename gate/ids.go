package gate

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/google/uuid"
)

// newID returns a UUID, version 4, that nobody can guess: from the runtime's ChaCha8,
// which the kernel seeds and of which each thread has its own. A call to the kernel
// takes as long as the rest of a decision, and a generator of the gate's own needs a
// lock.
func newID() string {
	var id uuid.UUID
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}
