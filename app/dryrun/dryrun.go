// Package dryrun runs events through the code of both stages without a server:
// ingest decodes and completes records and makes facets, and the engine applies
// facets and loop-back frames. Tests of rules, explanations and stories use it.
//
// It has one raw partition, and believes the times of events. Kafka, several
// workers and their faults are not its subject; the simulation covers those.
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

// Options configure a run.
type Options struct {
	Rules      *rules.Set
	Ingest     ingest.Config
	Places     ingest.Places      // nil: nothing is known of addresses
	Detect     engine.Config      // of which the numbers of partitions are not read
	Partitions int                // facet partitions; 0: one
	Amend      func(*event.Event) // see [ingest.NewOffline]; may be nil
	Trace      func(engine.Trace) // is shown what rules make of facets; may be nil

	// Output is called with the output of each record of the facet log, which is
	// valid only during the call; nil: the run keeps the output.
	Output func(*engine.Output)
}

// Defaults returns the options of workers without settings.
func Defaults(set *rules.Set) Options {
	return Options{Rules: set, Ingest: ingest.Defaults(), Detect: engine.Defaults()}
}

// Hasher returns the hasher of every dry run, without a secret.
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

// New creates a run that has read nothing.
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
// record. It is nil if the record became none; refusal then says why, unless the
// record was a repeat.
func (r *Run) Record(value []byte) (o ingest.Outcome, e *event.Event, refusal, err error) {
	o, e, refusal = r.Take(value)
	return o, e, refusal, r.Apply()
}

// Take is [Run.Record] without the engine: the facets wait for [Run.Apply], which
// applies those of many records together, as a worker does.
func (r *Run) Take(value []byte) (o ingest.Outcome, e *event.Event, refusal error) {
	o, e, refusal = r.ingest.Take(value)
	if o == ingest.Accepted {
		r.latest = max(r.latest, e.Num(event.Time))
	}
	return o, e, refusal
}

// Apply applies the facets of the records since the last call.
func (r *Run) Apply() error { return r.ingest.Frames(r.apply) }

// Pass advances time to t (Unix ms) without a record, so that timers are called.
func (r *Run) Pass(t int64) error {
	r.ingest.Pass(t)
	return r.Apply()
}

// State returns the number of entities with state, and its bytes.
func (r *Run) State() (entities, bytes int) {
	for _, p := range r.parts {
		entities += p.engine.Entities()
		bytes += p.engine.Bytes()
	}
	return entities, bytes
}

// Watermark returns the event time (Unix ms) up to which records were read.
func (r *Run) Watermark() int64 { return r.ingest.Watermark() }

// apply appends a record to the log of a facet partition and applies it, together
// with its frames for other partitions.
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

// Latest returns the latest event time (Unix ms); math.MinInt64 if there was no
// event.
func (r *Run) Latest() int64 { return r.latest }

// Scored lists the entities that have had a score, in no order.
func (r *Run) Scored() (all []facet.Entity) {
	for e := range r.scores {
		all = append(all, e)
	}
	return all
}

// Score returns the contributions to an entity's score.
func (r *Run) Score(e facet.Entity) []score.Contribution { return r.scores[e].Contributions }

// PlacesOr returns p, or one that knows no address if p is nil.
func PlacesOr(p ingest.Places) ingest.Places {
	if p == nil {
		return geo.Nowhere{}
	}
	return p
}
