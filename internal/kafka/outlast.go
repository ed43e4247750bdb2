package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Outlast returns a context that ends d after ctx does. It is for work that an
// owner has begun when its context ends: an interrupted write would be neither done
// nor not done, and nothing could safely follow it. If ctx ends because the
// partition is no longer ours (the cause is an [ErrFenced]), it ends at once,
// because nothing follows.
func Outlast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if Fenced(ctx) {
			cancel(context.Cause(ctx))
			return
		}
		time.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	})
	return out, func() {
		stop()
		cancel(context.Canceled)
	}
}

// Turns runs an owner: turn until ctx ends, and then drain, which has another d to
// complete and commit what turns began. Nothing follows a turn that fails: only reading
// again from the last commit leaves no gap. Nor is there a drain if the partition is no
// longer ours, because nothing that begins then would count.
func Turns(ctx context.Context, d time.Duration, turn func(ctx, finish context.Context) error, drain func(finish context.Context) error) error {
	finish, cancel := Outlast(ctx, d)
	defer cancel()
	for ctx.Err() == nil {
		if err := turn(ctx, finish); err != nil {
			return err
		}
	}
	if Fenced(ctx) {
		return context.Cause(ctx)
	}
	if err := drain(finish); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	return nil
}

// Fenced reports whether ctx has ended because the partition is no longer ours.
func Fenced(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrFenced)
}
