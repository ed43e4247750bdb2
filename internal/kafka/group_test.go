package kafka

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// testMember is a member of a group that tells what it owns.
type testMember struct {
	leave context.CancelFunc
	left  chan error

	mu      sync.Mutex
	owned   map[int32]*Lease
	taken   map[int32]int // how often own was called, by partition
	changed chan struct{}
}

// joinGroup joins. drain, if not nil, is called when a lease ends.
func joinGroup(t *testing.T, c *Client, group, topic string, drain func(ctx context.Context, l *Lease)) *testMember {
	ctx, leave := context.WithCancel(t.Context())
	m := &testMember{leave: leave, left: make(chan error, 1), owned: map[int32]*Lease{}, taken: map[int32]int{}, changed: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() {
		m.left <- c.Join(ctx, group, topic, func(ctx context.Context, l *Lease) error {
			m.own(l, true)
			<-ctx.Done()
			if drain != nil {
				drain(ctx, l)
			}
			m.own(l, false)
			return nil
		})
	})
	t.Cleanup(func() { leave(); wg.Wait() })
	return m
}

func (m *testMember) own(l *Lease, begin bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if begin {
		m.owned[l.Partition] = l
		m.taken[l.Partition]++
	} else {
		delete(m.owned, l.Partition)
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// with waits until the member owns so many partitions, and returns its leases.
func (m *testMember) with(t *testing.T, partitions ...int) map[int32]*Lease {
	t.Helper()
	ctx := within(t, time.Minute)
	for {
		m.mu.Lock()
		owned := maps.Clone(m.owned)
		m.mu.Unlock()
		if slices.Contains(partitions, len(owned)) {
			return owned
		}
		select {
		case <-m.changed:
		case <-ctx.Done():
			t.Fatalf("%d partitions are owned, not %v", len(owned), partitions)
		}
	}
}

// timesTaken is how often own was called for a partition.
func (m *testMember) timesTaken(p int32) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taken[p]
}

func commits(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 3)
	owned := joinGroup(t, c, topic, topic, nil).with(t, 3)
	want := []Commit{{0, -1, ""}, {1, 41, `{"owner":7,"why":"ünïcode"}`}, {2, 0, ""}}
	for _, w := range want[1:] {
		if err := owned[w.Partition].Commit(t.Context(), w.Offset, w.Metadata); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Committed(t.Context(), topic, topic)
	if err != nil || len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("committed %+v, %v; want %+v", got, err, want)
	}
}

func unknownGroup(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 2)
	got, err := c.Committed(t.Context(), "nobody-"+topic, topic)
	if want := []Commit{{Partition: 0, Offset: -1}, {Partition: 1, Offset: -1}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("committed %+v, %v; want %+v", got, err, want)
	}
}

// sharing: what stays is not disturbed; what moves is drained and committed
// before the other gets it.
func sharing(t *testing.T, addr string) {
	c, d := client(t, addr), client(t, addr)
	topic := newTopic(t, c, 4)
	ctx := within(t, time.Minute)
	first := joinGroup(t, c, topic, topic, func(ctx context.Context, l *Lease) {
		if err := l.Commit(context.WithoutCancel(ctx), 41, "drained"); err != nil {
			t.Errorf("a commit of partition %d, which is being given up: %v", l.Partition, err)
		}
	})
	old := first.with(t, 4)
	second := joinGroup(t, d, topic, topic, nil)
	others := second.with(t, 2)
	mine := first.with(t, 2)
	committed, err := c.Committed(ctx, topic, topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(4) {
		_, kept := mine[p]
		_, moved := others[p]
		switch {
		case kept == moved:
			t.Errorf("partition %d is owned by both, or by nobody: %v", p, kept)
		case kept && first.timesTaken(p) != 1:
			t.Errorf("partition %d stayed, and was taken up %d times", p, first.timesTaken(p))
		case kept:
			if err := old[p].Commit(ctx, 5, "goes on"); err != nil {
				t.Errorf("a commit of partition %d, which stayed: %v", p, err)
			}
		default:
			if committed[p].Metadata != "drained" {
				t.Errorf("partition %d was taken over at %+v", p, committed[p])
			}
			if err := old[p].Commit(ctx, 99, "stale"); !errors.Is(err, ErrFenced) {
				t.Errorf("a commit of partition %d, which is given up: %v", p, err)
			}
			if err := others[p].Commit(ctx, 42, ""); err != nil {
				t.Errorf("a commit of the new owner of partition %d: %v", p, err)
			}
		}
	}
	second.leave()
	if err := <-second.left; err != nil {
		t.Errorf("leaving: %v", err)
	}
	for _, l := range others {
		if err := l.Commit(ctx, 43, ""); !errors.Is(err, ErrFenced) {
			t.Errorf("a commit after leaving: %v", err)
		}
	}
	first.with(t, 4)
}

// committingThrough: commits of one who stays never fail, however often
// the group is shared anew.
func committingThrough(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 2)
	m := joinGroup(t, c, topic, topic, nil)
	owned := m.with(t, 2)
	ctx, stop := context.WithCancel(within(t, time.Minute))
	defer stop()
	failed := make(chan error, 1)
	go func() {
		for n := int64(1); ; n++ {
			if err := owned[0].Commit(context.WithoutCancel(ctx), n, ""); err != nil || ctx.Err() != nil {
				failed <- err
				return
			}
		}
	}()
	for range 2 {
		other := joinGroup(t, client(t, addr), topic, topic, nil)
		other.with(t, 1)
		other.leave()
		if err := <-other.left; err != nil {
			t.Fatal(err)
		}
		m.with(t, 2)
	}
	stop()
	if err := <-failed; err != nil || m.timesTaken(0) != 1 {
		t.Errorf("a commit: %v; the partition was taken up %d times", err, m.timesTaken(0))
	}
}

