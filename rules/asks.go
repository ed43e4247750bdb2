package rules

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/weirdev/weir/internal/facet"
)

// Asks is the set of actions that a signal asks of its readers, in addition to its
// weight.
type Asks uint8

// The actions.
const (
	Revoke Asks = 1 << iota // end the credentials that the entity is, or has
	Notify                  // tell operators
)

var askNames = [...]string{"revoke", "notify"}

// Names lists the actions; nil if there are none.
func (a Asks) Names() (all []string) {
	for i, name := range askNames {
		if a&(1<<i) != 0 {
			all = append(all, name)
		}
	}
	return all
}

// String returns the names, separated by commas.
func (a Asks) String() string { return strings.Join(a.Names(), ",") }

// ParseAsks reads names.
func ParseAsks(names []string) (a Asks, err error) {
next:
	for _, name := range names {
		for i := range askNames {
			if askNames[i] == name {
				a |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("a signal asks for %s, not for %q", strings.Join(askNames[:], " or "), name)
	}
	return a, nil
}

// MarshalJSON writes a list of names.
func (a Asks) MarshalJSON() ([]byte, error) { return json.Marshal(a.Names()) }

// UnmarshalJSON reads a list of names.
func (a *Asks) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return err
	}
	var err error
	*a, err = ParseAsks(names)
	return err
}

// revocable reports whether an entity is credentials, or has some.
func revocable(k facet.Kind) bool {
	return k == facet.Token || k == facet.Session || k == facet.Account
}

// AsksOf returns the actions that the rule's signal about an entity of a kind asks
// for. Operators are notified once, about the rule's own entity and not about each
// member. Only credentials can be revoked.
func (r *Rule) AsksOf(k facet.Kind) Asks {
	a := r.Asks
	if k != r.Entity {
		a &^= Notify
	}
	if !revocable(k) {
		a &^= Revoke
	}
	return a
}
