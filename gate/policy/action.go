package policy

import (
	"fmt"
	"strings"

	"github.com/weirdev/weir/event"
)

// Action is an instruction to a gateway. Actions are totally ordered, from the
// mildest to the strictest; if several are called for, the strictest is taken.
type Action uint8

const (
	Allow     Action = iota // serve
	Tag                     // serve, and let the upstream know
	Throttle                // slow down: 429 and Retry-After
	Challenge               // ask for proof of a human
	StepUp                  // ask for stronger authentication
	Deny                    // refuse
)

// actionNames are the names of actions in events, in the order above.
var actionNames = event.DecisionAction.Values()

// Actions lists every action, the mildest first.
func Actions() []Action { return []Action{Allow, Tag, Throttle, Challenge, StepUp, Deny} }

// String returns the action's name in answers and metrics.
func (a Action) String() string {
	if int(a) >= len(actionNames) {
		return "unknown"
	}
	return actionNames[a]
}

// ParseAction finds an action by its name.
func ParseAction(name string) (Action, error) {
	for a, n := range actionNames {
		if n == name {
			return Action(a), nil
		}
	}
	return 0, fmt.Errorf("action %q is none of %s", name, strings.Join(actionNames, ", "))
}

// MarshalText returns the action's name.
func (a Action) MarshalText() ([]byte, error) {
	if int(a) >= len(actionNames) {
		return nil, fmt.Errorf("action %d does not exist", a)
	}
	return []byte(actionNames[a]), nil
}

// UnmarshalText reads an action's name.
func (a *Action) UnmarshalText(text []byte) error {
	v, err := ParseAction(string(text))
	if err == nil {
		*a = v
	}
	return err
}