func leaving(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 2)
	var drained error
	m := joinGroup(t, c, topic, topic, func(_ context.Context, l *Lease) {
		if l.Partition == 1 {
			drained = l.Commit(context.WithoutCancel(t.Context()), 5, "drained")
		}
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

// failingOwn: one that fails is called again, and the others do not notice.
func failingOwn(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 2)
	ctx, leave := context.WithCancel(within(t, time.Minute))
	var calls, beside atomic.Int32
	var stale *Lease
	err := c.Join(ctx, topic, topic, func(ctx context.Context, l *Lease) error {
		if l.Partition == 1 {
			beside.Add(1)
			<-ctx.Done()
			return nil
		}
		if calls.Add(1) == 3 {
			if err := stale.Commit(ctx, 1, ""); !errors.Is(err, ErrFenced) {
				t.Errorf("a commit of the lease that failed: %v", err)
			}
			leave()
			return nil
		}
		stale = l
		return errors.New("cannot own")
	})
	if err != nil || calls.Load() != 3 || beside.Load() != 1 {
		t.Errorf("owned %d times, and beside it %d times; %v", calls.Load(), beside.Load(), err)
	}
}

func idleOwn(t *testing.T, addr string) {
	c := client(t, addr)
	topic := newTopic(t, c, 1)
	ctx, leave := context.WithCancel(within(t, time.Minute))
	defer leave()
	owned := make(chan *Lease, 16)
	left := make(chan error, 1)
	go func() {
		left <- c.Join(ctx, topic, topic, func(_ context.Context, l *Lease) error {
			owned <- l
			return nil
		})
	}()
	l := <-owned
	for range 20 { // some heartbeats long
		if err := l.Commit(ctx, 1, ""); err != nil {
			t.Fatalf("the lease is over: %v", err)
		}
	}
	leave()
	if err := <-left; err != nil || len(owned) != 0 {
		t.Errorf("left with %v after %d more leases", err, len(owned))
	}
}

func unknownGroupTopic(t *testing.T, addr string) {
	c := client(t, addr)
	err := c.Join(within(t, 30*time.Second), "group", "no-such-topic", func(context.Context, *Lease) error { return nil })
	if !errors.Is(err, ErrUnknownTopic) || !strings.Contains(err.Error(), "join group group") {
		t.Errorf("joining says %v", err)
	}
}

// comingBack: a process with a name that was killed and is started again does
// not wait for its own session.
func comingBack(t *testing.T, addr string) {
	named := func(c *Config) { c.Instance = "pod-1" }
	killed := client(t, addr, named)
	topic := newTopic(t, killed, 4)
	beside := joinGroup(t, client(t, addr), topic, topic, nil)
	beside.with(t, 4)
	// It is given partitions, and is not heard of any more.
	dialer := newGroupDialer(killed)
	config := killed.groupConfig(topic, topic, dialer, &sticky{})
	var dead atomic.Bool
	config.Dialer.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dead.Load() {
			return nil, errors.New("this process is dead")
		}
		return dialer.dial(ctx, network, addr)
	}
	cg, err := kafkago.NewConsumerGroup(config)
	if err != nil {
		t.Fatal(err)
	}
	for given := 0; given < 2; {
		g, err := cg.Next(within(t, time.Minute))
		if errors.Is(err, kafkago.RebalanceInProgress) {
			continue // the other member was quicker to rejoin
		}
		if err != nil {
			t.Fatal(err)
		}
		given = len(g.Assignments[topic])
	}
	dead.Store(true)
	dialer.cut()
	t.Cleanup(func() { dialer.closeGroup(cg) })

	started := time.Now()
	back := joinGroup(t, client(t, addr, named), topic, topic, nil)
	back.with(t, 2)
	if d := time.Since(started); d > 4*time.Second {
		t.Errorf("it waited %v for what it had, with a session of 6 s", d)
	}
	for p := range beside.with(t, 2) {
		if beside.timesTaken(p) != 1 {
			t.Errorf("partition %d, which stayed with another, was taken up %d times", p, beside.timesTaken(p))
		}
	}
}
