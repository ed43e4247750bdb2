// Package dryrun takes events through both stages' code without a server: ingest's,
// which decodes and completes records and makes facets of them, and the engine's,
// which applies facets and loop-back frames. Tests of rules, explanations and
// stories run on it.
//
// It has one raw partition, and believes the times of events. What Kafka, several
// workers and their faults do to this is not its subject; the simulation is for
// that.
package dryrun

import (
	"fmt"
	"math"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Options say what runs.
type Options struct {
	Rules      *rules.Set
	Ingest     ingest.Config
	Places     ingest.Places      // nil: nothing is known of addresses
	Detect     engine.Config      // of which the numbers of partitions are not read
	Partitions int                // facet partitions; 0: one
	Amend      func(*event.Event) // see [ingest.NewOffline]; may be nil
	Trace      func(engine.Trace) // is shown what rules make of facets; may be nil

	// Output is shown what each record of the facet log brings forth, and keeps
	// nothing of it beyond the call; nil: it is kept in the run.
	Output func(*engine.Output)
}

// Defaults are the options of workers without settings.
func Defaults(set *rules.Set) Options {
	return Options{Rules: set, Ingest: ingest.Defaults(), Detect: engine.Defaults()}
}

// Hasher is the hasher of every dry run, under no secret.
func Hasher() facet.Hasher { return facet.NewHasher([16]byte{}) }

// Run is both stages. One goroutine uses it.
type Run struct {
	ingest *ingest.Offline
	parts  []*part
	latest int64 // event time
	output func(*engine.Output)

	Signals []score.Signal // in the order in which they were given
	scores  map[facet.Entity]score.Update
}

// part is a facet partition.
type part struct {
	engine *engine.Partition
	next   int64 // offset of the next record of its log
}

// New makes a run that has seen nothing.
func New(o Options) (*Run, error) {
	partitions := max(o.Partitions, 1)
	in, err := ingest.NewOffline(o.Ingest, PlacesOr(o.Places), o.Rules.Projection(), Hasher(), partitions, o.Amend)
	if err != nil {
		return nil, err
	}
	r := &Run{ingest: in, latest: math.MinInt64, output: o.Output, scores: map[facet.Entity]score.Update{}}
	if r.output == nil {
		r.output = r.keep
	}
	o.Detect.Sources, o.Detect.Partitions = 1, partitions
	for id := range partitions {
		p, err := engine.NewPartition(o.Detect, o.Rules, Hasher(), int32(id), 1)
		if err != nil {
			return nil, err
		}
		p.Trace(o.Trace)
		r.parts = append(r.parts, &part{engine: p})
	}
	return r, nil
}

// Record takes one record through both stages. The event is valid until the next
// record, and nil where the record became none; then refusal says why, unless its
// gateway had sent it before.
func (r *Run) Record(value []byte) (o ingest.Outcome, e *event.Event, refusal, err error) {
	o, e, refusal = r.Take(value)
	return o, e, refusal, r.Apply()
}

// Take is [Run.Record] without the engine: the facets wait for [Run.Apply], which
// takes those of many records together, as a worker does.
func (r *Run) Take(value []byte) (o ingest.Outcome, e *event.Event, refusal error) {
	o, e, refusal = r.ingest.Take(value)
	if o == ingest.Accepted {
		r.latest = max(r.latest, e.Num(event.Time))
	}
	return o, e, refusal
}

// Apply takes the facets of the records since the last call through the engine.
func (r *Run) Apply() error { return r.ingest.Frames(r.apply) }

// Pass lets time pass until t (Unix ms) without a record, so that what waits for it
// happens.
func (r *Run) Pass(t int64) error {
	r.ingest.Pass(t)
	return r.Apply()
}

// State is how many entities have state, and how many bytes hold it.
func (r *Run) State() (entities, bytes int) {
	for _, p := range r.parts {
		entities += p.engine.Entities()
		bytes += p.engine.Bytes()
	}
	return entities, bytes
}

// Watermark is the event time (Unix ms) up to which the records were read.
func (r *Run) Watermark() int64 { return r.ingest.Watermark() }

// apply appends a record to the log of a facet partition and applies it, and what
// it says to others.
func (r *Run) apply(partition int32, frame []byte) error {
	var out engine.Output
	p := r.parts[partition]
	if err := p.engine.Apply(p.next, frame, &out); err != nil {
		return fmt.Errorf("facet partition %d: %w", partition, err)
	}
	p.next++
	r.output(&out)
	for _, l := range out.Loopback {
		if err := r.apply(l.To, l.Frame); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) keep(out *engine.Output) {
	r.Signals = append(r.Signals, out.Signals...)
	for _, u := range out.Updates {
		r.scores[u.Entity] = u
	}
}

// Latest is the latest event time (Unix ms); math.MinInt64 where there was no event.
func (r *Run) Latest() int64 { return r.latest }

// Scored lists the entities that have had a score, in no order.
func (r *Run) Scored() (all []facet.Entity) {
	for e := range r.scores {
		all = append(all, e)
	}
	return all
}

// Score is what an entity's score is made of.
func (r *Run) Score(e facet.Entity) []score.Contribution { return r.scores[e].Contributions }

// PlacesOr is p, or what knows no address where p is nil.
func PlacesOr(p ingest.Places) ingest.Places {
	if p == nil {
		return geo.Nowhere{}
	}
	return p
}
