package redis

import (
	"context"
	"fmt"
	"math"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// Track takes the scores of one facet partition from its owner. It keeps and writes
// only the latest score of an entity. Its methods may be called from several
// goroutines, but Puts in the order of their offsets.
type Track struct {
	w         *Writer
	partition int32
	witness   *witness

	// Below here: guarded by w.mu.
	waiting map[facet.Entity]*entry // not being sent
	marks   marks
	held    int           // entries waiting or being sent
	idle    chan struct{} // closed when held becomes 0; nil while nobody waits
}

// Put queues u, caused by the facet record at offset, to be written as soon as
// possible. It copies what it keeps. It blocks while the buffer is full of other
// entities, until ctx ends. It returns an error for an update that no reader could
// read.
func (t *Track) Put(ctx context.Context, offset int64, u score.Update) error {
	if err := u.Check(); err != nil {
		return fmt.Errorf("redis: put score: %w", err)
	}
	if t.coalesce(&u) {
		return nil
	}
	if err := t.w.reserve(ctx); err != nil {
		return err
	}
	t.add(offset, &u)
	return nil
}

// coalesce replaces a queued score of the same entity, if there is one.
func (t *Track) coalesce(u *score.Update) bool {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	e, ok := t.waiting[u.Entity]
	if ok {
		e.replace(u)
		t.w.metrics.coalesced.Inc()
	}
	return ok
}

// add queues an entity for which a place is reserved.
func (t *Track) add(offset int64, u *score.Update) {
	w := t.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if e, ok := t.waiting[u.Entity]; ok { // another goroutine was faster
		e.replace(u)
		<-w.places
		return
	}
	e := w.newEntry()
	e.track, e.mark, e.since = t, t.marks.add(offset), w.now()
	e.keep(u)
	t.waiting[e.entity] = e
	t.held++
	w.queue = append(w.queue, e)
	w.wakeUp()
}

// Stored returns an offset below which every score is acknowledged by Redis or
// replaced by one from that offset or later; math.MaxInt64 if nothing is queued.
func (t *Track) Stored() int64 {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	return t.marks.lowest()
}

// Drain returns when everything that was put is acknowledged, or with ctx's error.
// It only has to wait, because the writer always writes; the writer must be
// running.
func (t *Track) Drain(ctx context.Context) error {
	for {
		idle := t.whenIdle()
		if idle == nil {
			return nil
		}
		select {
		case <-idle:
		case <-t.w.ended:
			return fmt.Errorf("redis: drain partition %d: %w", t.partition, ErrClosed)
		case <-ctx.Done():
			return fmt.Errorf("redis: drain partition %d: %w", t.partition, ctx.Err())
		}
	}
}

func (t *Track) whenIdle() <-chan struct{} {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if t.held == 0 {
		return nil
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	return t.idle
}

// release drops a settled entry; w.mu is held.
func (t *Track) release(e *entry) {
	t.marks.done(e.mark)
	t.held--
	if t.held == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

// marks counts outstanding entries by offset, in order of offsets. A mark's number
// stays the same when earlier marks are removed.
type marks struct {
	list  []mark
	first int // number of list[0]
}

type mark struct {
	offset int64
	n      int
}

// add counts one more entry at offset and returns its mark. An offset out of order
// is counted with a lower one, so that lowest is never too high.
func (m *marks) add(offset int64) int {
	i := len(m.list) - 1
	if i < 0 || offset > m.list[i].offset {
		m.list = append(m.list, mark{offset, 1})
		return m.first + i + 1
	}
	for i > 0 && m.list[i].offset > offset {
		i--
	}
	m.list[i].offset = min(m.list[i].offset, offset)
	m.list[i].n++
	return m.first + i
}

func (m *marks) done(number int) {
	m.list[number-m.first].n--
	for len(m.list) > 0 && m.list[0].n == 0 {
		m.list = m.list[1:]
		m.first++
	}
}

func (m *marks) lowest() int64 {
	if len(m.list) == 0 {
		return math.MaxInt64
	}
	return m.list[0].offset
}
