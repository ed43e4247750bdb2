package retry

import (
	"context"
	"time"
)

// Backoff computes the pauses between consecutive failures: First, then each twice
// the last, up to Most. Each is shortened by up to half, so that clients that
// failed together do not come back together. One goroutine uses it.
type Backoff struct {
	First, Most time.Duration

	last time.Duration // 0: nothing has failed yet
}

// Wait pauses before the next attempt. It reports false if ctx ended first.
func (b *Backoff) Wait(ctx context.Context) bool {
	b.last = min(max(2*b.last, b.First), b.Most)
	return Sleep(ctx, Jitter(b.last))
}

// Reset starts the pauses again, after a success.
func (b *Backoff) Reset() { b.last = 0 }

// Jitter returns a duration from half of d to d. The clock's nanoseconds select it:
// they differ between machines, and with a virtual clock a run is reproducible.
func Jitter(d time.Duration) time.Duration {
	x := uint64(time.Now().UnixNano())
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return d - time.Duration((x^x>>31)%uint64(d/2+1))
}

// Sleep waits for d. It reports false if ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
