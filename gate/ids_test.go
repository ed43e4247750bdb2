package gate

import (
	"testing"

	"github.com/google/uuid"
)

// TestIDsAreRandomUUIDs: each is of version 4 in its usual form, and none comes twice.
func TestIDsAreRandomUUIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newID()
		if u, err := uuid.Parse(id); err != nil || u.Version() != 4 || u.Variant() != uuid.RFC4122 || u.String() != id || seen[id] {
			t.Fatalf("%s is %v (%v), seen before: %t", id, u, err, seen[id])
		}
		seen[id] = true
	}
}
