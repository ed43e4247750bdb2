package gate

import (
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/gate/policy"
)

// TestAGatewayCanPassEveryActionOn checks that each action is a valid
// decision_action of an event, and that from throttling on the event counts as
// refused by Weir.
func TestAGatewayCanPassEveryActionOn(t *testing.T) {
	weir, err := format.New("weir", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range policy.Actions() {
		var e event.Event
		line := `{"id":"a","time":1795428303000,"decision":"0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1","decision_action":"` + a.String() + `"}`
		if err := weir.Decode([]byte(line), &e); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		if e.Refused() != (a >= policy.Throttle) {
			t.Errorf("%s: refused %v", a, e.Refused())
		}
	}
}
