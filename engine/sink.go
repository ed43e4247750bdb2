package engine

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/score"
)

// Sink takes the outputs of one facet partition, in the order of its records. One
// goroutine, the partition's owner, calls it, and closes it at the end.
type Sink interface {
	// Write takes the output of the record at offset, and copies what it keeps. It
	// blocks while the sink is behind, until ctx ends. It is not called for records
	// without output.
	Write(ctx context.Context, offset int64, out *Output) error
	// Flush follows the last record of a fetch: the sink writes what it has
	// gathered.
	Flush(ctx context.Context) error
	// Stored returns an offset below which everything written is acknowledged;
	// math.MaxInt64 if all of it is.
	Stored() int64
	// Drain returns when everything written is acknowledged.
	Drain(ctx context.Context) error
	// Close means that nothing more is written.
	Close()
}

// Mirror is a sink that holds the current score of every live entity. It gets all
// of them when a partition is taken over, and whenever it has lost some.
type Mirror interface {
	Sink
	// Put stores u. It blocks while the sink is behind, until ctx ends.
	Put(ctx context.Context, offset int64, u score.Update) error
	// Forgotten reports, once per loss, that the sink lost acknowledged data.
	Forgotten() bool
}

// SinkOpener creates the sinks of one kind.
type SinkOpener struct {
	Name string // in errors
	Open func(partition int32) Sink
}

// SignalTrack stores the signals of one facet partition, in order of offset.
type SignalTrack interface {
	// Append copies sig. It blocks while the store is behind, until ctx ends.
	Append(ctx context.Context, offset int64, sig *score.Signal) error
	// Stored returns an offset below which every appended signal is acknowledged.
	Stored() int64
	// Drain returns when everything appended is acknowledged.
	Drain(ctx context.Context) error
}

// ScoreTrack stores the scores of the entities of one facet partition. Only the
// latest score of an entity counts.
type ScoreTrack interface {
	// Put stores u. It blocks while the store is behind, until ctx ends.
	Put(ctx context.Context, offset int64, u score.Update) error
	// Stored returns an offset below which every score is acknowledged.
	Stored() int64
	// Drain returns when every score is acknowledged.
	Drain(ctx context.Context) error
	// Forgotten reports, once per loss, that the store lost acknowledged data.
	Forgotten() bool
	// Close means that nothing more is put.
	Close()
}

// SignalSink stores the signals of live rules.
func SignalSink(t SignalTrack) Sink { return signalSink{t} }

// ShadowSink stores the signals of shadow rules.
func ShadowSink(t SignalTrack) Sink { return shadowSink{signalSink{t}} }

// ScoreSink stores scores. It is a [Mirror].
func ScoreSink(t ScoreTrack) Sink { return scoreSink{t} }

type signalSink struct{ SignalTrack }

func (s signalSink) Write(ctx context.Context, offset int64, out *Output) error {
	return s.append(ctx, offset, out.Signals)
}

func (s signalSink) append(ctx context.Context, offset int64, signals []score.Signal) error {
	for i := range signals {
		if err := s.Append(ctx, offset, &signals[i]); err != nil {
			return err
		}
	}
	return nil
}

func (signalSink) Flush(context.Context) error { return nil }
func (signalSink) Close()                      {}

type shadowSink struct{ signalSink }

func (s shadowSink) Write(ctx context.Context, offset int64, out *Output) error {
	return s.append(ctx, offset, out.Shadow)
}

type scoreSink struct{ ScoreTrack }

func (s scoreSink) Write(ctx context.Context, offset int64, out *Output) error {
	for _, u := range out.Updates {
		if err := s.Put(ctx, offset, u); err != nil {
			return err
		}
	}
	return nil
}

func (scoreSink) Flush(context.Context) error { return nil }

// outlets are the open sinks of one partition.
type outlets struct {
	sinks   []outlet
	mirrors []Mirror // those of sinks that are such
}

type outlet struct {
	Sink
	name string
}

// open adds a sink. It reports the sink's waits to the owner's loop, as
// kafka.Watched does for Kafka.
func (o *outlets) open(by SinkOpener, partition int32, loop *watch.Loop) {
	s := by.Open(partition)
	o.sinks = append(o.sinks, outlet{watchedSink{s, loop}, by.Name})
	if m, ok := s.(Mirror); ok {
		o.mirrors = append(o.mirrors, watchedMirror{m, loop})
	}
}

// write gives every sink the output of the record at offset.
func (o *outlets) write(ctx context.Context, offset int64, out *Output) error {
	if out.empty() {
		return nil
	}
	for i := range o.sinks {
		if err := o.sinks[i].Write(ctx, offset, out); err != nil {
			return fmt.Errorf("%s: %w", o.sinks[i].name, err)
		}
	}
	return nil
}

// flush flushes every sink, even if one fails.
func (o *outlets) flush(ctx context.Context) error {
	var errs []error
	for i := range o.sinks {
		if err := o.sinks[i].Flush(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o.sinks[i].name, err))
		}
	}
	return errors.Join(errs...)
}

// drain drains every sink, even if one fails.
func (o *outlets) drain(ctx context.Context) error {
	var errs []error
	for i := range o.sinks {
		if err := o.sinks[i].Drain(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o.sinks[i].name, err))
		}
	}
	return errors.Join(errs...)
}

// stored returns the offset below which every sink has acknowledged everything.
func (o *outlets) stored() int64 {
	least := int64(math.MaxInt64)
	for i := range o.sinks {
		least = min(least, o.sinks[i].Stored())
	}
	return least
}

func (o *outlets) close() {
	for i := range o.sinks {
		o.sinks[i].Close()
	}
}

type watchedSink struct {
	Sink
	loop *watch.Loop
}

func (s watchedSink) Write(ctx context.Context, offset int64, out *Output) error {
	s.loop.Waiting()
	defer s.loop.Working()
	return s.Sink.Write(ctx, offset, out)
}

func (s watchedSink) Flush(ctx context.Context) error {
	s.loop.Waiting()
	defer s.loop.Working()
	return s.Sink.Flush(ctx)
}

func (s watchedSink) Drain(ctx context.Context) error {
	s.loop.Waiting()
	defer s.loop.Working()
	return s.Sink.Drain(ctx)
}

type watchedMirror struct {
	Mirror
	loop *watch.Loop
}

func (m watchedMirror) Put(ctx context.Context, offset int64, u score.Update) error {
	m.loop.Waiting()
	defer m.loop.Working()
	return m.Mirror.Put(ctx, offset, u)
}
