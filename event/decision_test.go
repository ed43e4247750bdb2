package event

import "testing"

func TestRefusedIsWhatWeThrottledOrWorse(t *testing.T) {
	spec, _ := Lookup("decision_action")
	want := map[string]bool{"allow": false, "tag": false, "throttle": true, "challenge": true, "step_up": true, "deny": true}
	if len(spec.Enum) != len(want) {
		t.Fatalf("the actions are %v", spec.Enum)
	}
	for _, action := range spec.Enum {
		var e Event
		e.SetText(DecisionAction, action)
		if e.Refused() != want[action] {
			t.Errorf("%s: %v, want %v", action, e.Refused(), want[action])
		}
	}
	var e Event
	if e.SetText(Decision, "0e0b4b04"); e.Refused() {
		t.Error("the id of a decision alone is taken for a refusal")
	}
}
