package evaluate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
)

// Unseen says what the truth names and no event has: it cannot be found, so either
// the events are incomplete or the truth spells it otherwise.
type Unseen struct {
	Entities  int            `json:"entities"`
	Campaigns int            `json:"campaigns"`       // of which no entity is in any event
	First     []UnseenEntity `json:"first_entities"`  // mostUnseen of them, in the order of the truth
	Names     []string       `json:"first_campaigns"` // mostUnseen of them, in the order of the truth
}

// UnseenEntity is an entity that no event has.
type UnseenEntity struct {
	Entity   string       `json:"entity"` // kind:key
	Tenant   string       `json:"tenant,omitempty"`
	Role     traffic.Role `json:"role"`
	Campaign string       `json:"campaign,omitempty"`
	Other    *string      `json:"seen_in_tenant,omitempty"` // a tenant whose events have it; nil: none has
	Family   bool         `json:"has_family,omitempty"`     // a token whose events name its family, which is the entity
}

// mostUnseen limits the entities and the campaigns that are named.
const mostUnseen = 20

// lookout looks for the entities of a truth in events.
type lookout struct {
	kinds  []facet.Kind
	wanted map[kindKey][]*watched
}

type kindKey struct {
	kind facet.Kind
	key  string
}

// watched is an entity that is looked for.
type watched struct {
	tenant string
	seen   bool
	other  *string // tenant in which it was seen
	family bool    // it was seen, a token, in an event that names its family
}

// newLookout looks for the entities of a truth; nil if that is nil.
func newLookout(truth *traffic.Truth) *lookout {
	if truth == nil {
		return nil
	}
	l := &lookout{wanted: map[kindKey][]*watched{}}
	for i := range truth.Rows {
		e := truth.Rows[i].Entity
		if l.of(e) == nil {
			at := kindKey{e.Kind, e.Key}
			l.wanted[at] = append(l.wanted[at], &watched{tenant: e.Tenant})
		}
		if !slices.Contains(l.kinds, e.Kind) {
			l.kinds = append(l.kinds, e.Kind)
		}
	}
	return l
}

// of returns what is known of an entity; nil if it is not looked for.
func (l *lookout) of(e facet.Entity) *watched {
	for _, w := range l.wanted[kindKey{e.Kind, e.Key}] {
		if w.tenant == e.Tenant {
			return w
		}
	}
	return nil
}

// see records the entities of an event.
func (l *lookout) see(e *event.Event) {
	var room [48]byte
	for _, k := range l.kinds {
		entity, ok := facet.EntityOf(k, e, room[:0])
		if !ok {
			continue
		}
		if token := e.Text(event.Token); k == facet.Token && token != entity.Key {
			for _, w := range l.wanted[kindKey{k, token}] {
				w.family = w.family || w.tenant == entity.Tenant
			}
		}
		for _, w := range l.wanted[kindKey{k, entity.Key}] {
			if w.tenant == entity.Tenant {
				w.seen = true
			} else if w.other == nil {
				tenant := strings.Clone(entity.Tenant)
				w.other = &tenant
			}
		}
	}
}

// unseen lists what was not seen; nil if nothing is missing, or nobody looked.
func (l *lookout) unseen(truth *traffic.Truth) *Unseen {
	if l == nil {
		return nil
	}
	u, counted, seen := &Unseen{First: []UnseenEntity{}, Names: []string{}}, map[*watched]bool{}, map[string]bool{}
	for i := range truth.Rows {
		r := &truth.Rows[i]
		w := l.of(r.Entity)
		seen[r.Campaign] = seen[r.Campaign] || w.seen
		if w.seen || counted[w] {
			continue
		}
		counted[w] = true
		if u.Entities++; len(u.First) < mostUnseen {
			u.First = append(u.First, UnseenEntity{named(r.Entity), r.Entity.Tenant, r.Role, r.Campaign, w.other, w.family})
		}
	}
	for _, c := range truth.Campaigns {
		if seen[c.Name] {
			continue
		}
		if u.Campaigns++; len(u.Names) < mostUnseen {
			u.Names = append(u.Names, c.Name)
		}
	}
	if u.Entities == 0 {
		return nil
	}
	return u
}

func named(e facet.Entity) string { return e.Kind.String() + ":" + e.Key }

// byName orders entities by kind, key and tenant.
func byName(a, b facet.Entity) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Tenant, b.Tenant))
}
