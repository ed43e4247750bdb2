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

// absence is a detector for proofs that sets timers. It fires for an event that is
// not followed by another one in time. It fires repeatedly, and also when the other
// event comes a little later.
type absence struct {
	starts, ends *rules.Condition
	within       time.Duration
	again        int  // how often it repeats a firing
	moves        bool // another start restarts the wait
	weight       uint8
}

func absenceKind() rules.Kind {
	return rules.Kind{
		Name: "absence",
		Doc:  "waits for an event that does not come",
		Keys: []rules.Key{
			rules.ConditionKey("starts", rules.Required, "begins to wait"),
			rules.ConditionKey("ends", rules.Required, "is waited for"),
			rules.DurationKey("within", rules.Required, time.Millisecond, time.Hour, "how long"),
			rules.CountKey("again", rules.Optional, 1, 9, "how often it is said again"),
			rules.CountKey("moves", rules.Optional, 1, 1, "another start begins anew"),
			rules.CountKey("weight", rules.Required, 1, 100, "of the signal"),
		},
		Compile: func(p *rules.Params) rules.Spec {
			return &absence{p.Condition("starts"), p.Condition("ends"), p.Duration("within"), p.Int("again"), p.Has("moves"), uint8(p.Int("weight"))}
		},
	}
}

func (s *absence) Fields() []event.Field { return mergedFields(s.starts.Fields, s.ends.Fields) }
func (s *absence) State() string         { return "absence" }
func (s *absence) Canonical() string {
	return fmt.Sprint(s.starts.Canonical, s.ends.Canonical, s.within, s.again, s.moves, s.weight)
}
func (s *absence) Keeps() rules.Keeps {
	return rules.Keeps{Reach: s.within, After: s.within, Bytes: 24, Ahead: s.within}
}
func (s *absence) Detector(detectors.Environment) detectors.Detector {
	return &absenceDetector{rule: s}
}

// absenceDetector keeps since i64 (Unix ms) · number of firings u64 · last firing
// i64.
type absenceDetector struct{ rule *absence }

func (d *absenceDetector) Apply(c *detectors.Context, f *detectors.Firing) bool {
	if c.Late {
		return false
	}
	le := binary.LittleEndian
	switch {
	case d.rule.starts.Holds(c.Event):
		c.Counts = true
		if c.Timer == 0 || d.rule.moves {
			b := c.Own.Resize(24)
			le.PutUint64(b, uint64(c.Time))
			le.PutUint64(b[8:], 0)
			c.Timer = c.Time + d.rule.within.Milliseconds()
		}
	case d.rule.ends.Holds(c.Event):
		c.Timer = 0
		if b := c.Own.Payload(); len(b) > 0 && le.Uint64(b[8:]) > 0 && c.Time < int64(le.Uint64(b[16:]))+d.rule.within.Milliseconds() {
			le.PutUint64(b[8:], 0)
			f.Tier, f.Weight, f.Evidence = 0, 1, append(f.Evidence[:0], facet.Number("after_all", c.Time))
			return true
		}
	}
	return false
}

func (d *absenceDetector) Due(c *detectors.Context, f *detectors.Firing) bool {
	b := c.Own.Payload()
	said := binary.LittleEndian.Uint64(b[8:])
	binary.LittleEndian.PutUint64(b[8:], said+1)
	binary.LittleEndian.PutUint64(b[16:], uint64(c.Time))
	if int(said) < d.rule.again {
		c.Timer = c.Time + d.rule.within.Milliseconds()
	}
	f.Tier, f.Weight = int(said), d.rule.weight
	f.Evidence = append(f.Evidence[:0], facet.Number("since", int64(binary.LittleEndian.Uint64(b))))
	return true
}

func (d *absenceDetector) Fit(payload []byte) ([]byte, bool) { return payload, len(payload) == 24 }

func (d *absenceDetector) Explain([]byte, int64) detectors.Explanation {
	return detectors.Explanation{}
}

// absent is the model of absence.
type absent struct {
	rule  *absence
	since int64
	said  int
	last  int64 // time of the last firing
}

func (m *absent) change(s rules.Spec) { m.rule = s.(*absence) }

func (m *absent) arrive(a arrival) (f *firing, counts bool) {
	within := m.rule.within.Milliseconds()
	if m.rule.starts.Holds(a.event) {
		if *a.timer == 0 || m.rule.moves {
			m.since, m.said, *a.timer = a.time, 0, a.time+within
		}
		return nil, true
	}
	if !m.rule.ends.Holds(a.event) {
		return nil, false
	}
	if *a.timer = 0; m.said > 0 && a.time < m.last+within {
		m.said, f = 0, &firing{weight: 1, evidence: []facet.Evidence{facet.Number("after_all", a.time)}}
	}
	return f, false
}

func (m *absent) due(a arrival) *firing {
	f := &firing{tier: m.said, weight: m.rule.weight, evidence: []facet.Evidence{facet.Number("since", m.since)}}
	m.last = a.time
	if m.said++; m.said <= m.rule.again {
		*a.timer = a.time + m.rule.within.Milliseconds()
	}
	return f
}
