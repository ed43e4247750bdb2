// Package breaker keeps requests from waiting for a store that is known to be down.
package breaker

import (
	"sync"
	"time"
)

// Breaker refuses for a while after some failures in a row, then lets one request
// try. It is safe for concurrent use.
type Breaker struct {
	failures int // consecutive failures that open it
	pause    time.Duration
	now      func() time.Time

	mu      sync.Mutex
	row     int // failures so far
	until   time.Time
	probing bool // one request is trying
}

// New creates a breaker that opens after failures in a row, for pause.
func New(failures int, pause time.Duration, now func() time.Time) *Breaker {
	return &Breaker{failures: failures, pause: pause, now: now}
}

// Outcome is the outcome of a request that the breaker allowed.
type Outcome uint8

// Outcomes.
const (
	Succeeded Outcome = iota
	Failed
	Abandoned // says nothing about the store: the caller went away
)

// Allow reports whether to try. If it returns true, the caller must call Done.
func (b *Breaker) Allow() bool {
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

// Open returns 1 while requests do not wait for the store, 0 otherwise.
func (b *Breaker) Open() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.row < b.failures {
		return 0
	}
	return 1
}

// Done reports the outcome of a request that was allowed.
func (b *Breaker) Done(o Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch o {
	case Succeeded:
		b.row = 0
	case Failed:
		b.row = min(b.row+1, b.failures)
		b.until = b.now().Add(b.pause)
	}
}
