package engine

import (
	"fmt"
	"strconv"
	"unsafe"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/state"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// cohortFields are the fields by which entities form cohorts, in the order of their
// record kinds. The order is permanent: it is in snapshots.
var cohortFields = [...]event.Field{event.Build, event.AppVersion, event.Route, event.ASN, event.Country, event.OS, event.DeviceModel}

// firstCohort is the first kind of cohort records. Lower kinds are entities.
const firstCohort = 24

// cohorts are the cohorts of the current facet, in one lane.
type cohorts struct {
	p      *Partition
	l      *lane
	rule   *active // that is shown the facet
	offset int64   // of the record of the facet log
	open   bool    // some of of are asked for
	of     [len(cohortFields)]cohort
	again  cohort   // that is come back to
	number [20]byte // a number as text
}

// cohortKeeps states how long a rule keeps cohorts, in ms.
type cohortKeeps struct{ reach, verdicts int64 }

func cohortKeepsOf(r *rules.Rule) cohortKeeps {
	k := r.Spec.Keeps().Cohort
	return cohortKeeps{k.Reach.Milliseconds(), k.Verdicts.Milliseconds()}
}

// begin starts a record of ingest.
func (p *Partition) begin(offset int64) {
	p.lane.begin(p, offset)
	if p.shadow != nil {
		p.shadow.begin(p, offset)
	}
}

func (l *lane) begin(p *Partition, offset int64) {
	l.timers.called, l.cohorts.offset = 0, offset
	if l.context.Cohort != nil {
		return
	}
	c := &l.cohorts
	c.p, c.l, l.context.Cohort, l.context.Recall = p, l, c.find, c.recall
	c.again.cohorts = c
	for i := range c.of {
		c.of[i].cohorts, c.of[i].by = c, cohortFields[i]
	}
}

// close drops the cohorts of the previous facet.
func (c *cohorts) close() {
	if !c.open {
		return
	}
	c.open = false
	for i := range c.of {
		c.of[i].asked, c.of[i].found = false, false
	}
}

// cohort is one cohort, as seen by the rule that handles the facet.
type cohort struct {
	*cohorts
	by           event.Field
	asked, found bool
	rec          state.Record

	// The last key computed, and what of: most events share a few builds and versions.
	key           uint64
	tenant, value []byte
}

// keyOf returns the key of the cohort with a value.
func (c *cohort) keyOf(tenant, value string) uint64 {
	if len(c.value) == 0 || string(c.value) != value || string(c.tenant) != tenant {
		c.key = c.p.cohortKey(c.by, tenant, value)
		c.tenant, c.value = append(c.tenant[:0], tenant...), append(c.value[:0], value...)
	}
	return c.key
}

// find implements detectors.Context.Cohort.
func (c *cohorts) find(by event.Field) detectors.Cohort {
	i, reach, at := placeOf(by), c.rule.cohort.reach, &c.l.context
	if i < 0 || reach == 0 {
		return nil
	}
	f := &c.of[i]
	if !f.asked {
		c.open, f.asked = true, true
		if value := c.valueOf(by); value != "" {
			key := f.keyOf(at.Entity.Tenant, value)
			f.rec, f.found = c.p.findCohort(c.l, key, by, at.Entity.Tenant, c.offset, at.Time+reach, at.Late)
		}
	}
	if !f.found {
		return nil
	}
	if !at.Late {
		f.rec.Prolong(c.p.closed(at.Time + reach))
	}
	return f
}

// recall implements detectors.Context.Recall. The cohort then has no name, so it
// cannot get a verdict.
func (c *cohorts) recall(key uint64) detectors.Cohort {
	rec, found := c.l.table.Find(key, c.p.watermark)
	if !found || rec.Kind() < firstCohort || c.rule.cohort.reach == 0 {
		return nil
	}
	c.again.rec, c.again.by = rec, event.None
	return &c.again
}

// placeOf returns the index of a field in cohortFields; −1 if the field has no
// cohorts.
func placeOf(by event.Field) int {
	for i, f := range cohortFields {
		if f == by {
			return i
		}
	}
	return -1
}

// valueOf returns the current event's value of a field as text, "" if absent. It is
// valid until the next call.
func (c *cohorts) valueOf(by event.Field) string {
	e := c.l.context.Event
	if !by.Numeric() {
		return e.Text(by)
	}
	if e.Num(by) == 0 {
		return ""
	}
	b := strconv.AppendInt(c.number[:0], e.Num(by), 10)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// cohortKind returns the kind of records of the cohorts by a field.
func cohortKind(by event.Field) uint8 { return firstCohort + uint8(placeOf(by)) }

func (p *Partition) cohortKey(by event.Field, tenant, value string) uint64 {
	return p.hasher.Sum(facet.Entity{Kind: facet.Kind(cohortKind(by)), Tenant: tenant, Key: value})
}

// findCohort opens the record of a cohort, or creates one if there is room. The
// record is kept until no event on time can be before until. If that has already
// passed, findCohort only opens an existing record.
func (p *Partition) findCohort(l *lane, key uint64, by event.Field, tenant string, offset, until int64, late bool) (rec state.Record, found bool) {
	if late {
		return l.table.Find(key, p.watermark)
	}
	if rec, found = l.table.Get(key, p.watermark); !found {
		rec, found = l.table.Admit(key, cohortKind(by), p.hasher.Text(tenant), p.watermark)
	}
	if found {
		rec.Touch(offset, p.closed(until))
	}
	return rec, found
}

func (c *cohort) slot() uint32 { return c.rule.rule.Slot }

// Payload implements detectors.Slot.
func (c *cohort) Payload() []byte { return c.rec.Slot(c.slot()) }

// Key implements detectors.Cohort.
func (c *cohort) Key() uint64 { return c.rec.Key() }

// Resize implements detectors.Slot.
func (c *cohort) Resize(n int) []byte { return c.rec.Resize(c.slot(), n) }

// verdicts are the verdicts of facet partitions on a cohort, under one rule, as the
// payload of [rules.VerdictSlot]:
//
//	own time i64 (Unix ms) · own level u8 · whether a verdict was given u8 · unused 6
//	then for each partition with a verdict: until i64 (Unix ms) · partition u32 · level u8 · unused 3
type verdicts []byte

const (
	verdictHeader = 16
	verdictSize   = 16
)

func (v verdicts) saidAt() int64 { return int64(le.Uint64(v)) }
func (v verdicts) level() uint8  { return v[8] }
func (v verdicts) any() bool     { return v[9] != 0 }

func (v verdicts) say(level uint8, at int64) {
	le.PutUint64(v, uint64(at))
	v[8], v[9] = level, 1
}

func (v verdicts) len() int         { return max(len(v)-verdictHeader, 0) / verdictSize }
func (v verdicts) at(i int) opinion { return opinion(v[verdictHeader+i*verdictSize:][:verdictSize]) }

// opinion is the verdict of one facet partition.
type opinion []byte

func (o opinion) until() int64 { return int64(le.Uint64(o)) }
func (o opinion) from() int32  { return int32(le.Uint32(o[8:])) }
func (o opinion) level() uint8 { return o[12] }

func (o opinion) set(from int32, level uint8, until int64) {
	le.PutUint64(o, uint64(until))
	le.PutUint32(o[8:], uint32(from))
	le.PutUint32(o[12:], uint32(level))
}

// Say implements detectors.Cohort. A lasting verdict is repeated after half of the
// time for which others remember it. A shadow rule publishes nothing.
func (c *cohort) Say(level uint8) {
	keeps, slot, at := c.rule.cohort, rules.VerdictSlot(c.slot()), &c.l.context
	if keeps.verdicts == 0 || at.Late || c.by == event.None || c.l != &c.p.lane {
		return
	}
	v := verdicts(c.rec.Slot(slot))
	if len(v) > 0 && v.any() {
		if level == v.level() && (level == 0 || at.Time < v.saidAt()+keeps.reach/2) || at.Time < v.saidAt()+keeps.verdicts {
			return
		}
	} else if level == 0 {
		return
	}
	if len(v) == 0 {
		if v = c.rec.Resize(slot, verdictHeader); v == nil {
			return // does not happen: rules that do not leave room are not loaded
		}
	}
	v.say(level, at.Time)
	c.tellAll(level)
}

// Said implements detectors.Cohort.
func (c *cohort) Said(level uint8) (n int) {
	v := verdicts(c.rec.Slot(rules.VerdictSlot(c.slot())))
	for i := range v.len() {
		if o := v.at(i); o.level() >= level && o.until() > c.p.watermark {
			n++
		}
	}
	return n
}

// tellAll writes a verdict to all facet partitions, including this one.
func (c *cohort) tellAll(level uint8) {
	at, l := &c.l.context, &c.p.loopback
	l.verdicts.Add(&facet.Verdict{
		Slot: c.slot(), Level: level, By: c.by, Time: at.Time, Tenant: at.Entity.Tenant, Value: c.valueOf(c.by),
	})
	l.said += int64(len(l.got))
}

// emitVerdicts completes the frames of the verdicts caused by the record at an
// offset. All facet partitions get the same frames.
func (p *Partition) emitVerdicts(offset int64, out *Output) {
	w := &p.loopback.verdicts
	if w.Len() == 0 {
		return
	}
	for to := range p.loopback.got {
		step := p.loopback.step(int32(to), offset)
		out.Loopback = append(out.Loopback, LoopbackFrame{int32(to), step, w.Frame(p.id, step, p.incarnation)})
	}
	w.Reset()
}

// hearVerdicts applies the verdicts in the current frame, unless the frame is a
// duplicate.
func (p *Partition) hearVerdicts(known bool, at score.Position) error {
	v := &p.loopback.verdict
	for {
		ok, err := p.loopback.reader.Verdict(v)
		if err != nil || !ok {
			return err
		}
		if placeOf(v.By) < 0 {
			return fmt.Errorf("%w: a verdict by %v", facet.ErrFrame, v.By)
		}
		if !known {
			p.loopback.noted++
			p.note(v, at.Offset)
		}
	}
}

// note stores the verdict of a facet partition on a cohort. Verdicts of an unknown
// rule are dropped.
func (p *Partition) note(v *facet.Verdict, offset int64) {
	r := p.bySlot[v.Slot]
	if r == nil {
		return
	}
	keeps, from := cohortKeepsOf(r), p.loopback.reader.From
	until := v.Time + keeps.reach
	gone := v.Level == 0 || until <= p.watermark
	if keeps.verdicts == 0 {
		return
	}
	rec, found := p.findCohort(&p.lane, p.cohortKey(v.By, v.Tenant, v.Value), v.By, v.Tenant, offset, until, gone)
	if !found {
		return
	}
	slot := rules.VerdictSlot(v.Slot)
	list := verdicts(rec.Slot(slot))
	if len(list) == 0 && gone {
		return
	}
	kept := 0
	for i := range list.len() {
		if o := list.at(i); o.from() != from && o.until() > p.watermark {
			copy(list.at(kept), o)
			kept++
		}
	}
	room := !gone && kept < rules.MostVerdicts
	if room {
		kept++
	}
	if list = rec.Resize(slot, verdictHeader+kept*verdictSize); room && list != nil {
		list.at(kept-1).set(from, v.Level, until)
	}
}

// checkCohort is checkSlot for the record of a cohort.
func (l *lane) checkCohort(kind uint8, slot uint32, payload []byte) (kept []byte, err error) {
	if int(kind-firstCohort) >= len(cohortFields) {
		return nil, fmt.Errorf("%w: of kind %d", errSlot, kind)
	}
	if r := l.bySlot[rules.VerdictSlot(slot)]; r != nil && r.Spec.Keeps().Cohort.Verdicts > 0 {
		if !soundVerdicts(payload) {
			return nil, fmt.Errorf("%w: %d", errSlot, slot)
		}
		return payload, nil
	}
	r := l.bySlot[slot]
	if r == nil {
		return nil, nil
	}
	d, ok := l.ruleOf(r.Entity, slot).detector.(detectors.Comparing)
	if !ok {
		return nil, nil
	}
	if kept, ok = d.FitCohort(cohortFields[kind-firstCohort], payload); !ok {
		return nil, fmt.Errorf("%w: %d", errSlot, slot)
	}
	return kept, nil
}

func soundVerdicts(v verdicts) bool {
	return len(v) >= verdictHeader && (len(v)-verdictHeader)%verdictSize == 0 && v.len() <= rules.MostVerdicts
}
