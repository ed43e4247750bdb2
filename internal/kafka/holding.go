package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weirdev/weir/internal/retry"
)

// generation is one of the group, as one member takes part in it.
type generation struct {
	id       int32
	member   string
	began    time.Time
	claimed  []int32 // what this member said it held when it joined
	assigned []int32
	over     chan struct{} // closed when the next has begun, or the membership is lost
	again    chan struct{} // closed when the group is to be joined anew
	once     sync.Once     // closes again
	rest     *time.Timer   // after which partitions may move; nil: none are to
}

// restless says that no partitions move by themselves any more: the generation is
// over, and the next decides anew.
func (t *generation) restless() {
	if t.rest != nil {
		t.rest.Stop()
	}
}

func (t *generation) rejoin() { t.once.Do(func() { close(t.again) }) }

// owes reports whether others wait for something that this member held: the
// group gives it to them when it is joined anew.
func (t *generation) owes() bool {
	return slices.ContainsFunc(t.claimed, func(p int32) bool { return !slices.Contains(t.assigned, p) })
}

// holding is a partition that this member owns, or is giving up.
type holding struct {
	partition int32
	end       context.CancelCauseFunc
	done      chan struct{} // closed when own has returned

	// Guarded by member.mu.
	generation *generation // that its commits are made in; nil: none any more
	leaving    bool        // own has been told to return
	failed     bool        // own has failed, and is called again with the next generation
}

var (
	// errMoved is why a lease ends when the group gives the partition to another.
	errMoved = errors.New("the group gives the partition to another member")
	// errAgain is why one ends that failed and is taken up again.
	errAgain = errors.New("the partition is taken up again")
	errDrain = errors.New("partitions were not given up in time")
)

func (m *member) generationOf(h *holding) *generation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return h.generation
}

// adopt goes over to a new generation. What the member held and is assigned
// again goes on undisturbed: it was claimed with every join (see take), so nobody
// can have had it in between, even if there were generations that the member did
// not get to know of. A broker that gave the member up knows it by another id.
func (m *member) adopt(ctx context.Context, gen *kafkago.Generation) *generation {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &generation{id: gen.ID, member: gen.MemberID, began: time.Now(), claimed: m.balancer.claimed(), over: make(chan struct{}), again: make(chan struct{})}
	for _, a := range gen.Assignments[m.topic] {
		t.assigned = append(t.assigned, int32(a.ID))
	}
	slices.Sort(t.assigned)
	m.log.Info("kafka: partitions assigned", "topic", m.topic, "generation", t.id, "partitions", t.assigned)
	last := m.generation
	if last != nil && last.member != t.member {
		m.lose(fmt.Errorf("%s is now %s: %w", last.member, t.member, ErrFenced))
	}
	for p, h := range m.held {
		switch mine := slices.Contains(t.assigned, p); {
		case h.generation == nil: // lost, and on its way out
		case !slices.Contains(t.claimed, p): // it may be, or have been, another's
			h.generation = nil
			h.tell(fmt.Errorf("partition %d was not claimed: %w", p, ErrFenced))
		case mine && h.failed:
			h.tell(errAgain) // its commits end with the old generation
		case !mine:
			h.tell(errMoved)
			fallthrough // it is withheld from others until this member joins without it
		case !h.leaving:
			h.generation = t
		}
	}
	m.generation = t
	for _, p := range t.assigned {
		if h := m.held[p]; (h == nil || h.leaving) && !m.leaving {
			m.begin(ctx, p, h)
		}
	}
	if last != nil {
		last.finish()
	}
	if m.balancer.takeUneven() {
		t.rest = time.AfterFunc(m.c.cfg.SessionTimeout, func() {
			m.balancer.levelNext()
			t.rejoin()
		})
	}
	m.claim()
	return t
}

// finish wakes those who wait for what comes after t.
func (t *generation) finish() {
	t.restless()
	select {
	case <-t.over:
	default:
		close(t.over)
	}
}

// tell has own return; m.mu is held.
func (h *holding) tell(why error) {
	h.leaving = true
	h.end(why)
}

// lose gives everything up, because the group may have given it to others: there
// is nothing to be committed any more. m.mu is held.
func (m *member) lose(why error) {
	for _, h := range m.held {
		h.generation = nil
		h.tell(why)
	}
	if m.generation != nil {
		m.generation.finish()
		m.generation = nil
	}
	m.claim()
}

