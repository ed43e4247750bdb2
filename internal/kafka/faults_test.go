package kafka

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weirdev/weir/proof/servers"
	"github.com/weirdev/weir/proof/testkit"
)

// writer produces numbered records, one after the other, until it is stopped.
type writer struct {
	acknowledged atomic.Int64
	stop         context.CancelFunc
	wg           sync.WaitGroup
	err          error
}

func write(t *testing.T, c *Client, topic string, partitions int32) *writer {
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{stop: cancel}
	w.wg.Go(func() {
		for {
			n := values(strconv.FormatInt(w.acknowledged.Load(), 10))
			ps := make([]Produce, partitions)
			for p := range ps {
				ps[p] = Produce{int32(p), n}
			}
			if w.err = c.Produce(ctx, topic, ps); w.err != nil {
				return
			}
			w.acknowledged.Add(1)
		}
	})
	t.Cleanup(func() { cancel(); w.wg.Wait() })
	return w
}

// reach waits until so many more records are acknowledged.
func (w *writer) reach(t *testing.T, more int64) {
	t.Helper()
	ctx := within(t, time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for goal := w.acknowledged.Load() + more; w.acknowledged.Load() < goal; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("only %d of %d records are acknowledged", w.acknowledged.Load(), goal)
		}
	}
}

