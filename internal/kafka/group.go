package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	// joinPause is how long the library waits after a failed attempt to join. With
	// its default of 5 s, every start on a fresh broker would take that long.
	joinPause = 500 * time.Millisecond
	// maxPauseOfOwn limits the wait after a failed own.
	maxPauseOfOwn = 15 * time.Second
)

// Join takes part in a consumer group that shares the partitions of topic, until
// ctx ends; then it leaves the group, so that others need not wait for it.
//
// own is called for each partition that the member is assigned, never twice at a
// time for one. Its context ends when the group gives the partition to another
// member, when the membership is lost (its cause is then an [ErrFenced], and
// nothing can be committed) or with ctx. own then has DrainTimeout to finish,
// commit and return. No other member gets the partition before own has returned,
// unless this member counts as dead or DrainTimeout passes at the end. A rebalance
// that leaves the partition here has no effect on own. If own returns nil before
// its context ends, the member keeps the partition. If it returns an error, that is
// logged, and own is called again after a growing pause.
//
// Join returns nil when ctx has ended and the group is left, and an error if the
// group cannot be joined at all, or own did not return in time.
func (c *Client) Join(ctx context.Context, group, topic string, own func(ctx context.Context, l *Lease) error) error {
	c.groups.Add(1)
	defer c.groups.Done()
	if c.closed.Load() {
		return ErrClosed
	}
	if _, err := c.Partitions(ctx, topic); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("join group %s: %w", group, err)
	}
	if err := c.dismiss(ctx, group); err != nil && ctx.Err() == nil {
		c.log.Warn("kafka: what a former process left in the group stays until its session ends", "group", group, "error", err)
	}
	if ctx.Err() != nil {
		return nil
	}
	dialer, balancer := newGroupDialer(c), &sticky{}
	cg, err := kafkago.NewConsumerGroup(c.groupConfig(group, topic, dialer, balancer))
	if err != nil {
		return fmt.Errorf("join group %s: %w", group, err)
	}
	m := &member{
		c: c, group: group, topic: topic, balancer: balancer, own: own, log: c.log.With("group", group),
		held: map[int32]*holding{}, pauses: map[int32]time.Duration{},
	}
	err = m.run(ctx, cg)
	dialer.closeGroup(cg)
	m.mu.Lock()
	last := m.generation
	m.mu.Unlock()
	if last != nil { // an interrupted join makes the library forget its member id without leaving
		m.quit(context.WithoutCancel(ctx), last.member)
	}
	return err
}

// quit removes a former member of ours from the group, so that the group does not
// wait for its session to end. It is usually gone already.
func (m *member) quit(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if err := m.c.remove(ctx, m.group, id); err != nil {
		m.log.Warn("kafka: the group is not left, and waits for the session to end", "member", id, "error", err)
	}
}

func (c *Client) groupConfig(group, topic string, d *groupDialer, b *sticky) kafkago.ConsumerGroupConfig {
	return kafkago.ConsumerGroupConfig{
		ID: group, Topics: []string{topic}, Brokers: c.cfg.Brokers, Dialer: d.dialer(),
		// The only one: another balancer could give away what a member holds
		// through a rebalance.
		GroupBalancers:    []kafkago.GroupBalancer{b},
		HeartbeatInterval: c.cfg.HeartbeatInterval, SessionTimeout: c.cfg.SessionTimeout, RebalanceTimeout: c.cfg.RebalanceTimeout,
		JoinGroupBackoff: joinPause, Timeout: c.cfg.RequestTimeout, StartOffset: kafkago.FirstOffset,
	}
}

// member is one Join in progress.
//
//	join ─▶ generation ─▶ adopt ─┬─▶ kept: goes on, commits in the new generation
//	  ▲                          ├─▶ new: own is called
//	  │                          └─▶ moved: own drains, and commits ─┐
//	  └── rebalance, or nothing is left to be given up ◀─────────────┘
type member struct {
	c            *Client
	group, topic string
	balancer     *sticky
	own          func(ctx context.Context, l *Lease) error
	log          *slog.Logger

	joined   bool   // at least once
	last     string // last error that was logged
	attempts int

	running    sync.WaitGroup // the holdings' goroutines
	mu         sync.Mutex
	leaving    bool        // nothing new begins
	generation *generation // nil: not a member now
	held       map[int32]*holding
	pauses     map[int32]time.Duration // by partition: the last one after a failure
}

// run handles one generation after the other, also while partitions are given up at
// the end, because commits need the current generation.
func (m *member) run(ctx context.Context, cg *kafkago.ConsumerGroup) error {
	joining, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	drained := make(chan error, 1)
	defer context.AfterFunc(ctx, func() {
		drained <- m.drain()
		stop()
	})()
	for {
		gen, err := cg.Next(joining)
		switch {
		case joining.Err() != nil:
			return <-drained
		case err == nil:
			m.joined, m.last, m.attempts = true, "", 0
			m.take(ctx, gen)
		default:
			if err := m.failed(ctx, err); err != nil {
				return err
			}
		}
	}
}

// take keeps gen until it ends or another should follow it. The library joins again
// only when the started function has returned; by then the next join claims what is
// held. A generation that has ended by now was missed.
func (m *member) take(ctx context.Context, gen *kafkago.Generation) {
	present, adopted := make(chan bool), make(chan *generation, 1)
	gen.Start(func(ended context.Context) {
		present <- ended.Err() == nil
		if t := <-adopted; t != nil {
			select {
			case <-t.again:
			case <-ended.Done():
			}
			t.restless()
		}
	})
	if !<-present {
		adopted <- nil
		return
	}
	adopted <- m.adopt(ctx, gen)
}

// failed handles an error of joining. On a freshly started broker the coordinator
// is not available yet, so the first few errors are not logged.
func (m *member) failed(ctx context.Context, err error) error {
	outlook, named := classify(err)
	if outlook == never && !m.joined && !errors.Is(named, ErrFenced) {
		return fmt.Errorf("join group %s: %w", m.group, named)
	}
	if !errors.Is(err, kafkago.RebalanceInProgress) { // the library has left the group
		m.mu.Lock()
		if m.generation != nil {
			m.log.Warn("kafka: out of the group, joining anew", "generation", m.generation.id, "error", err)
			id := m.generation.member // the library has forgotten it, and may not have left
			m.c.groups.Go(func() { m.quit(context.WithoutCancel(ctx), id) })
		}
		m.lose(fmt.Errorf("%w: %w", ErrFenced, err))
		m.mu.Unlock()
	}
	m.attempts++
	if text := err.Error(); m.attempts > 3 && text != m.last {
		m.last = text
		m.log.Warn("kafka: cannot join the group yet, trying on", "attempts", m.attempts, "error", err)
	}
	return nil
}

// drain waits until everything is given up, while heartbeats continue.
func (m *member) drain() error {
	m.mu.Lock()
	m.leaving = true
	m.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		m.running.Wait()
		close(ended)
	}()
	timer := time.NewTimer(m.c.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("leave group %s: %w (%v)", m.group, errDrain, m.c.cfg.DrainTimeout)
	}
}
