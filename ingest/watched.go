package ingest

import (
	"context"

	"github.com/weirdev/weir/control"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/watch"
)

// watchedEvents reports waits to an owner's loop, as kafka.Watched does.
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

// watchedControls does the same for control records.
type watchedControls struct {
	ControlTrack
	loop *watch.Loop
}

func (t watchedControls) Append(ctx context.Context, offset int64, owner uint64, received int64, c *control.Record) error {
	t.loop.Waiting()
	defer t.loop.Working()
	return t.ControlTrack.Append(ctx, offset, owner, received, c)
}

func (t watchedControls) Drain(ctx context.Context) error {
	t.loop.Waiting()
	defer t.loop.Working()
	return t.ControlTrack.Drain(ctx)
}

// watchedDead does the same for dead letters.
type watchedDead struct {
	DeadTrack
	loop *watch.Loop
}

func (t watchedDead) Append(ctx context.Context, owner uint64, received int64, l *event.DeadLetter) error {
	t.loop.Waiting()
	defer t.loop.Working()
	return t.DeadTrack.Append(ctx, owner, received, l)
}

func (t watchedDead) Drain(ctx context.Context) error {
	t.loop.Waiting()
	defer t.loop.Working()
	return t.DeadTrack.Drain(ctx)
}
