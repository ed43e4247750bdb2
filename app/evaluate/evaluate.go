// Package evaluate measures rules on traffic of which the truth is known: which
// campaigns they find, how soon, whom they accuse wrongly, and what they cost. The
// events go through both stages' code, as package dryrun runs it, and the gate's
// policy says what becomes of the scores.
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
)

// Candidate is a set of rules that is measured.
type Candidate struct {
	Name  string
	Rules *rules.Set
}

// Source gives records in the order in which they came, and then the truth about
// them. It ends with the first error of emit. The record is valid only during the
// call.
type Source func(emit func(record []byte) error) (*traffic.Truth, error)

// Options say what is measured, and how.
type Options struct {
	Candidates []Candidate
	Source     Source
	Ingest     ingest.Config
	Places     ingest.Places // nil: nothing is known of addresses
	Detect     engine.Config
	Policy     string        // file of the gate's policies, of which the last one is asked; "": those that are built in
	Partitions int           // of the facet log
	Grace      time.Duration // how long after a campaign's last event of an entity a signal about it is right

	Progress func(events int64, latest time.Time) // hears now and then how far it is, in event time; nil: nobody does
}

// Defaults are the options of an installation without settings.
func Defaults() Options {
	return Options{
		Ingest: ingest.Defaults(), Detect: engine.Defaults(), Partitions: 8, Grace: 6 * time.Hour,
	}
}

// Generated is the traffic of a configuration.
func Generated(c traffic.Config) Source {
	return func(emit func([]byte) error) (*traffic.Truth, error) {
		var record []byte
		return traffic.Run(c, func(e *event.Event, _ int) error {
			record = e.AppendJSON(record[:0])
			return emit(record)
		})
	}
}

// How records are handed on, and how many of them go through the engine together: as
// many as come within a moment, so that time passes for rules as it does live.
const (
	chunkRecords = 2048
	mostTogether = 512
	together     = int64(1000) // ms of event time
)

// chunk is some records, one behind the other.
type chunk struct {
	bytes []byte
	ends  []int
}

// outcome is what a source ended with.
type outcome struct {
	truth *traffic.Truth
	err   error
}

// ErrNoEvents says that no record was an event.
var ErrNoEvents = errors.New("no record is an event")

// Run measures the candidates, all on the same events.
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks, done := make(chan *chunk, 4), make(chan outcome, 1)
	go func() {
		defer close(chunks)
		truth, err := produce(ctx, o.Source, chunks)
		done <- outcome{truth, err}
	}()
	runtime.LockOSThread() // whose time is measured
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

// produce puts the records of a source into chunks.
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

// trial is one set of rules at work.
type trial struct {
	name  string
	set   *rules.Set
	run   *dryrun.Run
	grace time.Duration

	counts   [ingest.Accepted + 1]int64
	accepted int64
	first    int64 // event time, Unix ms
	waiting  int   // records
	since    int64 // event time of the first of them
	reading  time.Duration
	applying time.Duration

	policy  *policy.Policy
	signals []signal
	acts    map[facet.Entity][]act
}

// signal is what is kept of one.
type signal struct {
	rule   string
	phase  rules.Phase
	entity facet.Entity
	weight uint8
	time   int64 // Unix ms
}

// act is a change in what the gate would answer about an entity.
type act struct {
	time     int64 // Unix ms
	action   policy.Action
	enforced policy.Action // by rules in phase enforce alone
}

func newTrial(o Options, c Candidate) (*trial, error) {
	policies, err := policy.Load(o.Policy, c.Rules)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	t := &trial{name: c.Name, set: c.Rules, policy: policies.Last(), grace: o.Grace, acts: map[facet.Entity][]act{}}
	t.run, err = dryrun.New(dryrun.Options{
		Rules: c.Rules, Ingest: o.Ingest, Places: o.Places, Detect: o.Detect, Partitions: o.Partitions, Output: t.hear,
	})
	return t, err
}

// take takes the records of a chunk.
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

// end lets so much time pass that everything which waits for it has happened.
func (t *trial) end() error {
	if t.accepted == 0 {
		return nil
	}
	if err := t.run.Apply(); err != nil {
		return err
	}
	return t.run.Pass(t.run.Latest() + t.grace.Milliseconds())
}

// sameAction is how long an action that stays what it was is not noted again.
const sameAction = int64(10 * 60 * 1000) // ms

// hear takes in what the engine says.
func (t *trial) hear(out *engine.Output) {
	for i := range out.Signals {
		s := &out.Signals[i]
		if s.Lowers || s.Clears {
			continue
		}
		t.signals = append(t.signals, signal{s.Rule, s.Phase, s.Entity, s.Weight, s.Time})
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
		a := act{now, o.Action, min(t.policy.Enforced(&risk), policy.Limit(o.Phase))}
		if a.action < policy.Throttle {
			continue
		}
		before := t.acts[u.Entity]
		if n := len(before); n > 0 && before[n-1].action == a.action && before[n-1].enforced == a.enforced && now-before[n-1].time < sameAction {
			continue
		}
		t.acts[u.Entity] = append(before, a)
	}
}
