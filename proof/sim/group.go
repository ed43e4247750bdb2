package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weirdev/weir/internal/kafka"
)

const (
	groupIngest   = "ingest"
	groupDetect   = "detect"
	groupControls = "controls"

	sessionTimeout   = 600 * time.Millisecond
	rebalanceTimeout = 1200 * time.Millisecond
	heartbeat        = 150 * time.Millisecond // maximum time until a member learns of a rebalance
	rejoinPause      = 200 * time.Millisecond // after a failed own
)

// Why a lease ends before its process does.
var (
	errMoved = errors.New("the group gives the partition to another member")
	errAgain = errors.New("the partition is taken up again")
	errLost  = fmt.Errorf("no longer in the group: %w", kafka.ErrFenced)
)

// group is the coordinator of a consumer group. w.mu guards it and its members.
type group struct {
	w         *world
	name      string
	commits   []kafka.Commit
	number    int // of the generation
	members   []*member
	preparing int // round of the rebalance in progress; 0: none
	rounds    int
}

// member is a process in a group.
type member struct {
	p       *process
	g       *group
	own     func(ctx context.Context, l *kafka.Lease) error
	running sync.WaitGroup
	next    chan *generation

	leaving    bool // nothing new is started
	waiting    bool // has joined, and waits for the next generation
	claims     []int32
	generation *generation // nil: none yet, or lost
	held       map[int32]*holding
}

// generation is one generation of the group, from the view of a member.
type generation struct {
	number   int
	claimed  []int32
	assigned []int32
	over     chan struct{} // closed when the member has to rejoin
	gone     chan struct{} // closed when the next has begun, or the membership is lost
}

// holding is a partition that a member owns, or is giving up.
type holding struct {
	partition  int32
	end        context.CancelCauseFunc
	done       chan struct{}
	generation *generation // generation of its commits; nil: no longer any
	leaving    bool
	failed     bool
}

func newGroup(w *world, name string, partitions int) *group {
	g := &group{w: w, name: name}
	for i := range partitions {
		g.commits = append(g.commits, kafka.Commit{Partition: int32(i), Offset: -1})
	}
	return g
}

// shut closes c unless it is closed already; w.mu is held.
func shut(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// Join implements the Log of both stages, with the behaviour of internal/kafka.
func (p *process) Join(ctx context.Context, name, _ string, own func(ctx context.Context, l *kafka.Lease) error) error {
	m := &member{p: p, g: p.w.groups[name], own: own, next: make(chan *generation, 1), held: map[int32]*holding{}}
	joining, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		p.w.mu.Lock()
		m.leaving = true
		p.w.mu.Unlock()
		m.running.Wait()
		stop()
	})()
	for {
		if p.call(joining, &call{what: "join " + name, do: func() bool { m.g.join(m); return true }}) != nil {
			<-joining.Done()
			return m.leave(ctx)
		}
		select {
		case t := <-m.next:
			if t == nil {
				continue
			}
			m.adopt(ctx, t)
			select {
			case <-t.over:
			case <-joining.Done():
			}
		case <-joining.Done():
		}
		if joining.Err() != nil {
			return m.leave(ctx)
		}
	}
}

// leave leaves the group.
func (m *member) leave(ctx context.Context) error {
	err := m.p.call(context.WithoutCancel(ctx), &call{what: "leave " + m.g.name, do: func() bool { m.g.remove(m); return true }})
	if errors.Is(err, errDead) {
		return errDead
	}
	return nil
}

