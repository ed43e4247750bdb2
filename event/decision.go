package event

import "slices"

// Refused reports whether Weir had the request refused or held up: the action of
// its decision was throttle, or stricter. The id of a decision says nothing about
// that, because gateways put one into every event.
func (e *Event) Refused() bool {
	mildestFirst := DecisionAction.Values()
	return slices.Index(mildestFirst, e.Text(DecisionAction)) >= slices.Index(mildestFirst, "throttle")
}
