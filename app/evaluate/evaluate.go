// Package evaluate measures rules on traffic with known truth: which campaigns they
// find and how soon, which innocents they accuse, and what they cost. The events
// run through the code of both stages, as in package dryrun, and the gate's policy
// turns scores into actions.
package evaluate

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Candidate is a set of rules to measure.
type Candidate struct {
	Name  string
	Rules *rules.Set
}

// Source passes records to emit in order of arrival, and returns the truth about
// them. It ends with the first error of emit. A record is only valid during the
// call.
type Source func(emit func(record []byte) error) (*traffic.Truth, error)

// Options configure an evaluation.
type Options struct {
	Candidates []Candidate
	Source     Source
	Ingest     ingest.Config
	Places     ingest.Places // nil: no geographic data
	Detect     engine.Config
	Policy     string        // policy file of the gate, whose last policy is used; "": the built-in one
	Partitions int           // of the facet log
	Grace      time.Duration // how long a signal about an entity counts as right after the entity's last event in a campaign

	// Given is the truth that the source returns, if it is known before; its entities
	// are looked for in the events, and the report names those that none has. nil:
	// nothing is looked for.
	Given *traffic.Truth

	Progress func(events int64, latest time.Time) // called now and then with the progress in event time; may be nil
}

// Defaults returns the options of an installation without settings.
func Defaults() Options {
	return Options{
		Ingest: ingest.Defaults(), Detect: engine.Defaults(), Partitions: 8, Grace: 6 * time.Hour,
	}
}

// Generated returns the traffic of a configuration as a source.
func Generated(c traffic.Config) Source {
	return func(emit func([]byte) error) (*traffic.Truth, error) {
		var record []byte
		return traffic.Run(c, func(e *event.Event, _ int) error {
			record = e.AppendJSON(record[:0])
			return emit(record)
		})
	}
}

// How records are passed on, and how many of them go through the engine together:
// those of one short period, so that time passes for rules as in live traffic.
const (
	chunkRecords = 2048
	mostTogether = 512
	together     = int64(1000) // ms of event time
)

// chunk holds consecutive records.
type chunk struct {
	bytes []byte
	ends  []int
}

// outcome is the result of a source.
type outcome struct {
	truth *traffic.Truth
	err   error
}

// ErrNoEvents means that no record was an event.
var ErrNoEvents = errors.New("no record is an event")

