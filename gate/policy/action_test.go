package gate

import (
	"slices"
	"testing"

	"github.com/weirdev/weir/event"
)

func TestActionsAreThoseThatEventsHave(t *testing.T) {
	var names []string
	for _, a := range Actions() {
		names = append(names, a.String())
		if back, err := ParseAction(a.String()); err != nil || back != a {
			t.Errorf("%s is %v, %v", a, back, err)
		}
	}
	if !slices.Equal(names, event.DecisionAction.Values()) || Throttle.String() != "throttle" || StepUp.String() != "step_up" || Deny.String() != "deny" {
		t.Errorf("actions are %v, those of events %v", names, event.DecisionAction.Values())
	}
}
