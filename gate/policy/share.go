package policy

import (
	"github.com/weirdev/weir/internal/facet"
)

// Share is a part of the entities of a kind.
type Share struct {
	Percent int        // 0 … 100
	Of      facet.Kind // 0: no share, every request matches
}

const wholeShare = 100

// Shares decides who is in the share of a policy. Calls may overlap.
type Shares interface {
	Holds(p *Policy, entities []facet.Entity) bool
}

// Hashed selects shares by a keyed hash of the policy's id and the entity. All
// gates select the same entities, and a higher percentage only adds some.
type Hashed struct{ hasher facet.Hasher }

// NewHashed returns shares for a secret that all gates of a stream have.
func NewHashed(secret [16]byte) Hashed { return Hashed{facet.NewHasher(secret)} }

// Holds reports whether the request's entity of the share's kind is in the share. A
// request without one is not.
func (h Hashed) Holds(p *Policy, entities []facet.Entity) bool {
	for _, e := range entities {
		if e.Kind == p.Share.Of {
			e.Key = p.ID + "\x00" + e.Key // ids contain no zero byte
			return h.hasher.Sum(e)%wholeShare < uint64(p.Share.Percent)
		}
	}
	return false
}

// everyone puts every request in each share, except those of some policies.
type everyone struct{ but []string }

func (e everyone) Holds(p *Policy, _ []facet.Entity) bool {
	for _, id := range e.but {
		if id == p.ID {
			return false
		}
	}
	return true
}
