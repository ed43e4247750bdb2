package gate

import (
	"fmt"
	"testing"

	"github.com/google/uuid"
)

// TestIDsAreRandomUUIDs: each is of version 4 in its usual form, and none comes twice.
func TestIDsAreRandomUUIDs(t *testing.T) {
	s, seen := newIDs(), map[string]bool{}
	for range 1000 {
		id := s.next()
		if u, err := uuid.Parse(id); err != nil || u.Version() != 4 || u.Variant() != uuid.RFC4122 || u.String() != id || seen[id] {
			t.Fatalf("%s is %v (%v), seen before: %t", id, u, err, seen[id])
		}
		seen[id] = true
	}
}

func TestHexadecimalDigits(t *testing.T) {
	var got [16]byte
	for i := range uint64(64) {
		for _, v := range []uint64{1<<i - 1, 0xa << i, 0x123456789abcdef0 << i, i * 0x0123456789abcdef} {
			hexadecimal(got[:], v)
			if want := fmt.Sprintf("%016x", v); string(got[:]) != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
}