// check finds every acknowledged record in every partition, in order; repeats
// are allowed, gaps are not. It returns the number of repeats.
func (w *writer) check(t *testing.T, c *Client, topic string, partitions int32) (repeats int) {
	t.Helper()
	w.stop()
	w.wg.Wait()
	if !errors.Is(w.err, context.Canceled) {
		t.Fatalf("the writer ended with %v", w.err)
	}
	for p := range partitions {
		next := 0
		for _, v := range readAll(t, c, topic, p, 0) {
			switch n, err := strconv.Atoi(v); {
			case err != nil || n > next:
				t.Fatalf("partition %d: %q where %d is due", p, v, next)
			case n < next:
				repeats++
			default:
				next++
			}
		}
		if int64(next) < w.acknowledged.Load() {
			t.Errorf("partition %d holds %d records, %d are acknowledged", p, next, w.acknowledged.Load())
		}
	}
	return repeats
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := servers.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func TestARestartingBrokerLosesNothingThatItAcknowledged(t *testing.T) {
	options := []kfake.Opt{kfake.NumBrokers(1), kfake.DataDir(t.TempDir()), kfake.Ports(int(netip.MustParseAddrPort(freeAddr(t)).Port()))}
	start := func() *kfake.Cluster {
		c, err := kfake.NewCluster(options...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	broker := start()
	c := client(t, broker.ListenAddrs()[0])
	topic := newTopic(t, c, 3)
	w := write(t, c, topic, 3)
	for range 3 {
		w.reach(t, 50)
		broker.Close()
		broker = start()
	}
	defer func() { broker.Close() }()
	w.reach(t, 50)
	w.check(t, c, topic, 3)
}

func TestApacheKafkaKilledAmidWritesLosesNothingThatItAcknowledged(t *testing.T) {
	broker := testkit.StartKafka(t)
	c := client(t, broker.Addr)
	topic := newTopic(t, c, 3)
	w := write(t, c, topic, 3)
	w.reach(t, 100)
	broker.Kill(t)
	broker.Start(t)
	w.reach(t, 50)
	t.Logf("%d repeats", w.check(t, c, topic, 3))
}

func TestLeadersMayMove(t *testing.T) {
	cluster := embedded(t, kfake.NumBrokers(3))
	c := client(t, cluster.ListenAddrs()[0])
	const partitions = 6
	topic := newTopic(t, c, partitions)
	for p := range int32(partitions) {
		if err := cluster.MoveTopicPartition(topic, p, p%3); err != nil {
			t.Fatal(err)
		}
	}
	w := write(t, c, topic, partitions)
	for i := range int32(4) {
		w.reach(t, 10)
		if err := cluster.MoveTopicPartition(topic, i, (i+1)%3); err != nil {
			t.Fatal(err)
		}
	}
	w.reach(t, 10)
	if n := w.check(t, c, topic, partitions); n != 0 {
		t.Errorf("%d records were written again, although every refusal was clear", n)
	}
}

func TestOnlyThePartitionsThatFailedAreSentAgain(t *testing.T) {
	cluster := embedded(t)
	c := client(t, cluster.ListenAddrs()[0])
	topic := newTopic(t, c, 4)
	fault := cluster.Fault(kfake.Fault{Topic: topic, Partitions: []int32{2}, Count: 2})
	var ps []Produce
	for p := range int32(4) {
		ps = append(ps, Produce{p, values("x", "y")})
	}
	if err := c.Produce(t.Context(), topic, ps); err != nil {
		t.Fatal(err)
	}
	if fault.Hits() != 2 {
		t.Errorf("the fault was hit %d times, want 2", fault.Hits())
	}
	for p := range int32(4) {
		if got := strings.Join(readAll(t, c, topic, p, 0), ""); got != "xy" {
			t.Errorf("partition %d holds %q", p, got)
		}
	}
}

func TestAnErrorThatDoesNotPassIsReturned(t *testing.T) {
	cluster := embedded(t)
	c := client(t, cluster.ListenAddrs()[0])
	topic := newTopic(t, c, 1)
	cluster.Fault(kfake.Fault{Topic: topic, Partitions: []int32{0}, Count: -1})
	c.patience = 100 * time.Millisecond
	if err := c.Produce(t.Context(), topic, []Produce{{0, values("x")}}); err == nil || !strings.Contains(err.Error(), "produce to "+topic) {
		t.Errorf("producing says %v", err)
	}
	if err := c.Fetch(t.Context(), topic, 0, 0, &Batch{}); err == nil || !strings.Contains(err.Error(), "fetch "+topic+"/0 at 0") {
		t.Errorf("fetching says %v", err)
	}
}

// lossy is a listener whose connections break when they are to write so many
// more answers.
type lossy struct {
	net.Listener
	lose *atomic.Int64
}

type lossyConn struct {
	net.Conn
	lose *atomic.Int64
}

func (l lossy) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return lossyConn{c, l.lose}, nil
}

func (c lossyConn) Write(p []byte) (int, error) {
	if c.lose.Add(-1) >= 0 {
		return 0, errors.Join(errors.New("lost"), c.Close())
	}
	return c.Conn.Write(p)
}

func TestLostAnswersLeaveNoGaps(t *testing.T) {
	var lose atomic.Int64
	listen := func(network, addr string) (net.Listener, error) {
		l, err := net.Listen(network, addr)
		return lossy{l, &lose}, err
	}
	c := client(t, embedded(t, kfake.ListenFn(listen)).ListenAddrs()[0])
	topic := newTopic(t, c, 2)
	w := write(t, c, topic, 2)
	for range 5 {
		w.reach(t, 20)
		lose.Store(1)
	}
	w.reach(t, 20)
	if n := w.check(t, c, topic, 2); n == 0 {
		t.Error("no record was written again: no answer was lost, and nothing is shown")
	}
}

func TestABrokerThatIsNotThereIsWaitedFor(t *testing.T) {
	c := client(t, freeAddr(t))
	for what, ask := range map[string]func(context.Context) error{
		"fetch":   func(ctx context.Context) error { return c.Fetch(ctx, "topic", 0, 0, &Batch{}) },
		"produce": func(ctx context.Context) error { return c.Produce(ctx, "topic", []Produce{{0, values("x")}}) },
	} {
		if err := ask(within(t, 300*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s without a broker says %v", what, err)
		}
	}
	if err := c.Join(within(t, 300*time.Millisecond), "group", "topic", nil); err != nil {
		t.Errorf("a join that is told to leave before there is a broker says %v", err)
	}
}

func TestTheCoordinatorMayMove(t *testing.T) {
	cluster := embedded(t, kfake.NumBrokers(3))
	c := client(t, cluster.ListenAddrs()[0])
	topic := newTopic(t, c, 2)
	m := joinGroup(t, c, topic, topic, nil)
	if err := m.with(t, 2)[0].Commit(t.Context(), 3, "before"); err != nil {
		t.Fatal(err)
	}
	cluster.RehashCoordinators()
	ctx := within(t, 30*time.Second)
	for {
		err := m.with(t, 2)[0].Commit(ctx, 4, "after")
		if err == nil {
			break
		}
		if !errors.Is(err, ErrFenced) {
			t.Fatal(err)
		}
	}
	if got, err := c.Committed(ctx, topic, topic); err != nil || got[0].Offset != 4 {
		t.Errorf("committed %v, %v", got, err)
	}
}

func TestAnOwnThatDoesNotReturnIsLeftBehind(t *testing.T) {
	c := client(t, embedded(t).ListenAddrs()[0], func(c *Config) { c.DrainTimeout = 50 * time.Millisecond })
	topic := newTopic(t, c, 1)
	ctx, leave := context.WithCancel(t.Context())
	stuck, ended := make(chan struct{}), make(chan struct{})
	err := c.Join(ctx, topic, topic, func(context.Context, *Lease) error {
		defer close(ended)
		leave()
		<-stuck
		return nil
	})
	if !errors.Is(err, errDrain) {
		t.Errorf("leaving says %v", err)
	}
	close(stuck)
	<-ended
}

func TestAClosedClientSaysSo(t *testing.T) {
	c := client(t, embedded(t).ListenAddrs()[0])
	topic := newTopic(t, c, 1)
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := c.Partitions(t.Context(), topic)
	for what, err := range map[string]error{
		"fetch":      c.Fetch(t.Context(), topic, 0, 0, &Batch{}),
		"produce":    c.Produce(t.Context(), topic, []Produce{{0, values("x")}}),
		"join":       c.Join(t.Context(), topic, topic, nil),
		"partitions": err,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s on a closed client says %v", what, err)
		}
	}
}
