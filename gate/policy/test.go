package policy

import (
	"fmt"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Test is a request with the expected decision.
type Test struct {
	Name    string
	Line    int // in the file
	Request *event.Event
	Risk    []score.Contribution // of one entity, at 0
	Known   string               // all, earlier or nothing
	Outside []string             // policies whose share excludes the request

	// The expected decision.
	Action Action
	Policy string // "": any
	Would  Action

	looksAtWould bool
}

func signal(in *rules.Params, n int) score.Contribution {
	phase := rules.Enforce
	if in.Has("phase") {
		phase, _ = rules.ParsePhase(in.Text("phase")) // checked by the grammar
	}
	return score.Contribution{
		Rule: fmt.Sprintf("rule-%d", n), Category: in.Text("category"), Reason: "test", Phase: phase,
		Weight: uint8(in.Int("weight")), HalfLife: 1,
	}
}

// Run decides on the request of a test. wrong holds a sentence for each difference
// from the expectation.
func (s *Set) Run(t *Test) (wrong []string) {
	var risk Risk
	if t.Known != knownNothing {
		risk.Add(t.Risk, 0)
	}
	p := s.For(Request{Event: t.Request}, everyone{t.Outside})
	o := p.Decide(&risk, Knowledge{Whole: t.Known == knownAll, Earlier: t.Known == knownEarlier}, rules.Enforce)
	if t.Policy != "" && p.ID != t.Policy {
		wrong = append(wrong, fmt.Sprintf("policy %s decides, want %s", p.ID, t.Policy))
	}
	if o.Action != t.Action {
		wrong = append(wrong, fmt.Sprintf("the action is %s, want %s (by the policy %s)", o.Action, t.Action, p.ID))
	}
	if t.looksAtWould && o.Would != t.Would {
		wrong = append(wrong, fmt.Sprintf("it would be %s if every phase were enforce, want %s (by the policy %s)", o.Would, t.Would, p.ID))
	}
	return wrong
}
