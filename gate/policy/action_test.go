package policy

import (
	"encoding/json"
	"slices"
	"strings"
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

func TestActionsAreListedFromTheMildestToTheStrictest(t *testing.T) {
	var names []string
	for _, a := range Actions() {
		names = append(names, a.String())
	}
	if got := strings.Join(names, " "); got != "allow tag throttle challenge step_up deny" || len(Actions()) != len(actionNames) {
		t.Errorf("got %s", got)
	}
	if !slices.IsSorted(Actions()) {
		t.Error("the strictest of several is not the greatest")
	}
}

func TestActionsHaveNames(t *testing.T) {
	for _, a := range Actions() {
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Action
		if err := json.Unmarshal(text, &back); err != nil || back != a {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	if _, err := ParseAction("explode"); err == nil {
		t.Error("an unknown action was taken")
	}
	if _, err := (Deny + 1).MarshalText(); err == nil || (Deny+1).String() != "unknown" {
		t.Error("an action that does not exist has a name")
	}
}
