// Package explain shows why rules fired on events, and why they did not. It runs
// the events through the code of both stages (package dryrun) and watches how each
// rule handles each event. For counterfactuals it runs the same code again without
// some of the events, or with a rule that demands more.
//
// It knows no detector: everything that it reports about one comes from
// [detectors.Explanation].
package explain

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/app/try"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// Options configure an explanation.
type Options struct {
	Rules      *rules.Set
	Ingest     ingest.Config
	Places     ingest.Places // nil: nothing is known of addresses
	Detect     engine.Config
	Partitions int // facet partitions; 0: one

	Entity rules.Subject // whom everything is said of; zero: everybody for whom a rule fired, and who came nearest to the others

	// From and To bound the event times of what is shown; zero: no bound. All records
	// are read, because rules learn from what came before.
	From, To time.Time

	// Only, if there is one, says which rules are watched for whom. All rules run.
	Only func(rule string, e facet.Entity) bool
}

// within reports whether an event time (Unix ms) is within the bounds.
func (o *Options) within(t int64) bool {
	return (o.From.IsZero() || t >= o.From.UnixMilli()) && (o.To.IsZero() || t < o.To.UnixMilli())
}

// Explainer reads records. One goroutine uses it.
type Explainer struct {
	o      Options
	run    *dryrun.Run
	reader *ingest.Reader // reads again what is shown

	records    *records
	watermarks []int64 // behind each record
	survey     *survey // nil: it is known who is explained
	mostSteps  int     // that are kept of one case

	outcomes [ingest.Accepted + 1]int
	unread   []try.Result
	first    int64                // event time
	about    int                  // events that the entity has, where one is named
	given    [event.MaxField]bool // fields that some of those events have
	others   []string

	cases map[caseKey]*history
	order []*history // in the order of their first event
}

// caseKey names a rule and one of its entities.
type caseKey struct {
	rule   string
	entity facet.Entity
}

// history describes how one rule handled one entity's events.
type history struct {
	rule   *rules.Rule
	entity facet.Entity
	steps  []step // the first ones
	most   int    // steps that are kept
	seen   int    // steps
	beyond int    // of those, how many are outside the bounds

	shown func(t int64) bool // whether a step is within the bounds
	fired int
	tiers []nearest // by tier
	after map[int]detectors.Explanation
}

// step is one event that matches the rule's condition.
type step struct {
	record             int // from 0
	time               int64
	kept, late, counts bool
	outside            bool                 // the bounds: it is only needed to run the rule again
	fired, timer       bool                 // timer: it fired as the timer was called that the event set
	heldBack           []detectors.HeldBack // as of the timer that the event set, if that was called
	exception          *rules.Exception     // because of which the rule does not see it; nil: none
	short              detectors.Demand     // what the highest tier whose first demand was met lacked; zero: nothing
}

// nearest records when a tier came nearest to firing.
type nearest struct {
	met     float64 // 0..1, of the demand that is met least
	total   float64 // of all demands
	step    int
	demands []detectors.Demand
}

// New creates an explainer that has read nothing.
func New(o Options) (*Explainer, error) {
	x := &Explainer{o: o, records: &records{most: MostBytes}, mostSteps: mostSteps, cases: map[caseKey]*history{}}
	options := dryrun.Options{Rules: o.Rules, Ingest: o.Ingest, Places: o.Places, Detect: o.Detect, Partitions: o.Partitions, Trace: x.watch}
	if o.Entity.Kind == 0 && o.Only == nil {
		x.survey = newSurvey(x.o.within)
		options.Trace = x.survey.watch
	}
	var err error
	if x.run, err = dryrun.New(options); err != nil {
		return nil, err
	}
	if x.reader, err = ingest.NewReader(o.Ingest, dryrun.PlacesOr(o.Places)); err != nil {
		return nil, err
	}
	return x, nil
}

// mostSteps limits the events that are kept of one rule and one of its entities. Later
// ones are only counted.
const mostSteps = 50_000

// mostUnread limits the unreadable records that are shown.
const mostUnread = 3

// Record reads the next record.
func (x *Explainer) Record(record []byte) error {
	if err := x.records.add(record); err != nil {
		return err
	}
	return x.take(record)
}

// take runs the next record.
func (x *Explainer) take(record []byte) error {
	n := len(x.watermarks) + 1
	outcome, e, refusal, err := x.run.Record(record)
	if err != nil {
		return fmt.Errorf("record %d: %w", n, err)
	}
	x.watermarks = append(x.watermarks, x.run.Watermark())
	x.outcomes[outcome]++
	switch {
	case outcome == ingest.Dead:
		if len(x.unread) < mostUnread {
			x.unread = append(x.unread, try.Refused(n, bytes.Clone(record), refusal))
		}
	case e != nil:
		x.see(e)
	}
	return nil
}

// mostOthers limits the entities that are named if the requested one does not
// occur.
const mostOthers = 5

// see records an event, however rules handle it.
func (x *Explainer) see(e *event.Event) {
	if t := e.Num(event.Time); x.first == 0 || t < x.first {
		x.first = t
	}
	if x.o.Entity.Kind == 0 {
		return
	}
	entity, ok := facet.EntityOf(x.o.Entity.Kind, e, nil)
	switch {
	case !ok:
	case entity.Key == x.o.Entity.Key:
		x.about++
		for f := range x.given {
			x.given[f] = x.given[f] || e.Has(event.Field(f))
		}
	case len(x.others) < mostOthers && !slices.Contains(x.others, entity.Key):
		x.others = append(x.others, strings.Clone(entity.Key))
	}
}

