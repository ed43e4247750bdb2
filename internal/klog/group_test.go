package klog

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// testMember is a member of a group that tells its generations.
type testMember struct {
	generations chan *Generation
	leave       context.CancelFunc
	left        chan error
}

// joinGroup joins. drain, if not nil, is called when a generation has ended.
func joinGroup(t *testing.T, c *Client, group, topic string, drain func(*Generation)) *testMember {
	ctx, leave := context.WithCancel(t.Context())
	m := &testMember{generations: make(chan *Generation, 64), leave: leave, left: make(chan error, 1)}
	var wg sync.WaitGroup
	wg.Go(func() {
		m.left <- c.Join(ctx, group, topic, func(ctx context.Context, g *Generation) error {
			m.generations <- g
			<-ctx.Done()
			if drain != nil {
				drain(g)
			}
			return nil
		})
	})
	t.Cleanup(func() { leave(); wg.Wait() })
	return m
}

// with waits for a generation with so many partitions.
func (m *testMember) with(t *testing.T, partitions int) *Generation {
	t.Helper()
	ctx := within(t, time.Minute)
	for {
		select {
		case g := <-m.generations:
			if len(g.Assigned) == partitions {
				return g
			}
		case <-ctx.Done():
			t.Fatalf("no generation with %d partitions", partitions)
		}
	}
}

func commits(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 3)
	g := joinGroup(t, c, topic, topic, nil).with(t, 3)
	want := []Commit{{0, -1, ""}, {1, 41, `{"owner":7,"why":"ünïcode"}`}, {2, 0, ""}}
	if err := g.Commit(t.Context(), want[1:]); err != nil {
		t.Fatal(err)
	}
	got, err := c.Committed(t.Context(), topic, topic)
	if err != nil || len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("committed %+v, %v; want %+v", got, err, want)
	}
	if err := g.Commit(t.Context(), []Commit{{3, 1, ""}}); !errors.Is(err, ErrFenced) {
		t.Errorf("a commit for a partition that is not assigned: %v", err)
	}
	if err := g.Commit(t.Context(), nil); err != nil {
		t.Errorf("committing nothing: %v", err)
	}
}

func sharing(t *testing.T, addr string) {
	c, d := client(t, addr), client(t, addr)
	topic := newTopic(t, c, 4)
	first := joinGroup(t, c, topic, topic, nil)
	old := first.with(t, 4)
	if err := old.Commit(t.Context(), []Commit{{2, 41, "old"}}); err != nil {
		t.Fatal(err)
	}
	second := joinGroup(t, d, topic, topic, nil)
	mine, others := first.with(t, 2), second.with(t, 2)
	if mine.ID != others.ID || mine.ID <= old.ID {
		t.Errorf("generations %d and %d after %d", mine.ID, others.ID, old.ID)
	}
	owned := map[int32]int{}
	for _, p := range append(mine.Assigned, others.Assigned...) {
		owned[p]++
	}
	if len(owned) != 4 {
		t.Errorf("partitions are shared as %v and %v", mine.Assigned, others.Assigned)
	}
	if err := old.Commit(t.Context(), []Commit{{2, 99, "stale"}}); !errors.Is(err, ErrFenced) {
		t.Errorf("a commit of the former generation: %v", err)
	}
	if err := others.Commit(t.Context(), []Commit{{others.Assigned[0], 1, ""}}); err != nil {
		t.Errorf("a commit of the present generation: %v", err)
	}
	second.leave()
	if err := <-second.left; err != nil {
		t.Errorf("leaving: %v", err)
	}
	if err := others.Commit(t.Context(), []Commit{{others.Assigned[0], 2, ""}}); !errors.Is(err, ErrFenced) {
		t.Errorf("a commit after leaving: %v", err)
	}
	first.with(t, 4)
}

func leaving(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 2)
	var drained error
	m := joinGroup(t, c, topic, topic, func(g *Generation) {
		drained = g.Commit(context.WithoutCancel(t.Context()), []Commit{{1, 5, "drained"}})
	})
	m.with(t, 2)
	m.leave()
	if err := errors.Join(<-m.left, drained); err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	joinGroup(t, c, topic, topic, nil).with(t, 2)
	if d := time.Since(started); d > 5*time.Second {
		t.Errorf("the next member waited %v, as if the first had not left", d)
	}
	if got, err := c.Committed(t.Context(), topic, topic); err != nil || got[1].Offset != 5 {
		t.Errorf("committed %v, %v", got, err)
	}
}

func failingServe(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 1)
	ctx, leave := context.WithCancel(within(t, time.Minute))
	var generations []int32
	err := c.Join(ctx, topic, topic, func(_ context.Context, g *Generation) error {
		if generations = append(generations, g.ID); len(generations) == 3 {
			leave()
			return nil
		}
		return errors.New("cannot serve")
	})
	if err != nil || len(generations) != 3 || generations[2] <= generations[0] {
		t.Errorf("served in generations %v, %v", generations, err)
	}
}

func idleServe(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 1)
	ctx, leave := context.WithCancel(within(t, time.Minute))
	defer leave()
	served := make(chan *Generation, 16)
	left := make(chan error, 1)
	go func() {
		left <- c.Join(ctx, topic, topic, func(_ context.Context, g *Generation) error {
			served <- g
			return nil
		})
	}()
	g := <-served
	for range 20 { // some heartbeats long
		if err := g.Commit(ctx, []Commit{{0, 1, ""}}); err != nil {
			t.Fatalf("the generation is over: %v", err)
		}
	}
	leave()
	if err := <-left; err != nil || len(served) != 0 {
		t.Errorf("left with %v after %d more generations", err, len(served))
	}
}

func unknownGroupTopic(t *testing.T, addr string) {
	c := client(t, addr)
	err := c.Join(within(t, 30*time.Second), "group", "no-such-topic", func(context.Context, *Generation) error { return nil })
	if !errors.Is(err, ErrUnknownTopic) || !strings.Contains(err.Error(), "join group group") {
		t.Errorf("joining says %v", err)
	}
}
