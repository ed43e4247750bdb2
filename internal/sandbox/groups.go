package sandbox

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// reaper takes silent members out of consumer groups. The broker has a session
// timeout for a member only once it could send it an answer: one that was killed
// while it waited to join is given partitions, and keeps them for ever. Apache
// Kafka gives a member up in either case.
type reaper struct {
	broker *kfake.Cluster
	client *kgo.Client
	log    *slog.Logger
	stop   context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	groups map[string]*groupLife
}

// groupLife is what was heard of one group.
type groupLife struct {
	session    time.Duration // the longest that any member asked for
	generation int32
	began      time.Time            // when a member first spoke in this generation
	heard      map[string]time.Time // by member
}

const reapEvery = time.Second

func newReaper(c *kfake.Cluster, log *slog.Logger) (*reaper, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()[0]))
	if err != nil {
		return nil, err
	}
	r := &reaper{broker: c, client: client, log: log, done: make(chan struct{}), groups: map[string]*groupLife{}}
	for _, req := range []kmsg.Request{&kmsg.JoinGroupRequest{}, &kmsg.SyncGroupRequest{}, &kmsg.HeartbeatRequest{}} {
		c.ControlKey(req.Key(), func(req kmsg.Request) (kmsg.Response, error, bool) {
			r.hear(req, time.Now())
			return nil, nil, false // answered by the broker
		})
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = func() {
		stop()
		<-r.done
		client.Close()
	}
	go r.run(ctx)
	return r, nil
}

// hear notes that a member lives.
func (r *reaper) hear(req kmsg.Request, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch q := req.(type) {
	case *kmsg.JoinGroupRequest:
		g := r.group(q.Group)
		g.session = max(g.session, time.Duration(q.SessionTimeoutMillis)*time.Millisecond)
		g.heard[q.MemberID] = now
	case *kmsg.SyncGroupRequest:
		r.group(q.Group).speak(q.MemberID, q.Generation, now)
	case *kmsg.HeartbeatRequest:
		r.group(q.Group).speak(q.MemberID, q.Generation, now)
	}
}

func (r *reaper) group(name string) *groupLife {
	g := r.groups[name]
	if g == nil {
		g = &groupLife{heard: map[string]time.Time{}}
		r.groups[name] = g
	}
	return g
}

func (g *groupLife) speak(member string, generation int32, now time.Time) {
	if generation != g.generation || g.began.IsZero() {
		g.generation, g.began = generation, now
	}
	g.heard[member] = now
}

func (r *reaper) run(ctx context.Context) {
	defer close(r.done)
	tick := time.NewTicker(reapEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		names := slices.Collect(maps.Keys(r.groups))
		r.mu.Unlock()
		for _, name := range names {
			if err := r.reap(ctx, name); err != nil && ctx.Err() == nil {
				r.log.Warn("silent members of a group cannot be taken out", "group", name, "error", err)
			}
		}
	}
}

func (r *reaper) reap(ctx context.Context, name string) error {
	g := r.broker.GroupInfo(name)
	// While a group rebalances, members wait and are silent. Who does not
	// come is given up by the broker when that takes too long.
	if g == nil || g.State != "Stable" && g.State != "CompletingRebalance" {
		return nil
	}
	var members []string
	for _, m := range g.Members {
		members = append(members, m.MemberID)
	}
	for _, id := range r.silent(name, members, time.Now()) {
		r.log.Info("a member of a group is silent, and is taken out", "group", name, "member", id)
		res, err := (&kmsg.LeaveGroupRequest{Group: name, Members: []kmsg.LeaveGroupRequestMember{{MemberID: id}}}).RequestWith(ctx, r.client)
		if err == nil {
			err = kerr.ErrorForCode(res.ErrorCode)
		}
		if err != nil {
			return fmt.Errorf("take %s out: %w", id, err)
		}
	}
	return nil
}

// silent lists the members that were not heard for longer than their session,
// and forgets those that are members no more.
func (r *reaper) silent(name string, members []string, now time.Time) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.group(name)
	maps.DeleteFunc(g.heard, func(id string, _ time.Time) bool { return !slices.Contains(members, id) })
	if g.began.IsZero() {
		return nil
	}
	for _, id := range members {
		last := g.began
		if h := g.heard[id]; h.After(last) {
			last = h
		}
		if now.Sub(last) > g.session {
			ids = append(ids, id)
		}
	}
	return ids
}
