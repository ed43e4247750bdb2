package ingest

import (
	"context"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
)

// The watched forms tell a source's loop when it waits for Kafka or for the event
// store: that takes as long as an outage there, and is not the source hanging.

type watchedLog struct {
	Log
	loop *watch.Loop
}

func (l watchedLog) Fetch(ctx context.Context, topic string, partition int32, offset int64, b *kafka.Batch) error {
	l.loop.Waiting()
	defer l.loop.Working()
	return l.Log.Fetch(ctx, topic, partition, offset, b)
}

func (l watchedLog) Produce(ctx context.Context, topic string, ps []kafka.Produce) error {
	l.loop.Waiting()
	defer l.loop.Working()
	return l.Log.Produce(ctx, topic, ps)
}

func (l watchedLog) NextReadable(ctx context.Context, topic string, partition int32, offset int64) (int64, error) {
	l.loop.Waiting()
	defer l.loop.Working()
	return l.Log.NextReadable(ctx, topic, partition, offset)
}

func (l watchedLog) Offsets(ctx context.Context, topic string) ([]kafka.OffsetRange, error) {
	l.loop.Waiting()
	defer l.loop.Working()
	return l.Log.Offsets(ctx, topic)
}

type watchedEvents struct {
	EventTrack
	loop *watch.Loop
}

func (t watchedEvents) Append(ctx context.Context, offset int64, owner uint64, received int64, e *event.Event) error {
	t.loop.Waiting()
	defer t.loop.Working()
	return t.EventTrack.Append(ctx, offset, owner, received, e)
}

func (t watchedEvents) Drain(ctx context.Context) error {
	t.loop.Waiting()
	defer t.loop.Working()
	return t.EventTrack.Drain(ctx)
}