// Run measures all candidates on the same events.
func Run(ctx context.Context, o Options) (*Report, error) {
	if len(o.Candidates) == 0 || o.Source == nil {
		return nil, errors.New("evaluate: there are no rules, or no events, to measure")
	}
	var trials []*trial
	for _, c := range o.Candidates {
		t, err := newTrial(o, c)
		if err != nil {
			return nil, err
		}
		trials = append(trials, t)
	}
	trials[0].lookout = newLookout(o.Given)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks, done := make(chan *chunk, 4), make(chan outcome, 1)
	go func() {
		defer close(chunks)
		truth, err := produce(ctx, o.Source, chunks)
		done <- outcome{truth, err}
	}()
	runtime.LockOSThread() // cpuTime measures the thread
	defer runtime.UnlockOSThread()
	for c := range chunks {
		for _, t := range trials {
			if err := t.take(c); err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
		}
		if first := trials[0]; o.Progress != nil && first.accepted > 0 {
			o.Progress(first.accepted, time.UnixMilli(first.run.Latest()))
		}
	}
	got := <-done
	if got.err != nil {
		return nil, got.err
	}
	for _, t := range trials {
		if err := t.end(); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	if trials[0].accepted == 0 {
		return nil, ErrNoEvents
	}
	return report(o, got.truth, trials), nil
}

// produce writes the records of a source to chunks.
func produce(ctx context.Context, source Source, to chan<- *chunk) (*traffic.Truth, error) {
	c := &chunk{}
	flush := func() error {
		select {
		case to <- c:
			c = &chunk{bytes: make([]byte, 0, len(c.bytes)+len(c.bytes)/8)}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	truth, err := source(func(record []byte) error {
		c.bytes = append(c.bytes, record...)
		if c.ends = append(c.ends, len(c.bytes)); len(c.ends) < chunkRecords {
			return nil
		}
		return flush()
	})
	if err != nil {
		return nil, err
	}
	return truth, flush()
}

// trial is a run of one set of rules.
type trial struct {
	name  string
	set   *rules.Set
	run   *dryrun.Run
	grace time.Duration

	counts   [ingest.Accepted + 1]int64
	accepted int64
	first    int64 // event time, Unix ms
	waiting  int   // records
	since    int64 // event time of the first one
	reading  time.Duration
	applying time.Duration
	lookout  *lookout // nil: nothing is looked for

	matching map[string]int64 // events that meet the condition, by rule
	writes   int64            // requests that change something, by their method
	classed  int64            // those of them whose route has a class

	policy  *policy.Policy
	signals []signal
	acts    map[facet.Entity][]act
}

// signal holds the kept fields of a signal.
type signal struct {
	rule   string
	phase  rules.Phase
	entity facet.Entity
	weight uint8
	time   int64   // Unix ms
	events []int64 // times (Unix ms) of the entity's own events that the signal names as evidence
}

// act is a change of the gate's action for an entity.
type act struct {
	time     int64 // Unix ms
	action   policy.Action
	enforced policy.Action // with only the rules in phase enforce
	rules    []string      // those that contribute most to the score, the first most
}

// mostRulesOfAct limits the rules that are kept of an action.
const mostRulesOfAct = 3

func newTrial(o Options, c Candidate) (*trial, error) {
	policies, err := policy.Load(o.Policy, c.Rules)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	t := &trial{name: c.Name, set: c.Rules, policy: policies.Last(), grace: o.Grace, acts: map[facet.Entity][]act{}, matching: map[string]int64{}}
	t.run, err = dryrun.New(dryrun.Options{
		Rules: c.Rules, Ingest: o.Ingest, Places: o.Places, Detect: o.Detect, Partitions: o.Partitions, Output: t.hear, Trace: t.match,
	})
	return t, err
}

// take processes the records of a chunk.
func (t *trial) take(c *chunk) error {
	begun, from := cpuTime(), 0
	for _, end := range c.ends {
		what, e, _ := t.run.Take(c.bytes[from:end])
		from = end
		t.counts[what]++
		if what != ingest.Accepted {
			continue
		}
		at := e.Num(event.Time)
		if t.accepted++; t.accepted == 1 {
			t.first = at
		}
		if t.lookout != nil {
			paused := cpuTime() // looking is no cost of rules
			t.lookout.see(e)
			begun += cpuTime() - paused
		}
		t.countWrite(e)
		if t.waiting++; t.waiting == 1 {
			t.since = at
		}
		if t.waiting < mostTogether && at-t.since < together {
			continue
		}
		t.waiting = 0
		read := cpuTime()
		if err := t.run.Apply(); err != nil {
			return err
		}
		applied := cpuTime()
		t.reading, t.applying, begun = t.reading+read-begun, t.applying+applied-read, applied
	}
	t.reading += cpuTime() - begun
	return nil
}

func (t *trial) countWrite(e *event.Event) {
	switch e.Text(event.Method) {
	case "POST", "PUT", "PATCH", "DELETE":
		t.writes++
		if t.set.RouteClass(e) != "" {
			t.classed++
		}
	}
}

// end advances time until nothing is pending.
func (t *trial) end() error {
	if t.accepted == 0 {
		return nil
	}
	if err := t.run.Apply(); err != nil {
		return err
	}
	return t.run.Pass(t.run.Latest() + t.grace.Milliseconds())
}

// ownEvents returns the times of the events that a signal names as evidence. A signal
// to a member of a group names the group's, which may be other people's: none.
func ownEvents(s *score.Signal) (times []int64) {
	if s.Group.Kind != 0 {
		return nil
	}
	for _, v := range s.Evidence {
		if v.Kind == facet.EventEvidence {
			times = append(times, v.Values[2])
		}
	}
	return times
}

// sameAction is the minimum time after which an unchanged action is recorded again.
const sameAction = int64(10 * 60 * 1000) // ms

// match counts an event that meets a rule's condition.
func (t *trial) match(one engine.Trace) {
	if !one.Timer {
		t.matching[one.Rule.ID]++
	}
}

// hear records the output of the engine.
func (t *trial) hear(out *engine.Output) {
	for i := range out.Signals {
		s := &out.Signals[i]
		if s.Lowers || s.Clears {
			continue
		}
		t.signals = append(t.signals, signal{s.Rule, s.Phase, s.Entity, s.Weight, s.Time, ownEvents(s)})
	}
	for i := range out.Updates {
		u := &out.Updates[i]
		now := int64(0)
		for _, c := range u.Contributions {
			now = max(now, c.Time)
		}
		var risk policy.Risk
		risk.Add(u.Contributions, now)
		o := t.policy.Decide(&risk, policy.Knowledge{Whole: true}, rules.Enforce)
		a := act{now, o.Action, min(t.policy.Enforced(&risk), policy.Limit(o.Phase)), nil}
		if a.action < policy.Throttle {
			continue
		}
		before := t.acts[u.Entity]
		if n := len(before); n > 0 && before[n-1].action == a.action && before[n-1].enforced == a.enforced && now-before[n-1].time < sameAction {
			continue
		}
		for _, r := range score.Top(u.Contributions, now, mostRulesOfAct) {
			a.rules = append(a.rules, r.Rule)
		}
		t.acts[u.Entity] = append(before, a)
	}
}