// claim says what the member holds; m.mu is held.
func (m *member) claim() {
	if m.generation == nil {
		m.balancer.assigned(m.topic, 0, nil, nil)
		return
	}
	var giving []int32
	for p, h := range m.held {
		if h.generation != nil && !slices.Contains(m.generation.assigned, p) {
			giving = append(giving, p)
		}
	}
	slices.Sort(giving)
	held := slices.Concat(m.generation.assigned, giving)
	slices.Sort(held)
	m.balancer.assigned(m.topic, m.generation.id, held, giving)
	if len(giving) == 0 && m.generation.owes() {
		m.generation.rejoin()
	}
}

// begin owns a partition from now on, or once before has ended; m.mu is held.
func (m *member) begin(ctx context.Context, p int32, before *holding) {
	ctx, end := context.WithCancelCause(ctx)
	h := &holding{partition: p, end: end, done: make(chan struct{}), generation: m.generation}
	m.held[p] = h
	m.running.Go(func() {
		defer m.ended(h)
		if before != nil {
			<-before.done // two at a time would be worse than a late one
		}
		m.hold(ctx, h)
	})
}

func (m *member) ended(h *holding) {
	h.end(nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	h.generation = nil
	close(h.done)
	if m.held[h.partition] == h {
		delete(m.held, h.partition)
		m.claim()
	}
}

// hold has the partition owned until the lease ends. One that fails is taken up
// again with the next generation, so that a commit of the one that failed, which
// may be on its way yet, is refused.
func (m *member) hold(ctx context.Context, h *holding) {
	if ctx.Err() != nil {
		return
	}
	lease := NewLease(h.partition, func(ctx context.Context, offset int64, metadata string) error {
		return m.commit(ctx, h, Commit{Partition: h.partition, Offset: offset, Metadata: metadata})
	})
	began, owned := time.Now(), make(chan error, 1)
	go pprof.Do(ctx, pprof.Labels("group", m.group), func(ctx context.Context) { owned <- m.own(ctx, lease) })
	var err error
	select {
	case err = <-owned:
	case <-ctx.Done():
		err = m.drained(h, owned)
	}
	if err != nil && !errors.Is(context.Cause(ctx), ErrFenced) {
		m.log.Log(ctx, level(ctx), "kafka: a partition was given up with an error", "partition", h.partition, "error", err)
	}
	if err != nil && ctx.Err() == nil {
		m.again(ctx, h, time.Since(began))
	}
	<-ctx.Done()
}

// again has own called again after a pause. One that keeps failing waits until the
// group has been at rest for a while: then partitions may move, and one rejoin does
// for all that fail.
func (m *member) again(ctx context.Context, h *holding, lasted time.Duration) {
	pause := m.pauseOf(h.partition, lasted)
	if !retry.Sleep(ctx, retry.Jitter(pause)) {
		return
	}
	m.mu.Lock()
	h.failed = true
	m.mu.Unlock()
	for {
		m.mu.Lock()
		t := h.generation
		m.mu.Unlock()
		if t == nil {
			return
		}
		left := time.Until(t.began.Add(m.c.cfg.SessionTimeout + m.c.cfg.HeartbeatInterval))
		if pause < fewFailures || left <= 0 {
			t.rejoin()
			return
		}
		if !retry.Sleep(ctx, left) {
			return
		}
	}
}

// fewFailures is the pause up to which own is called again at once.
const fewFailures = 4 * joinPause

// level is that of an error of own: while draining it is no surprise.
func level(ctx context.Context) slog.Level {
	if ctx.Err() != nil {
		return slog.LevelWarn
	}
	return slog.LevelError
}

// drained waits for own to return. There is no use in not waiting: two owners at
// a time would be worse than a late one.
func (m *member) drained(h *holding, owned <-chan error) error {
	tick := time.NewTicker(m.c.cfg.DrainTimeout)
	defer tick.Stop()
	for {
		select {
		case err := <-owned:
			return err
		case <-tick.C:
			m.log.Error("kafka: a partition is not given up in time", "partition", h.partition, "drain_timeout", m.c.cfg.DrainTimeout)
		}
	}
}

// pauseOf is how long to wait after own has failed: longer each time.
func (m *member) pauseOf(partition int32, lasted time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if lasted > maxPauseOfOwn {
		delete(m.pauses, partition)
	}
	m.pauses[partition] = min(max(2*m.pauses[partition], joinPause), maxPauseOfOwn)
	return m.pauses[partition]
}
