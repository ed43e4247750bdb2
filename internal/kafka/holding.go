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

// generation is one generation of the group, from the view of one member.
type generation struct {
	id       int32
	member   string
	began    time.Time
	claimed  []int32 // what this member claimed to hold when it joined
	assigned []int32
	over     chan struct{} // closed when the next has begun, or the membership is lost
	again    chan struct{} // closed when the group should be joined again
	once     sync.Once     // closes again
	rest     *time.Timer   // after which partitions may move; nil: none should
}

// restless stops the timer for moving partitions: the generation is over, and the
// next decides again.
func (t *generation) restless() {
	if t.rest != nil {
		t.rest.Stop()
	}
}

func (t *generation) rejoin() { t.once.Do(func() { close(t.again) }) }

// owes reports whether others wait for a partition that this member held: the group
// assigns it at the next join.
func (t *generation) owes() bool {
	return slices.ContainsFunc(t.claimed, func(p int32) bool { return !slices.Contains(t.assigned, p) })
}

// holding is a partition that this member owns, or is giving up.
type holding struct {
	partition int32
	end       context.CancelCauseFunc
	done      chan struct{} // closed when own has returned

	// Guarded by member.mu.
	generation *generation // in which its commits are made; nil: none any more
	leaving    bool        // own has been told to return
	failed     bool        // own has failed, and is called again with the next generation
}

var (
	// errMoved ends a lease when the group gives the partition to another member.
	errMoved = errors.New("the group gives the partition to another member")
	// errAgain ends a lease that failed and restarts.
	errAgain = errors.New("the partition is taken up again")
	errDrain = errors.New("partitions were not given up in time")
)

func (m *member) generationOf(h *holding) *generation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return h.generation
}

// adopt changes to a new generation. Partitions that the member held and is
// assigned again continue undisturbed. It claimed them with every join (see take),
// so nobody can have had them in between, even if the member missed some
// generations. A broker that dropped the member knows it by another id.
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
		case h.generation == nil: // lost, and ending
		case !slices.Contains(t.claimed, p): // it may belong, or have belonged, to another member
			h.generation = nil
			h.tell(fmt.Errorf("partition %d was not claimed: %w", p, ErrFenced))
		case mine && h.failed:
			h.tell(errAgain) // its commits end with the old generation
		case !mine:
			h.tell(errMoved)
			fallthrough // others do not get it until this member joins without it
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

// finish wakes those who wait for the end of t.
func (t *generation) finish() {
	t.restless()
	select {
	case <-t.over:
	default:
		close(t.over)
	}
}

// tell makes own return; m.mu is held.
func (h *holding) tell(why error) {
	h.leaving = true
	h.end(why)
}

// lose gives up everything, because the group may have given it to others: nothing
// can be committed any more. m.mu is held.
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

// claim updates the list of held partitions for the next join; m.mu is held.
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
			<-before.done // two owners at a time would be worse than a late one
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

// hold calls own until the lease ends. A failed lease restarts with the next
// generation, so that a commit of the failed one that may still be on its way is
// refused.
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

// again calls own again after a pause. A lease that keeps failing waits until the
// group has been stable for a while: then partitions may move, and one rejoin
// serves all that fail.
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

// fewFailures is the longest pause after which own is called again at once.
const fewFailures = 4 * joinPause

// level returns the log level of an error of own: while draining, errors are
// expected.
func level(ctx context.Context) slog.Level {
	if ctx.Err() != nil {
		return slog.LevelWarn
	}
	return slog.LevelError
}

// drained waits for own to return. It always waits, because two owners at a time
// would be worse than a late one.
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

// pauseOf returns how long to wait after own has failed: longer each time.
func (m *member) pauseOf(partition int32, lasted time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if lasted > maxPauseOfOwn {
		delete(m.pauses, partition)
	}
	m.pauses[partition] = min(max(2*m.pauses[partition], joinPause), maxPauseOfOwn)
	return m.pauses[partition]
}
