package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirdev/weir/internal/klog"
)

const (
	groupIngest = "ingest"
	groupDetect = "detect"

	sessionTimeout   = 600 * time.Millisecond
	rebalanceTimeout = 1200 * time.Millisecond
	heartbeat        = 150 * time.Millisecond // longest time until a member hears of a rebalance
	rejoinPause      = 200 * time.Millisecond // after a serve that failed
)

// errGeneration is why serve's context ends when the generation does.
var errGeneration = errors.New("the group is sharing its partitions anew")

// group is a consumer group's coordinator. w.mu guards it.
type group struct {
	w         *world
	name      string
	commits   []klog.Commit
	number    int // of the generation
	members   []*member
	preparing int // round of the rebalance under way; 0: none
	rounds    int
}

// member is a process in a group.
type member struct {
	p       *process
	waiting bool        // has joined, and waits for the next generation
	current *assignment // what it was given last
	next    chan *assignment
}

// assignment is a member's part in a generation.
type assignment struct {
	number int
	parts  []int32
	ctx    context.Context
	end    context.CancelCauseFunc
}

func newGroup(w *world, name string, partitions int) *group {
	g := &group{w: w, name: name}
	for i := range partitions {
		g.commits = append(g.commits, klog.Commit{Partition: int32(i), Offset: -1})
	}
	return g
}

// Join implements the Log of both stages, as internal/klog does.
func (p *process) Join(ctx context.Context, name, _ string, serve func(ctx context.Context, g *klog.Generation) error) error {
	m := &member{p: p, next: make(chan *assignment, 1)}
	g := p.w.groups[name]
	for {
		if err := p.call(ctx, &call{what: "join " + name, do: func() bool { g.join(ctx, m); return true }}); err != nil {
			return g.left(ctx, m)
		}
		select {
		case a := <-m.next:
			err := p.serve(ctx, g, m, a, serve)
			if ctx.Err() == nil && a.ctx.Err() == nil {
				linger(ctx, a, err)
			}
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return g.left(ctx, m)
		}
	}
}

func (p *process) serve(ctx context.Context, g *group, m *member, a *assignment, serve func(ctx context.Context, g *klog.Generation) error) error {
	gen := klog.NewGeneration(a.parts, func(ctx context.Context, commits []klog.Commit) error { return p.commit(ctx, g, m, a, commits) })
	err := serve(a.ctx, gen)
	if err != nil && a.ctx.Err() == nil {
		p.w.trace.add(time.Since(epoch), "%s: serving %s ended with: %v", []any{p, g.name, err})
	}
	return err
}

// linger keeps the generation after serve has returned by itself.
func linger(ctx context.Context, a *assignment, err error) {
	var over <-chan time.Time
	if err != nil {
		t := time.NewTimer(rejoinPause)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-a.ctx.Done():
	}
}

// left leaves the group.
func (g *group) left(ctx context.Context, m *member) error {
	err := m.p.call(context.WithoutCancel(ctx), &call{what: "leave " + g.name, do: func() bool {
		if m.current != nil {
			m.current.end(errGeneration)
		}
		g.remove(m)
		return true
	}})
	if errors.Is(err, errDead) {
		return errDead
	}
	return nil
}

func (p *process) commit(ctx context.Context, g *group, m *member, a *assignment, commits []klog.Commit) error {
	c := &call{what: fmt.Sprintf("commit %s of generation %d: %s", g.name, a.number, worded(commits)), sink: "commit", mutates: true, ordered: true}
	c.do = func() bool {
		c.err = nil
		if a.number != g.number || !slices.Contains(g.members, m) {
			c.err = fmt.Errorf("generation %d: %w", a.number, klog.ErrFenced)
			g.w.counts["fenced"]++
			return true
		}
		for _, commit := range commits {
			if !p.dead && g.name == groupIngest {
				p.hasty(c.what, commit.Partition, commit.Offset, p.events)
			} else if !p.dead {
				p.hasty(c.what, commit.Partition, commit.Offset, p.signals, p.scores)
			}
			g.commits[commit.Partition] = commit
			if g.name == groupIngest {
				g.w.decide(commit)
			}
		}
		return true
	}
	c.again = func() {}
	c.stray = func() { c.do() }
	return p.call(ctx, c)
}

func worded(commits []klog.Commit) (text string) {
	for _, c := range commits {
		text += fmt.Sprintf("%d at %d ", c.Partition, c.Offset)
	}
	return text
}

// join takes a member up, and has the partitions shared out anew.
func (g *group) join(ctx context.Context, m *member) {
	if m.current != nil {
		m.current.end(errGeneration)
	}
	m.waiting = true
	a := &assignment{}
	a.ctx, a.end = context.WithCancelCause(ctx)
	m.current = a
	if !slices.Contains(g.members, m) {
		g.members = append(g.members, m)
	}
	g.rebalance()
}

// rebalance begins to share out anew, unless that is under way. Members hear of
// it with their next heartbeat.
func (g *group) rebalance() {
	if g.preparing == 0 {
		g.rounds++
		g.preparing = g.rounds
		round := g.rounds
		for _, m := range g.members {
			if !m.waiting {
				g.tell(m.p, m.current)
			}
		}
		g.w.after(rebalanceTimeout, func() {
			if g.preparing == round {
				g.complete()
			}
		})
	}
	if !slices.ContainsFunc(g.members, func(m *member) bool { return !m.waiting }) {
		g.complete()
	}
}

// tell has a member hear that its generation is over, some time after it wakes.
func (g *group) tell(p *process, a *assignment) {
	g.w.after(time.Duration(g.w.rng.Int64N(int64(heartbeat))), func() {
		if p.frozen {
			g.tell(p, a)
			return
		}
		a.end(errGeneration)
	})
}

// complete starts the next generation with those who have joined.
func (g *group) complete() {
	g.preparing = 0
	for _, m := range g.members {
		if !m.waiting {
			g.w.note("%s is no longer in %s", m.p, g.name)
			g.tell(m.p, m.current)
		}
	}
	g.members = slices.DeleteFunc(g.members, func(m *member) bool { return !m.waiting })
	if len(g.members) == 0 {
		return
	}
	g.number++
	order := g.w.rng.Perm(len(g.members))
	for i := range g.commits {
		m := g.members[order[i%len(order)]]
		m.current.parts = append(m.current.parts, int32(i))
	}
	g.w.rouse()
	for _, m := range g.members {
		m.waiting = false
		m.current.number = g.number
		g.w.note("%s gets %v of %s, generation %d", m.p, m.current.parts, g.name, g.number)
		m.next <- m.current
	}
}

// remove takes a member out that left or is not heard of.
func (g *group) remove(m *member) {
	i := slices.Index(g.members, m)
	if i < 0 {
		return
	}
	g.members = slices.Delete(g.members, i, i+1)
	if len(g.members) > 0 {
		g.rebalance()
	}
}

// silent takes a process out, unless it is heard of again in time.
func (g *group) silent(p *process) {
	g.w.after(sessionTimeout, func() {
		if !p.dead && !p.frozen {
			return
		}
		for _, m := range slices.Clone(g.members) {
			if m.p == p {
				g.w.note("%s was not heard of and leaves %s", p, g.name)
				g.tell(p, m.current)
				g.remove(m)
			}
		}
	})
}
