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

// reaper removes silent members from consumer groups. The broker applies the
// session timeout to a member only after its first response: one that was killed
// while it waited to join is assigned partitions, and keeps them for ever. Apache
// Kafka drops a member in both cases.
type reaper struct {
	broker    *kfake.Cluster
	connected func(addr string) bool // whether a client's connection is open
	client    *kgo.Client
	log       *slog.Logger
	stop      context.CancelFunc
	done      chan struct{}

	mu     sync.Mutex
	groups map[string]*groupLife
}

// groupLife is the recent activity of one group.
type groupLife struct {
	session    time.Duration // the longest that any member asked for
	rebalance  time.Duration // likewise, to come when partitions are shared anew
	generation int32
	began      time.Time            // when this generation was first heard or seen of
	heard      map[string]time.Time // by member
	seen       map[string]time.Time // by member: when it was first one
}

const reapEvery = time.Second

func newReaper(c *kfake.Cluster, connected func(addr string) bool, log *slog.Logger) (*reaper, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()[0]))
	if err != nil {
		return nil, err
	}
	r := &reaper{broker: c, connected: connected, client: client, log: log, done: make(chan struct{}), groups: map[string]*groupLife{}}
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

// hear records that a member is alive.
func (r *reaper) hear(req kmsg.Request, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch q := req.(type) {
	case *kmsg.JoinGroupRequest:
		g := r.group(q.Group)
		g.session = max(g.session, time.Duration(q.SessionTimeoutMillis)*time.Millisecond)
		g.rebalance = max(g.rebalance, time.Duration(q.RebalanceTimeoutMillis)*time.Millisecond)
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
		g = &groupLife{heard: map[string]time.Time{}, seen: map[string]time.Time{}}
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
	if g == nil {
		return nil
	}
	for _, id := range r.silent(g, time.Now()) {
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

// silent lists the members that are gone, and forgets those that are no longer
// members.
func (r *reaper) silent(info *kfake.GroupInfo, now time.Time) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.group(info.Group)
	if info.Epoch != g.generation { // its members were told just now, and had to wait for that
		g.generation, g.began = info.Epoch, now
	}
	members := map[string]bool{}
	for _, m := range info.Members {
		members[m.MemberID] = true
		if _, ok := g.seen[m.MemberID]; !ok {
			g.seen[m.MemberID] = now
		}
	}
	gone := func(id string, _ time.Time) bool { return !members[id] }
	maps.DeleteFunc(g.heard, gone)
	maps.DeleteFunc(g.seen, gone)
	for _, m := range info.Members {
		if g.silent(&m, info.State, now, r.connected) {
			ids = append(ids, m.MemberID)
		}
	}
	return ids
}

// silent reports whether a member is gone. While the group rebalances, members wait
// silently. The broker drops members that take too long to join, but each one that
// joins meanwhile extends the wait, so that a group with waiting and dead members
// might never be shared.
func (g *groupLife) silent(m *kfake.GroupMember, state string, now time.Time, connected func(addr string) bool) bool {
	heard, known := g.heard[m.MemberID]
	switch state {
	case "Stable", "CompletingRebalance":
		last := g.began
		if heard.After(last) {
			last = heard
		}
		return !g.began.IsZero() && now.Sub(last) > g.session
	case "PreparingRebalance":
		if !known { // the answer to its first request never reached it, so that is its connection
			return now.Sub(g.seen[m.MemberID]) > g.session && !connected(m.ClientHost)
		}
		return now.Sub(heard) > g.session+g.rebalance
	}
	return false
}
