package ingest

import (
	"context"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
)

// The watched types report waits to an owner's loop, as kafka.Watched does.

type watchedLog struct {
	kafka.Watched
	log Log
}

func (l watchedLog) NextReadable(ctx context.Context, topic string, partition int32, offset int64) (int64, error) {
	l.Loop.Waiting()
	defer l.Loop.Working()
	return l.log.NextReadable(ctx, topic, partition, offset)
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
