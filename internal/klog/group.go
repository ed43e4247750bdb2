package klog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	// joinPause is how long the library waits after a failed attempt to join.
	// Its default of 5 s is paid at every start on a fresh broker.
	joinPause = 500 * time.Millisecond
	// maxServePause bounds the wait after a serve that failed. Every rejoin
	// stops the other members too.
	maxServePause = 15 * time.Second
)

// errGeneration is why serve's context ends when the generation does.
var errGeneration = errors.New("the group is sharing its partitions anew")

// Join takes part in a consumer group that shares the partitions of topic, until
// ctx ends; then it leaves the group, so that others need not wait for it.
//
// serve is called for each generation, never twice at a time, and also when the
// member got no partition. Its context ends with the generation or with ctx;
// serve then has DrainTimeout to finish, commit and return, and no other member
// gets the partitions before that, within RebalanceTimeout. When serve returns
// nil before its context ends, the member keeps its partitions and heartbeats;
// when it returns an error, that is logged, and the group is joined again after
// a pause that grows.
//
// Join returns nil when ctx has ended and the group is left, and an error when
// the group cannot be joined at all, or serve did not return in time.
func (c *Client) Join(ctx context.Context, group, topic string, serve func(ctx context.Context, g *Generation) error) error {
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
	dialer, balancer := newGroupDialer(c), &sticky{}
	cg, err := kafka.NewConsumerGroup(c.groupConfig(group, topic, dialer, balancer))
	if err != nil {
		return fmt.Errorf("join group %s: %w", group, err)
	}
	m := &member{c: c, group: group, topic: topic, balancer: balancer, serve: serve, log: c.log.With("group", group)}
	err = m.run(ctx, cg)
	dialer.closeGroup(cg)
	return err
}

func (c *Client) groupConfig(group, topic string, d *groupDialer, b *sticky) kafka.ConsumerGroupConfig {
	return kafka.ConsumerGroupConfig{
		ID: group, Topics: []string{topic}, Brokers: c.cfg.Brokers, Dialer: d.dialer(),
		// The broker takes one that all members know, so that a group agrees
		// while its members are replaced by ones that know better.
		GroupBalancers:    []kafka.GroupBalancer{b, kafka.RangeGroupBalancer{}},
		HeartbeatInterval: c.cfg.HeartbeatInterval, SessionTimeout: c.cfg.SessionTimeout, RebalanceTimeout: c.cfg.RebalanceTimeout,
		JoinGroupBackoff: joinPause, Timeout: c.cfg.RequestTimeout, StartOffset: kafka.FirstOffset,
	}
}

// member is one Join under way.
type member struct {
	c            *Client
	group, topic string
	balancer     *sticky
	serve        func(ctx context.Context, g *Generation) error
	log          *slog.Logger

	joined   bool   // at least once
	last     string // last error that was logged
	attempts int
	pause    time.Duration // before the next rejoin that is serve's fault
}

// run takes up one generation after the other. The library waits, inside the
// old generation, for what was started in it, so Next is called again soon
// enough for it never to block on an error nobody takes.
func (m *member) run(ctx context.Context, cg *kafka.ConsumerGroup) error {
	for {
		gen, err := cg.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			m.joined, m.last, m.attempts = true, "", 0
			if leave, err := m.take(ctx, gen); leave {
				return err
			}
		default:
			if err := m.failed(err); err != nil {
				return err
			}
		}
	}
}

// failed decides on an error of joining. On a broker that just started the
// coordinator is not there yet, so the first few errors are nobody's business.
func (m *member) failed(err error) error {
	if outlook, named := classify(err); outlook == never && !m.joined && !errors.Is(named, ErrFenced) {
		return fmt.Errorf("join group %s: %w", m.group, named)
	}
	m.attempts++
	if text := err.Error(); m.attempts > 3 && text != m.last {
		m.last = text
		m.log.Warn("kafka: cannot join the group yet, trying on", "attempts", m.attempts, "error", err)
	}
	return nil
}

// take runs serve in gen. leave says that ctx has ended and serve, if err is
// nil, has returned: the group is to be left.
func (m *member) take(ctx context.Context, gen *kafka.Generation) (leave bool, err error) {
	g := &Generation{ID: gen.ID, MemberID: gen.MemberID}
	g.commit = m.committer(g)
	for _, a := range gen.Assignments[m.topic] {
		g.Assigned = append(g.Assigned, int32(a.ID))
	}
	slices.Sort(g.Assigned)
	m.balancer.assigned(m.topic, g.ID, g.Assigned)
	m.log.Info("kafka: partitions assigned", "topic", m.topic, "generation", g.ID, "partitions", g.Assigned)

	over := make(chan struct{})    // the generation may end
	leaving := make(chan error, 1) // the group is to be left
	gen.Start(func(ended context.Context) {
		defer close(over)
		if ended.Err() != nil {
			return // too late for the library to wait for us
		}
		m.hold(ctx, ended, g, leaving)
	})
	select {
	case <-over:
		return false, nil
	case err := <-leaving:
		return true, err
	}
}

// hold runs serve, and keeps the generation (the library ends it when this
// returns) for as long as the partitions are ours to keep.
func (m *member) hold(ctx, ended context.Context, g *Generation, leaving chan<- error) {
	serving, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(ended, func() { stop(errGeneration) })()
	served := make(chan error, 1)
	go pprof.Do(serving, pprof.Labels("group", m.group), func(ctx context.Context) { served <- m.serve(ctx, g) })

	var err error
	select {
	case err = <-served:
	case <-serving.Done():
		err = m.drain(ctx, served)
	}
	late := errors.Is(err, errDrain)
	if err != nil && !late {
		m.log.Log(ctx, level(serving), "kafka: serving ended with an error", "generation", g.ID, "error", err)
	}
	if ctx.Err() == nil && ended.Err() == nil {
		m.linger(ctx, ended, err)
	}
	if ctx.Err() == nil {
		return
	}
	// Heartbeats went on while serve drained. Now the group is left, which ends
	// the generation: returning before that would make the library join again.
	if !late {
		err = nil
	}
	leaving <- err
	<-ended.Done()
}

// level is that of an error of serve: while draining it is no surprise.
func level(serving context.Context) slog.Level {
	if serving.Err() != nil {
		return slog.LevelWarn
	}
	return slog.LevelError
}

// linger keeps the generation after serve has returned by itself: until it ends
// where serve was content, or for a pause where it failed.
func (m *member) linger(ctx, ended context.Context, err error) {
	var over <-chan time.Time
	if err != nil {
		m.pause = min(max(2*m.pause, joinPause), maxServePause)
		timer := time.NewTimer(m.pause/2 + rand.N(m.pause/2))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-ended.Done():
		m.pause = 0
	}
}

var errDrain = errors.New("partitions were not given up in time")

// drain waits for serve to return. While the program goes on there is no use in
// not waiting: two serves at a time would be worse than a late one, and commits
// of a member that was given up are refused.
func (m *member) drain(ctx context.Context, served <-chan error) error {
	timer := time.NewTimer(m.c.cfg.DrainTimeout)
	defer timer.Stop()
	for {
		select {
		case err := <-served:
			return err
		case <-timer.C:
			m.log.Error("kafka: partitions are not given up in time", "drain_timeout", m.c.cfg.DrainTimeout)
			if ctx.Err() != nil {
				return fmt.Errorf("leave group %s: %w (%v)", m.group, errDrain, m.c.cfg.DrainTimeout)
			}
			timer.Reset(m.c.cfg.DrainTimeout)
		}
	}
}
