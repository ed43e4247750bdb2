package klog

import (
	"context"
	"time"
)

// Outlast makes a context that ends d after ctx does: for what serve has begun
// when its context ends. A write that is cut short would be neither done nor
// not done, and nothing could safely follow it.
func Outlast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	})
	return out, func() {
		stop()
		cancel(context.Canceled)
	}
}
