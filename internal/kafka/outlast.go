package kafka

import (
	"context"
	"errors"
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

// Fenced reports whether ctx has ended because the partition is no longer ours.
func Fenced(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrFenced)
}
