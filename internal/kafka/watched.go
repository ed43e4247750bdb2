package kafka

import (
	"context"
	"fmt"

	"github.com/weirdev/weir/internal/watch"
)

// Log is what the owner of a partition needs from Kafka.
type Log interface {
	Fetch(ctx context.Context, topic string, partition int32, offset int64, b *Batch) error
	Produce(ctx context.Context, topic string, ps []Produce) error
	Offsets(ctx context.Context, topic string) ([]OffsetRange, error)
	Committed(ctx context.Context, group, topic string) ([]Commit, error)
	Partitions(ctx context.Context, topic string) (int, error)
	Join(ctx context.Context, group, topic string, own func(ctx context.Context, l *Lease) error) error
}

// Reader is a Log whose owner passes over records that cannot be read.
type Reader interface {
	Log
	NextReadable(ctx context.Context, topic string, partition int32, offset int64) (int64, error)
}

// WatchedReader is a Reader that reports waits, as Watched does.
type WatchedReader struct {
	Watched
	reader Reader
}

// NewWatchedReader returns a reader that reports its waits to a loop.
func NewWatchedReader(r Reader, loop *watch.Loop) WatchedReader {
	return WatchedReader{Watched{r, loop}, r}
}

// NextReadable implements Reader.
func (w WatchedReader) NextReadable(ctx context.Context, topic string, partition int32, offset int64) (int64, error) {
	w.Loop.Waiting()
	defer w.Loop.Working()
	return w.reader.NextReadable(ctx, topic, partition, offset)
}

// Watched is a Log that reports waits for Kafka to a loop: they last as long as an
// outage there, and do not mean that the loop hangs.
type Watched struct {
	Log
	Loop *watch.Loop
}

// Fetch implements Log.
func (w Watched) Fetch(ctx context.Context, topic string, partition int32, offset int64, b *Batch) error {
	w.Loop.Waiting()
	defer w.Loop.Working()
	return w.Log.Fetch(ctx, topic, partition, offset, b)
}

// Produce implements Log.
func (w Watched) Produce(ctx context.Context, topic string, ps []Produce) error {
	w.Loop.Waiting()
	defer w.Loop.Working()
	return w.Log.Produce(ctx, topic, ps)
}

// Offsets implements Log.
func (w Watched) Offsets(ctx context.Context, topic string) ([]OffsetRange, error) {
	w.Loop.Waiting()
	defer w.Loop.Working()
	return w.Log.Offsets(ctx, topic)
}

// WatchedCommit wraps a commit so that it reports waits for Kafka to a loop.
func WatchedCommit(loop *watch.Loop, commit func(ctx context.Context, offset int64, metadata string) error) func(context.Context, int64, string) error {
	return func(ctx context.Context, offset int64, metadata string) error {
		loop.Waiting()
		defer loop.Working()
		return commit(ctx, offset, metadata)
	}
}

// Ends says which offsets the partitions of a topic hold.
type Ends interface {
	Offsets(ctx context.Context, topic string) ([]OffsetRange, error)
}

// Extent returns the offsets that a partition of a topic holds.
func Extent(ctx context.Context, l Ends, topic string, partition int32) (OffsetRange, error) {
	ranges, err := l.Offsets(ctx, topic)
	if err != nil {
		return OffsetRange{}, fmt.Errorf("offsets of %s: %w", topic, err)
	}
	if int(partition) >= len(ranges) {
		return OffsetRange{}, fmt.Errorf("%s has %d partitions, not %d", topic, len(ranges), partition+1)
	}
	return ranges[partition], nil
}
