package oracle

import (
	"fmt"
	"slices"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// model is the state of one rule for one entity, as described in docs/detectors. It
// shares with the detector only the parameters.
type model interface {
	// arrive processes an event on time that matches the rule's condition. f is nil
	// if nothing fires; counts says whether the event contributes.
	arrive(a arrival) (f *firing, counts bool)

	// change continues with other parameters, which read the same state.
	change(rules.Spec)
}

// arrival is an event as a model sees it.
type arrival struct {
	event           *event.Event
	source          int32                        // raw partition
	offset          int64                        // raw
	time, watermark int64                        // Unix ms
	lateness        int64                        // ms
	cohort          func(by event.Field) *cohort // nil if there is none
	timer           *int64                       // when to be called again, Unix ms; 0: never. The model may change it

	entity facet.Entity
	recall func(cohortName) *cohort // nil if it is forgotten
}

// timed is a model that is also called when its timer is due. Then a has no event.
type timed interface {
	due(a arrival) *firing
}

// firing is the finding of a rule.
type firing struct {
	tier     int
	weight   uint8
	clears   bool
	evidence []facet.Evidence
}

// model creates the model of a rule: one line for each detector.
func (o *Oracle) model(r *rules.Rule) model {
	switch s := r.Spec.(type) {
	case *detectors.Attestation:
		return newAttesting(s, o.hasher)
	case *detectors.Cadence:
		return &clockwork{rule: s}
	case *detectors.IDEnumeration:
		return &shopper{rule: s, hasher: o.hasher}
	case *detectors.Drift:
		return &gauge{rule: s}
	case *detectors.FirstSeen:
		return &acquaintance{rule: s}
	case *detectors.ImpossibleTravel:
		return &journey{rule: s, hasher: o.hasher}
	case *detectors.Sequence:
		return &procession{rule: s}
	case *detectors.SequenceAnomaly:
		return &habit{rule: s}
	case *detectors.SignatureMismatch:
		return newSuspect(s, o.hasher)
	case *detectors.RefreshFamily:
		return &lineage{rule: s}
	case *detectors.Replay:
		return &recorder{rule: s}
	case *detectors.SlidingWindow:
		return &windows{rule: s, hasher: o.hasher, whole: o.whole}
	case *absence:
		return &absent{rule: s}
	case *outlier:
		return &unusual{rule: s}
	case *detectors.TokenTheft:
		return &wallet{rule: s, hasher: o.hasher}
	case *detectors.VolumeAnomaly:
		return &visit{rule: s}
	}
	panic(fmt.Sprintf("oracle: there is no model of %s", r.Detector))
}

// ProofKinds are two small detectors for proofs. One only sets timers. The other
// only compares with cohorts and sends verdicts.
func ProofKinds() []rules.Kind { return []rules.Kind{absenceKind(), outlierKind()} }

func mergedFields(lists ...[]event.Field) []event.Field {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}