// watch records how a rule handled an event.
func (x *Explainer) watch(t engine.Trace) {
	if x.o.Entity.Kind != 0 && (t.Entity.Kind != x.o.Entity.Kind || t.Entity.Key != x.o.Entity.Key) {
		return
	}
	if x.o.Only != nil && !x.o.Only(t.Rule.ID, t.Entity) {
		return
	}
	h := x.cases[caseKey{t.Rule.ID, t.Entity}]
	if h == nil {
		e := cloned(t.Entity)
		h = &history{rule: t.Rule, entity: e, most: x.mostSteps, shown: x.o.within, after: map[int]detectors.Explanation{}}
		x.cases[caseKey{t.Rule.ID, e}] = h
		x.order = append(x.order, h)
	}
	h.see(t)
}

// judged records what a timer made of the rule, with the event that set it.
func (h *history) judged(t engine.Trace) {
	at, found := slices.BinarySearchFunc(h.steps, int(t.Offset), func(s step, record int) int { return s.record - record })
	if !found { // its step was only counted
		if t.Fired && h.shown(t.Time) {
			h.fired++
		}
		return
	}
	s := &h.steps[at]
	if t.Fired && !s.outside {
		h.fired++
	}
	if !t.Fired {
		if !s.fired && s.kept && !s.late {
			s.heldBack = t.Explain().HeldBack
		}
		return
	}
	s.fired, s.timer, s.heldBack, s.short = true, true, nil, detectors.Demand{}
	h.after[at] = t.Explain()
}

func (h *history) see(t engine.Trace) {
	if t.Timer {
		h.judged(t)
		return
	}
	outside := !h.shown(t.Time)
	if outside {
		h.beyond++
	} else if t.Fired {
		h.fired++
	}
	if h.seen++; h.seen > h.most {
		return
	}
	s := step{record: int(t.Offset), time: t.Time, kept: t.Kept, late: t.Late, counts: t.Counts, outside: outside, fired: t.Fired}
	if t.Exception >= 0 {
		s.exception = &t.Rule.Exceptions[t.Exception]
	}
	after := t.Explain()
	at := len(h.steps)
	if t.Fired {
		h.after[at] = after
	}
	if t.Kept && !t.Late && !outside {
		for _, of := range byTier(after.Demands) {
			h.near(at, of)
			if of[0].Met() && t.Counts && !t.Fired {
				s.short = firstShort(of)
			}
		}
		if !t.Fired {
			s.heldBack = after.HeldBack
		}
	}
	h.steps = append(h.steps, s)
}

// byTier groups demands by tier, in the order of tiers.
func byTier(demands []detectors.Demand) (all [][]detectors.Demand) {
	for _, d := range demands {
		for len(all) <= d.Tier {
			all = append(all, nil)
		}
		all[d.Tier] = append(all[d.Tier], d)
	}
	return slices.DeleteFunc(all, func(of []detectors.Demand) bool { return len(of) == 0 })
}

// firstShort returns the first unmet demand; zero if all are met.
func firstShort(of []detectors.Demand) detectors.Demand {
	for _, d := range of {
		if !d.Met() {
			return d
		}
	}
	return detectors.Demand{}
}

// near keeps the demands of a tier at a step, if it came nearer to firing than ever
// before.
func (h *history) near(step int, demands []detectors.Demand) {
	tier := demands[0].Tier
	for len(h.tiers) <= tier {
		h.tiers = append(h.tiers, nearest{met: -1})
	}
	n := nearest{step: step, demands: demands}
	n.met, n.total = parts(demands)
	if best := &h.tiers[tier]; n.met > best.met || n.met == best.met && n.total > best.total {
		*best = n
	}
}

// parts returns how much is met of the demand that is met least (0..1), and the sum over
// all demands.
func parts(demands []detectors.Demand) (least, total float64) {
	least = 1
	for _, d := range demands {
		part := 1.0
		if !d.Met() {
			part = float64(d.Have) / float64(d.Need)
		}
		least, total = min(least, part), total+part
	}
	return least, total
}

// event decodes a record again. It is valid until the next call.
func (x *Explainer) event(record int) (*event.Event, error) {
	text, err := x.records.at(record)
	if err != nil {
		return nil, err
	}
	e := new(event.Event)
	if _, err := x.reader.Read(0, &kafka.Record{Offset: int64(record), Value: text}, e); err != nil {
		return nil, fmt.Errorf("record %d: %w", record+1, err) // it was read before
	}
	return e, nil
}

// ErrNoEvents means that no record is an event.
var ErrNoEvents = errors.New("no record is an event")

// ParseEntity reads kind:key, in any form that the key of the entity may have.
func ParseEntity(text string) (rules.Subject, error) {
	s, ok := rules.ParseSubject(text)
	if !ok {
		var kinds []string
		for _, k := range facet.Kinds() {
			kinds = append(kinds, k.String())
		}
		return s, fmt.Errorf("%q names no entity: write its kind, a colon and its key, such as account:ann or ip:203.0.113.9; kinds are %s", text, strings.Join(kinds, ", "))
	}
	key, _, ok := facet.KeyOf(s.Kind, s.Key)
	if !ok {
		return s, fmt.Errorf("%q is no key of kind %s", s.Key, s.Kind)
	}
	s.Key = key
	return s, nil
}
