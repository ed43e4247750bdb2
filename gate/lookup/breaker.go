package lookup

import (
	"sync"
	"time"
)

// breaker keeps requests from waiting for a store that is known to be down. After
// some failures in a row it refuses for a while, then lets one request try.
type breaker struct {
	failures int // consecutive failures that open it
	pause    time.Duration
	now      func() time.Time

	mu      sync.Mutex
	row     int // failures so far
	until   time.Time
	probing bool // one request is trying
}

// outcome is the outcome of a look-up that the breaker admitted.
type outcome uint8

const (
	succeeded outcome = iota
	failed
	abandoned // says nothing about the store: the caller went away
)

// allow reports whether to try. If it returns true, the caller must call done.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.row < b.failures {
		return true
	}
	if b.probing || b.now().Before(b.until) {
		return false
	}
	b.probing = true
	return true
}

// open returns 1 while requests do not wait for the store, 0 otherwise.
func (b *breaker) open() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.row < b.failures {
		return 0
	}
	return 1
}

func (b *breaker) done(o outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch o {
	case succeeded:
		b.row = 0
	case failed:
		b.row = min(b.row+1, b.failures)
		b.until = b.now().Add(b.pause)
	}
}
