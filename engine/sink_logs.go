package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// mostUnsent limits the bytes gathered for a log before they are written in the
// middle of a fetch.
const mostUnsent = 256 << 10

// unsent is the data gathered for a log.
type unsent struct {
	bytes  int
	oldest int64 // offset of the record that brought forth the first of it
}

func (u *unsent) add(offset int64, bytes int) {
	if u.bytes == 0 {
		u.oldest = offset
	}
	u.bytes += bytes
}

// Stored implements [Sink]: produced data is acknowledged.
func (u *unsent) Stored() int64 {
	if u.bytes > 0 {
		return u.oldest
	}
	return math.MaxInt64
}

// loopbackLog writes loop-back frames to the facet log: in order, one produce in
// flight, never skipped. After an error its owner writes nothing more, and the next
// owner produces the frames again.
type loopbackLog struct {
	unsent
	log    kafka.Log
	topic  string
	frames []kafka.Produce      // by facet partition
	chain  map[int32]facet.Step // the last frame written, by facet partition
}

// Write implements [Sink]. It adds each frame to its owner's chain.
func (l *loopbackLog) Write(ctx context.Context, offset int64, out *Output) error {
	for _, f := range out.Loopback {
		facet.Chain(f.Frame, l.chain[f.To])
		l.chain[f.To] = f.Step
		l.add(offset, len(f.Frame))
		l.gather(f)
	}
	if l.bytes < mostUnsent {
		return nil
	}
	return l.Flush(ctx)
}

func (l *loopbackLog) gather(f LoopbackFrame) {
	for i := range l.frames {
		if p := &l.frames[i]; p.Partition == f.To {
			p.Records = append(p.Records, kafka.Outgoing{Value: f.Frame})
			return
		}
	}
	l.frames = append(l.frames, kafka.Produce{Partition: f.To, Records: []kafka.Outgoing{{Value: f.Frame}}})
}

// Flush implements [Sink].
func (l *loopbackLog) Flush(ctx context.Context) error {
	if len(l.frames) == 0 {
		return nil
	}
	if err := l.log.Produce(ctx, l.topic, l.frames); err != nil {
		return err
	}
	clear(l.frames)
	l.frames, l.unsent = l.frames[:0], unsent{}
	return nil
}

// Drain implements [Sink].
func (l *loopbackLog) Drain(ctx context.Context) error { return l.Flush(ctx) }

// Close implements [Sink].
func (l *loopbackLog) Close() {}

// signalLog writes the signals of live rules to their topic, as JSON.
type signalLog struct {
	unsent
	log       kafka.Log
	topic     string
	partition int32 // of the topic
	records   []kafka.Outgoing
}

// Write implements [Sink].
func (l *signalLog) Write(ctx context.Context, offset int64, out *Output) error {
	for i := range out.Signals {
		sig := &out.Signals[i]
		value, err := json.Marshal(sig)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		l.records = append(l.records, kafka.Outgoing{Key: []byte(sig.ID()), Value: value})
		l.add(offset, len(value))
	}
	if l.bytes < mostUnsent {
		return nil
	}
	return l.Flush(ctx)
}

// Flush implements [Sink].
func (l *signalLog) Flush(ctx context.Context) error {
	if len(l.records) == 0 {
		return nil
	}
	if err := l.log.Produce(ctx, l.topic, []kafka.Produce{{Partition: l.partition, Records: l.records}}); err != nil {
		return err
	}
	clear(l.records)
	l.records, l.unsent = l.records[:0], unsent{}
	return nil
}

// Drain implements [Sink].
func (l *signalLog) Drain(ctx context.Context) error { return l.Flush(ctx) }

// Close implements [Sink].
func (l *signalLog) Close() {}
