// Package watch detects loops that hang. A partition whose owner makes no progress
// is lost to everybody for as long as its process sends heartbeats, and a goroutine
// cannot be ended from outside.
//
// A loop reports its progress, and when it begins and ends to wait for something
// else. The package ends nothing: [Watch.Run] returns an error, and its caller ends
// the process, so that the group gives the partitions to others.
package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrStuck: a loop neither made progress nor waited for anything.
var ErrStuck = errors.New("a loop is stuck")

// looks is the number of looks at a loop within the limit. Looks are counted, not
// time, so a process that was suspended is not stuck when it resumes.
const looks = 10

// Watch watches loops. A nil Watch does not, nor do its loops.
type Watch struct {
	limit time.Duration

	mu    sync.Mutex
	loops map[*Loop]struct{}
}

// New creates a Watch that considers a loop stuck after limit.
func New(limit time.Duration) (*Watch, error) {
	if limit < looks*time.Millisecond {
		return nil, fmt.Errorf("watch: a limit of %v is too short", limit)
	}
	return &Watch{limit: limit, loops: map[*Loop]struct{}{}}, nil
}

// Loop is one watched loop. Its methods are for the goroutine of the loop, cost a
// few nanoseconds, and do nothing on nil.
type Loop struct {
	w    *Watch
	name string

	beats   atomic.Uint64
	waits   atomic.Uint64 // begun and ended: odd while the loop waits
	silent  int           // looks without a beat; of the watcher, under w.mu
	seen    uint64        // beats at the last look
	waiting uint64        // waits at the last look
}

// Loop begins to watch a loop, which is working. End it with [Loop.Done].
func (w *Watch) Loop(name string) *Loop {
	if w == nil {
		return nil
	}
	l := &Loop{w: w, name: name}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loops[l] = struct{}{}
	return l
}

// Beat reports that the loop made progress, or has nothing to do. Do not call it
// for a turn that should have made progress and did not.
func (l *Loop) Beat() {
	if l != nil {
		l.beats.Add(1)
	}
}

// Waiting reports that the loop begins to wait for something else, such as a broker
// or a store. However long that takes, the loop is not stuck; but a sequence of
// short waits without a beat is no excuse.
func (l *Loop) Waiting() {
	if l != nil {
		l.waits.Add(1)
	}
}

// Working ends what Waiting began.
func (l *Loop) Working() {
	if l != nil {
		l.waits.Add(1)
	}
}

// Done ends the watching of the loop.
func (l *Loop) Done() {
	if l != nil {
		l.w.mu.Lock()
		defer l.w.mu.Unlock()
		delete(l.w.loops, l)
	}
}

// Run watches the loops until ctx ends, and then returns nil, or until one of them
// is stuck, and then returns [ErrStuck] with its name.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(w.limit / looks)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			w.look()
			if names := w.silentFor(looks); len(names) > 0 {
				return fmt.Errorf("%w: no progress for %v: %s", ErrStuck, w.limit, strings.Join(names, ", "))
			}
		}
	}
}

func (w *Watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.loops {
		beats, waits := l.beats.Load(), l.waits.Load()
		sameWait := waits%2 == 1 && waits == l.waiting
		if beats != l.seen || sameWait {
			l.silent = 0
		} else {
			l.silent++
		}
		l.seen, l.waiting = beats, waits
	}
}

// silentFor lists the loops that were silent for n looks in a row.
func (w *Watch) silentFor(n int) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for l := range w.loops {
		if l.silent >= n {
			names = append(names, l.name)
		}
	}
	slices.Sort(names)
	return names
}

// Check reports loops that have been silent for half the limit: for liveness,
// before the end.
func (w *Watch) Check() error {
	if names := w.silentFor(looks / 2); len(names) > 0 {
		return fmt.Errorf("no progress for %v: %s", w.limit/2, strings.Join(names, ", "))
	}
	return nil
}
