package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
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

	Exceeded []string // limits that the request exceeds

	// The expected decision.
	Action    Action
	Policy    string // "": any
	Would     Action
	Limits    []string // those that apply
	LimitedBy string   // "": any, or none

	looksAtWould, looksAtLimits bool
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
	r := Request{Event: t.Request, Entities: entitiesOf(t.Request)}
	p := s.For(r, everyone{t.Outside})
	o := p.Decide(&risk, Knowledge{Whole: t.Known == knownAll, Earlier: t.Known == knownEarlier}, rules.Enforce)
	wrong = s.runLimits(t, r, &o)
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

// runLimits applies the limits of a test to its outcome.
func (s *Set) runLimits(t *Test, r Request, o *Outcome) (wrong []string) {
	var applied []string
	for _, l := range s.LimitsFor(r) {
		applied = append(applied, l.ID)
		if slices.Contains(t.Exceeded, l.ID) {
			o.Exceed(l.RateLimit)
		}
	}
	for _, id := range t.Exceeded {
		if !slices.Contains(applied, id) {
			wrong = append(wrong, fmt.Sprintf("the limit %s does not apply to the request: its when does not hold, or an entity in per is missing", id))
		}
	}
	if got, want := slices.Sorted(slices.Values(applied)), slices.Sorted(slices.Values(t.Limits)); t.looksAtLimits && !slices.Equal(got, want) {
		wrong = append(wrong, fmt.Sprintf("the limits that apply are [%s], want [%s]", strings.Join(got, ", "), strings.Join(want, ", ")))
	}
	if t.LimitedBy != "" && o.LimitedBy != t.LimitedBy {
		wrong = append(wrong, fmt.Sprintf("it is limited by %q, want %s", o.LimitedBy, t.LimitedBy))
	}
	return wrong
}

// entitiesOf returns the entities that a gate would find in a request.
func entitiesOf(e *event.Event) (all []facet.Entity) {
	for _, k := range facet.Kinds() {
		if one, ok := facet.EntityOf(k, e, nil); ok {
			all = append(all, one)
		}
	}
	return all
}

// locate adds the client's address and its network to a request that has an address,
// as ingest does.
func locate(e *event.Event) {
	if key, _, ok := facet.KeyOf(facet.IP, e.Text(event.IP)); ok && !e.Has(event.ClientIP) {
		e.SetText(event.ClientIP, key)
	}
	if ip := e.Text(event.ClientIP); ip != "" && !e.Has(event.Net) {
		e.SetText(event.Net, facet.NetOf(ip))
	}
}
