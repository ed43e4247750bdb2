package sim

import (
	"bytes"
	"fmt"
	"math"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// audit is a second interpretation of the facet log: it determines which facets of a
// partition count, from the rules of DESIGN.md and not from engine's code.
type audit struct {
	lateness                 int64 // ms
	sources                  []audited
	applied, late, duplicate int64
	outdated                 int64                 // part of duplicate: would count if they were not a former owner's
	told, heard              int64                 // members of groups
	said, noted              int64                 // verdicts on cohorts
	again                    int64                 // loop-back frames that were already known
	facets                   map[facetPlace]string // that count, as text
	controls                 map[int64]string      // that count, as text, by offset
	loopback                 map[int32]*chain      // loop-back by source facet partition
}

// audited is the state of one raw partition.
type audited struct {
	owner     uint64
	heard     bool
	next      int64
	watermark int64
}

// facetPlace identifies a facet of an event.
type facetPlace struct {
	place
	kind facet.Kind
}

// chain holds the loop-back frames from one facet partition, each once.
type chain struct {
	last   facet.Step
	frames []string // encoded as the first of a chain
}

func newAudit(plan Plan) *audit {
	a := &audit{
		lateness: plan.Lateness.Milliseconds(), sources: make([]audited, plan.Raw+1), // the last is that of controls
		facets: map[facetPlace]string{}, controls: map[int64]string{}, loopback: map[int32]*chain{},
	}
	for i := range a.sources {
		a.sources[i].watermark = facet.NoWatermark
	}
	return a
}

// totals returns the ledger that follows from the records read so far.
func (a *audit) totals() engine.Totals {
	return engine.Totals{Applied: a.applied, Late: a.late, Duplicate: a.duplicate, Told: a.told, Heard: a.heard, Said: a.said, Noted: a.noted}
}

// auditOf reads a facet partition from its beginning.
func auditOf(records []kafka.Record, plan Plan) (*audit, error) {
	a := newAudit(plan)
	for _, r := range records {
		if err := a.frame(r.Value); err != nil {
			return nil, fmt.Errorf("facet record %d: %w", r.Offset, err)
		}
	}
	return a, nil
}

func (a *audit) frame(b []byte) error {
	if facet.IsLoopback(b) {
		return a.loop(b)
	}
	if facet.IsSwitch(b) {
		return nil // no facets
	}
	var r facet.Reader
	if err := r.Reset(b); err != nil {
		return err
	}
	for {
		s, more, err := r.Section()
		if err != nil || !more {
			return err
		}
		if err := a.section(&r, s); err != nil {
			return err
		}
	}
}

func (a *audit) section(r *facet.Reader, s facet.Section) error {
	src, now := &a.sources[s.Source], a.watermark()
	old := s.Owner < src.owner
	if !old && src.heard && s.From > src.next {
		return fmt.Errorf("gap in raw partition %d: %d to %d", s.Source, src.next, s.From)
	}
	var f facet.Facet
	for {
		more, err := r.Facet(&f)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if old || src.heard && f.Offset < src.next {
			a.duplicate++
			if f.Offset >= src.next {
				a.outdated++
			}
			continue
		}
		a.applied++
		if r.Controls {
			if a.controls[f.Offset] != "" {
				return fmt.Errorf("control %d counts twice", f.Offset)
			}
			a.controls[f.Offset] = controlText(f.Entity, f.Time, f.Control)
			continue
		}
		when := "on time"
		kept := f.Fields.Num(event.Delayed) == 1 && f.Fields.Num(event.Skewed) == 0
		if kept || now != facet.NoWatermark && f.Time < now-a.lateness {
			a.late++
			when = "late"
		}
		at := facetPlace{place{f.Source, f.Offset}, f.Entity.Kind}
		if _, twice := a.facets[at]; twice {
			return fmt.Errorf("facet %v counts twice", at)
		}
		a.facets[at] = fmt.Sprintf("%s auth=%s epoch=%016x time=%d %s", f.Entity.Key, f.Fields.Text(event.Auth), r.Epoch, f.Time, when)
	}
	if !old {
		src.owner, src.heard = s.Owner, true
		src.next, src.watermark = max(src.next, s.To), max(src.watermark, s.Watermark)
	}
	return nil
}

// loop adds a loop-back frame, unless it is already known.
func (a *audit) loop(b []byte) error {
	var r facet.LoopbackReader
	if err := r.Reset(b); err != nil {
		return err
	}
	members, verdicts, err := loopContent(b)
	if err != nil {
		return err
	}
	c := a.loopback[r.From]
	if c == nil {
		c = &chain{}
		a.loopback[r.From] = c
	}
	switch {
	case r.Step.Compare(c.last) <= 0:
		a.duplicate += members
		a.again++
	case r.Previous.Compare(c.last) > 0:
		return fmt.Errorf("gap in the loop-back from %d: %v after %v, which is not %v", r.From, r.Step, r.Previous, c.last)
	default:
		first := bytes.Clone(b)
		facet.Chain(first, facet.Step{})
		c.last, c.frames = r.Step, append(c.frames, string(first))
		a.heard += members
		a.noted += verdicts
	}
	return nil
}

// loopContent counts the members and the verdicts in a loop-back frame.
func loopContent(b []byte) (members, verdicts int64, err error) {
	_, _, findings, err := facet.ReadLoopback(b)
	if err != nil {
		return 0, 0, err
	}
	for _, f := range findings {
		members += int64(len(f.Members))
	}
	var r facet.LoopbackReader
	if err := r.Reset(b); err != nil {
		return 0, 0, err
	}
	for v := new(facet.Verdict); r.Verdicts; verdicts++ {
		if ok, err := r.Verdict(v); err != nil || !ok {
			return members, verdicts, err
		}
	}
	return members, verdicts, nil
}

// watermark returns the minimum over all sources, once each has been heard from.
func (a *audit) watermark() int64 {
	least := int64(math.MaxInt64)
	for _, s := range a.sources[:len(a.sources)-1] {
		if !s.heard {
			return facet.NoWatermark
		}
		least = min(least, s.watermark)
	}
	return least
}
