package kafka

import (
	"context"

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
