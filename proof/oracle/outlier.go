package oracle

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// outlier is a detector for proofs that compares with cohorts. It fires if an entity
// fails far more often than others of its cohort within an interval of time. It also
// reports how much the whole cohort fails, in quarters.
type outlier struct {
	fails   *rules.Condition
	by      event.Field
	stretch time.Duration // interval of the entity
	usual   time.Duration // interval of the cohort
	every   time.Duration // minimum between verdicts
	times   int           // factor above the usual rate
	weight  uint8
}

func outlierKind() rules.Kind {
	return rules.Kind{
		Name: "outlier",
		Doc:  "compares shares of failures",
		Keys: []rules.Key{
			rules.ConditionKey("fails", rules.Required, "what a failure is"),
			rules.ChoiceKey("by", rules.Required, []string{"build", "route", "asn", "country", "app_version"}, "the cohort"),
			rules.DurationKey("stretch", rules.Required, time.Millisecond, time.Hour, "of the entity"),
			rules.DurationKey("usual", rules.Required, time.Millisecond, time.Hour, "of the cohort"),
			rules.DurationKey("every", rules.Required, time.Millisecond, time.Hour, "between verdicts"),
			rules.CountKey("times", rules.Required, 1, 100, "as often as usual"),
			rules.CountKey("weight", rules.Required, 1, 100, "of the signal"),
		},
		Compile: func(p *rules.Params) rules.Spec {
			return &outlier{p.Condition("fails"), p.Field("by"), p.Duration("stretch"), p.Duration("usual"), p.Duration("every"), p.Int("times"), uint8(p.Int("weight"))}
		},
	}
}

func (s *outlier) Fields() []event.Field { return mergedFields(s.fails.Fields, []event.Field{s.by}) }
func (s *outlier) State() string         { return fmt.Sprintf("%v %d %d", s.by, s.stretch, s.usual) }
func (s *outlier) Canonical() string {
	return fmt.Sprint(s.fails.Canonical, s.by, s.stretch, s.usual, s.every, s.times, s.weight)
}
func (s *outlier) Keeps() rules.Keeps {
	return rules.Keeps{Reach: s.stretch, Bytes: 24, Cohort: rules.KeepsOfCohort{Reach: s.usual, Bytes: 24, Verdicts: s.every}}
}
func (s *outlier) Detector(detectors.Environment) detectors.Detector {
	return &outlierDetector{rule: s}
}

// outlierDetector keeps, for an entity and for a cohort: interval i64 · events u64 ·
// failures u64.
type outlierDetector struct{ rule *outlier }

// count adds an event to a payload. Events of a past interval are not counted.
func (d *outlierDetector) count(s detectors.Slot, stretch int64, fails bool) (events, failures int64) {
	le, b := binary.LittleEndian, s.Payload()
	if len(b) == 0 {
		b = s.Resize(24)
		le.PutUint64(b, uint64(stretch))
	}
	if was := int64(le.Uint64(b)); stretch > was {
		clear(b)
		le.PutUint64(b, uint64(stretch))
	} else if stretch < was {
		return 0, 0
	}
	le.PutUint64(b[8:], le.Uint64(b[8:])+1)
	if fails {
		le.PutUint64(b[16:], le.Uint64(b[16:])+1)
	}
	return int64(le.Uint64(b[8:])), int64(le.Uint64(b[16:]))
}

func (d *outlierDetector) Apply(c *detectors.Context, f *detectors.Firing) bool {
	if c.Late {
		return false
	}
	fails := d.rule.fails.Holds(c.Event)
	c.Counts = fails
	events, failures := d.count(c.Own, c.Time/d.rule.stretch.Milliseconds(), fails)
	cohort := c.Cohort(d.rule.by)
	if cohort == nil {
		return false
	}
	all, failed := d.count(cohort, c.Time/d.rule.usual.Milliseconds(), fails)
	if again := c.Cohort(d.rule.by); all > 0 && len(again.Payload()) != 24 {
		panic("another cohort")
	}
	if all > 1 {
		cohort.Say(uint8(4 * failed / all))
	}
	if events == 0 || all == 0 || failures*all < int64(d.rule.times)*failed*events && cohort.Said(2) < 2 {
		return false
	}
	f.Tier, f.Weight = 0, d.rule.weight
	f.Evidence = append(f.Evidence[:0], facet.Number("events", events), facet.Number("failures", failures), facet.Number("of", all),
		facet.Number("failed", failed), facet.Number("say", int64(cohort.Said(1))), facet.Number("insist", int64(cohort.Said(3))))
	return true
}

func (d *outlierDetector) Fit(payload []byte) ([]byte, bool) { return payload, len(payload) == 24 }

func (d *outlierDetector) FitCohort(by event.Field, payload []byte) ([]byte, bool) {
	return payload, by == d.rule.by && len(payload) == 24
}

func (d *outlierDetector) Explain([]byte, int64) detectors.Explanation {
	return detectors.Explanation{}
}

// unusual is the model of outlier.
type unusual struct {
	rule *outlier
	own  shares
}

// shares counts the events of one interval of time.
type shares struct{ stretch, events, failures int64 }

func (s *shares) with(stretch int64, fails bool) (now shares) {
	if s.events == 0 || stretch > s.stretch {
		*s = shares{stretch: stretch}
	}
	if stretch < s.stretch {
		return shares{}
	}
	if s.events++; fails {
		s.failures++
	}
	return *s
}

func (m *unusual) change(s rules.Spec) { m.rule = s.(*outlier) }

func (m *unusual) arrive(a arrival) (f *firing, counts bool) {
	fails := m.rule.fails.Holds(a.event)
	own := m.own.with(a.time/m.rule.stretch.Milliseconds(), fails)
	c := a.cohort(m.rule.by)
	if c == nil {
		return nil, fails
	}
	if c.memory == nil {
		c.memory = &shares{}
	}
	all := c.memory.(*shares).with(a.time/m.rule.usual.Milliseconds(), fails)
	if all.events > 1 {
		c.say(uint8(4 * all.failures / all.events))
	}
	far := own.failures*all.events >= int64(m.rule.times)*all.failures*own.events
	if own.events == 0 || all.events == 0 || !far && c.thinking(2) < 2 {
		return nil, fails
	}
	return &firing{weight: m.rule.weight, evidence: []facet.Evidence{
		facet.Number("events", own.events), facet.Number("failures", own.failures), facet.Number("of", all.events),
		facet.Number("failed", all.failures), facet.Number("say", int64(c.thinking(1))), facet.Number("insist", int64(c.thinking(3))),
	}}, fails
}