// adopt moves to a new generation. The member keeps its partitions. It claimed them
// with every join, so no other member can have owned them in between.
func (m *member) adopt(ctx context.Context, t *generation) {
	w := m.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	last := m.generation
	for p, h := range m.held {
		switch mine := slices.Contains(t.assigned, p); {
		case h.generation == nil: // lost, and on its way out
		case mine && h.failed:
			h.tell(errAgain)
		case !mine:
			h.tell(errMoved)
			h.generation = t
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
		shut(last.gone)
	}
	m.settle()
}

func (h *holding) tell(why error) {
	h.leaving = true
	h.end(why)
}

// lose gives up everything at once.
func (m *member) lose() {
	for _, h := range m.held {
		h.generation = nil
		h.tell(errLost)
	}
	if m.generation != nil {
		shut(m.generation.gone)
		m.generation = nil
	}
}

// holds lists the member's partitions.
func (m *member) holds() (all []int32) {
	if m.generation == nil {
		return nil
	}
	all = slices.Clone(m.generation.assigned)
	for p, h := range m.held {
		if h.generation != nil && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return all
}

// settle rejoins once all partitions that others wait for are given up.
func (m *member) settle() {
	t := m.generation
	if t == nil || !slices.ContainsFunc(t.claimed, func(p int32) bool { return !slices.Contains(t.assigned, p) }) {
		return
	}
	for _, h := range m.held {
		if h.leaving && h.generation != nil {
			return
		}
	}
	shut(t.over)
}

func (m *member) begin(ctx context.Context, p int32, before *holding) {
	ctx, end := context.WithCancelCause(ctx)
	h := &holding{partition: p, end: end, done: make(chan struct{}), generation: m.generation}
	m.held[p] = h
	m.running.Go(func() {
		defer m.ended(h)
		if before != nil {
			<-before.done
		}
		if ctx.Err() == nil {
			m.hold(ctx, h)
		}
	})
}

func (m *member) ended(h *holding) {
	h.end(nil)
	m.p.w.mu.Lock()
	defer m.p.w.mu.Unlock()
	h.generation = nil
	close(h.done)
	if m.held[h.partition] == h {
		delete(m.held, h.partition)
		m.settle()
	}
}

// hold owns a partition. If that fails, it is retried in the next generation.
func (m *member) hold(ctx context.Context, h *holding) {
	err := m.own(ctx, kafka.NewLease(h.partition, func(ctx context.Context, offset int64, metadata string) error {
		return m.commit(ctx, h, kafka.Commit{Partition: h.partition, Offset: offset, Metadata: metadata})
	}))
	if err != nil && ctx.Err() == nil {
		t := time.NewTimer(rejoinPause)
		defer t.Stop()
		select {
		case <-t.C:
			m.p.w.mu.Lock()
			h.failed = true
			if m.generation != nil {
				shut(m.generation.over)
			}
			m.p.w.mu.Unlock()
		case <-ctx.Done():
		}
	}
	<-ctx.Done()
}

// commit commits in the current generation. If the coordinator no longer knows that
// one, a newer one may exist of which the member has not heard.
func (m *member) commit(ctx context.Context, h *holding, commit kafka.Commit) error {
	for {
		t := m.generationOf(h)
		if t == nil {
			return kafka.ErrFenced
		}
		err := m.commitIn(ctx, t, commit)
		if !errors.Is(err, kafka.ErrFenced) {
			return err
		}
		select {
		case <-t.gone:
		case <-ctx.Done():
			return err
		}
		if m.generationOf(h) == t {
			return err
		}
	}
}

func (m *member) generationOf(h *holding) *generation {
	m.p.w.mu.Lock()
	defer m.p.w.mu.Unlock()
	return h.generation
}

func (m *member) commitIn(ctx context.Context, t *generation, commit kafka.Commit) error {
	g, p := m.g, m.p
	under := p.book(commit.Partition)
	c := &call{what: fmt.Sprintf("commit %s of generation %d: %d at %d", g.name, t.number, commit.Partition, commit.Offset), sink: "commit", mutates: true, ordered: true}
	c.do = func() bool {
		c.err = nil
		if t.number != g.number || !slices.Contains(g.members, m) {
			c.err = fmt.Errorf("generation %d: %w", t.number, kafka.ErrFenced)
			g.w.counts["fenced"]++
			return true
		}
		if !p.dead && g.name == groupIngest {
			p.hasty(c.what, commit.Partition, commit.Offset, p.events)
			p.hasty(c.what, p.w.source(false, commit.Partition), commit.Offset, p.letters)
		} else if !p.dead && g.name == groupControls {
			p.hasty(c.what, commit.Partition, commit.Offset, p.controls)
			p.hasty(c.what, p.w.source(true, commit.Partition), commit.Offset, p.letters)
		} else if !p.dead {
			p.hasty(c.what, commit.Partition, commit.Offset, p.signals, p.shadow, p.scores)
		}
		g.commits[commit.Partition] = commit
		if g.name == groupIngest {
			g.w.decide(commit)
		} else if g.name == groupDetect {
			g.w.reigns[commit.Partition] = append(g.w.reigns[commit.Partition], reign{commit.Offset, commit.Metadata, under})
		}
		return true
	}
	c.again = func() {}
	c.stray = func() { c.do() }
	return p.call(ctx, c)
}

// join adds a member, and starts a rebalance.
func (g *group) join(m *member) {
	if !slices.Contains(g.members, m) {
		m.lose() // if it was a member before, others may have received its partitions
		g.members = append(g.members, m)
	}
	m.waiting, m.claims = true, m.holds()
	g.rebalance()
}

// rebalance starts a rebalance, unless one is in progress. Members learn of it with
// their next heartbeat.
func (g *group) rebalance() {
	if g.preparing == 0 {
		g.rounds++
		g.preparing = g.rounds
		round := g.rounds
		for _, m := range g.members {
			if !m.waiting {
				g.tell(m)
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

// tell notifies a member that its generation is over, some time after it wakes.
func (g *group) tell(m *member) {
	t := m.generation
	g.w.after(time.Duration(g.w.rng.Int64N(int64(heartbeat))), func() {
		if m.p.frozen {
			g.tell(m)
		} else if t != nil {
			shut(t.over)
		}
	})
}

// complete starts the next generation with the members that have joined.
func (g *group) complete() {
	g.preparing = 0
	for _, m := range g.members {
		if !m.waiting {
			g.w.note("%s is no longer in %s", m.p, g.name)
			g.tell(m)
		}
	}
	g.members = slices.DeleteFunc(g.members, func(m *member) bool { return !m.waiting })
	if len(g.members) == 0 {
		return
	}
	g.number++
	shares := g.share()
	g.w.rouse()
	for i, m := range g.members {
		m.waiting = false
		g.w.note("%s gets %v of %s, generation %d; it held %v", m.p, shares[i], g.name, g.number, m.claims)
		if g.w.chance(60) {
			g.w.counts["generation missed"]++
			m.next <- nil // the next rebalance began before it asked for its share
			continue
		}
		m.next <- &generation{number: g.number, claimed: m.claims, assigned: shares[i], over: make(chan struct{}), gone: make(chan struct{})}
	}
}

// share gives unowned partitions to the members with the fewest. A member keeps its
// partitions up to a fair share, unless chance decides otherwise. Partitions that it
// must give up are given to nobody until it has rejoined without them.
func (g *group) share() [][]int32 {
	shares, free := make([][]int32, len(g.members)), []int32{}
	order := g.w.rng.Perm(len(g.members))
	fair := (len(g.commits) + len(g.members) - 1) / len(g.members)
	for _, c := range g.commits {
		p := c.Partition
		i := slices.IndexFunc(g.members, func(m *member) bool { return slices.Contains(m.claims, p) })
		switch {
		case i < 0:
			free = append(free, p)
		case len(shares[i]) < fair && g.w.rng.IntN(8) > 0:
			shares[i] = append(shares[i], p)
		default:
			g.w.counts["moved"]++
		}
	}
	for _, p := range free {
		i := slices.MinFunc(order, func(a, b int) int { return len(shares[a]) - len(shares[b]) })
		shares[i] = append(shares[i], p)
	}
	for _, s := range shares {
		slices.Sort(s)
	}
	return shares
}

// remove removes a member that left or stays silent.
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

// silent removes a process, unless it is heard from again in time.
func (g *group) silent(p *process) {
	g.w.after(sessionTimeout, func() {
		if !p.dead && !p.frozen {
			return
		}
		for _, m := range slices.Clone(g.members) {
			if m.p == p {
				g.w.note("%s was not heard of and leaves %s", p, g.name)
				g.tell(m)
				g.remove(m)
			}
		}
	})
}
