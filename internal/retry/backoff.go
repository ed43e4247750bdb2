package retry

import (
	"context"
	"time"
)

// Backoff is the pauses between attempts that fail in a row: First, then each twice
// the last, up to Most. Each is shortened by up to half, so that clients that failed
// together do not come back together. It serves one goroutine.
type Backoff struct {
	First, Most time.Duration

	last time.Duration // 0: nothing has failed yet
}

// Wait pauses before the next attempt. It reports false when ctx ended first.
func (b *Backoff) Wait(ctx context.Context) bool {
	b.last = min(max(2*b.last, b.First), b.Most)
	return Sleep(ctx, Jitter(b.last))
}

// Reset makes the next pause the first again, because an attempt succeeded.
func (b *Backoff) Reset() { b.last = 0 }

// Jitter is a duration from half of d to d. The clock's nanoseconds choose it: no two
// machines agree in them, and where the clock is virtual a run can be repeated.
func Jitter(d time.Duration) time.Duration {
	x := uint64(time.Now().UnixNano())
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return d - time.Duration((x^x>>31)%uint64(d/2+1))
}

// Sleep waits for d. It reports false when ctx ended first.
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
