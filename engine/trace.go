package engine

import (
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// Trace describes how one rule handled one facet that matches its condition.
type Trace struct {
	Rule   *rules.Rule
	Entity facet.Entity // texts are valid during the call only
	Source int32        // raw partition of the event
	Offset int64        // raw offset of the event
	Time   int64        // event time, Unix ms

	Kept      bool // something is kept of the entity; else no rule sees the facet
	Exception int  // place of the rule's exception because of which it does not see the facet; -1: none

	Timer  bool // a timer is called that this event has set; Time is the timer's
	Late   bool // it came after its windows had closed
	Counts bool // it contributes to what the rule looks for
	Fired  bool

	// Explain describes the rule's state of the entity at that moment, and the
	// rule's demands. It is valid only during the call.
	Explain func() detectors.Explanation
}

// Trace sets the function that is shown how live rules handle facets from now on;
// nil for none.
func (p *Partition) Trace(yield func(Trace)) { p.trace = yield }

// traceRule reports how a rule handled the current facet.
func (l *lane) traceRule(a *active, fired bool) {
	c := &l.context
	l.trace(Trace{
		Rule: a.rule, Entity: c.Entity, Source: c.Source, Offset: c.Offset, Time: c.Time,
		Kept: true, Exception: -1, Late: c.Late, Counts: c.Counts, Fired: fired,
		Explain: func() detectors.Explanation {
			l.slot.id = a.rule.Slot
			return a.detector.Explain(l.slot.Payload(), c.Time)
		},
	})
}

// traceTimer reports how a rule judged at its timer.
func (l *lane) traceTimer(a *active, fired bool) {
	if l.trace == nil {
		return
	}
	c := &l.context
	l.trace(Trace{
		Rule: a.rule, Entity: c.Entity, Source: c.Source, Offset: c.Offset, Time: c.Time, Kept: true, Exception: -1, Timer: true, Fired: fired,
		Explain: func() detectors.Explanation {
			l.slot.id = a.rule.Slot
			return a.detector.Explain(l.slot.Payload(), c.Time)
		},
	})
}

// traceUnkept reports that the current facet reaches no rule, because no state is
// kept for its entity.
func (p *Partition) traceUnkept(late bool) {
	if p.trace == nil {
		return
	}
	f := &p.facet
	for _, i := range p.matched {
		a := &p.byKind[f.Entity.Kind][i]
		p.trace(Trace{
			Rule: a.rule, Entity: f.Entity, Source: f.Source, Offset: f.Offset, Time: f.Time, Exception: -1, Late: late,
			Explain: func() detectors.Explanation { return a.detector.Explain(nil, f.Time) },
		})
	}
}

// traceExcepted reports that a rule does not see the facet, because of an
// exception.
func (l *lane) traceExcepted(f *facet.Facet, a *active, exception int) {
	if l.trace == nil {
		return
	}
	l.trace(Trace{
		Rule: a.rule, Entity: f.Entity, Source: f.Source, Offset: f.Offset, Time: f.Time, Exception: exception,
		Explain: func() detectors.Explanation { return a.detector.Explain(nil, f.Time) },
	})
}
