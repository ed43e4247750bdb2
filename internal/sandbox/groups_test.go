package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weirdev/weir/internal/kafka"
)

// TestAMemberKilledWhileItJoinsLosesItsPartitions: what a process that is gone
// was given, the one that is left gets in the end.
func TestAMemberKilledWhileItJoinsLosesItsPartitions(t *testing.T) {
	s := start(t, withDir(t.TempDir()))
	makeTopic(t, broker(t, s.Addresses().Kafka))
	cfg := kafka.Defaults()
	cfg.Brokers = []string{s.Addresses().Kafka}
	cfg.SessionTimeout, cfg.HeartbeatInterval, cfg.RebalanceTimeout = time.Second, 300*time.Millisecond, 5*time.Second
	k, err := kafka.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()

	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	all, err := k.Partitions(ctx, "topic")
	if err != nil {
		t.Fatal(err)
	}
	changes, left := make(chan int, 64), make(chan error, 1) // by how many partitions there are more
	go func() {
		left <- k.Join(ctx, "g", "topic", func(ctx context.Context, l *kafka.Lease) error {
			changes <- 1
			<-ctx.Done()
			changes <- -1
			return nil
		})
	}()
	owned := 0
	for owned < all {
		owned += await(t, changes)
	}
	for range 6 { // the broker forgets about every other one
		joinAndDie(t, s.Addresses().Kafka)
		groupIs(t, s.Addresses().Kafka, func(g kafkago.DescribeGroupsResponseGroup) bool {
			return g.GroupState == "Stable" && len(g.Members) == 1
		})
		for owned < all || len(changes) > 0 {
			owned += await(t, changes)
			t.Logf("%d of %d partitions", owned, all)
		}
	}
	leave()
	if err := <-left; err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, changes <-chan int) int {
	t.Helper()
	select {
	case n := <-changes:
		return n
	case <-time.After(30 * time.Second):
		t.Fatal("the group was not shared anew")
		return 0
	}
}

// weirs shares as the client does, by name.
type weirs struct{ kafkago.RangeGroupBalancer }

func (weirs) ProtocolName() string { return "weir-cooperative" }

// rebalancing returns when the group waits for its members to join anew: the
// broker has heard of the new one, and holds its answer back.
func rebalancing(t *testing.T, addr string) {
	t.Helper()
	groupIs(t, addr, func(g kafkago.DescribeGroupsResponseGroup) bool { return g.GroupState == "PreparingRebalance" })
}

func groupIs(t *testing.T, addr string, so func(kafkago.DescribeGroupsResponseGroup) bool) {
	t.Helper()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(addr), Transport: transport}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	longest := time.After(30 * time.Second)
	for {
		res, err := client.DescribeGroups(t.Context(), &kafkago.DescribeGroupsRequest{GroupIDs: []string{"g"}})
		if err == nil && len(res.Groups) == 1 && so(res.Groups[0]) {
			return
		}
		select {
		case <-tick.C:
		case <-longest:
			t.Fatal("the group does not get there")
		}
	}
}

// joinAndDie asks to join, and is gone before the answer.
func joinAndDie(t *testing.T, addr string) {
	t.Helper()
	var mu sync.Mutex
	var conns []net.Conn
	dead := false
	dialer := &kafkago.Dialer{DialFunc: func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if dead {
			return nil, errors.New("this process is dead")
		}
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		conns = append(conns, c)
		return c, err
	}}
	group, err := kafkago.NewConsumerGroup(kafkago.ConsumerGroupConfig{
		ID: "g", Brokers: []string{addr}, Topics: []string{"topic"}, Dialer: dialer,
		GroupBalancers: []kafkago.GroupBalancer{weirs{}},
		SessionTimeout: time.Second, RebalanceTimeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	rebalancing(t, addr)
	mu.Lock()
	dead = true
	for _, c := range conns {
		_ = c.Close()
	}
	mu.Unlock()
	if err := group.Close(); err != nil {
		t.Log(err)
	}
}

func TestWhoIsGoneWhileTheGroupWaits(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const state = "PreparingRebalance"
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		name   string
		heard  time.Time // zero: never
		seen   time.Time
		online bool
		want   bool
	}{
		{"a new member that waits for its answer", time.Time{}, ago(9 * time.Second), true, false},
		{"a new member that died before its answer", time.Time{}, ago(4 * time.Second), false, true},
		{"one that may have come back on another connection after a restart of the broker", time.Time{}, ago(2 * time.Second), false, false},
		{"an old member that has joined anew, on another connection", ago(11 * time.Second), ago(time.Hour), false, false},
		{"an old member that never came", ago(14 * time.Second), ago(time.Hour), false, true},
	} {
		g := &groupLife{session: 3 * time.Second, rebalance: 10 * time.Second, heard: map[string]time.Time{}, seen: map[string]time.Time{"m": c.seen}}
		if !c.heard.IsZero() {
			g.heard["m"] = c.heard
		}
		got := g.silent(&kfake.GroupMember{MemberID: "m", ClientHost: "127.0.0.1:1"}, state, now, func(string) bool { return c.online })
		if got != c.want {
			t.Errorf("%s: gone is %v", c.name, got)
		}
	}
}

func TestWhoWaitedForTheGroupIsNotGoneWhenItIsShared(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	joined := now.Add(-4 * time.Second) // longer ago than the session lasts: somebody had to be given up
	r := &reaper{groups: map[string]*groupLife{"g": {
		session: 3 * time.Second, generation: 7, began: now.Add(-time.Minute), heard: map[string]time.Time{"m": joined}, seen: map[string]time.Time{},
	}}}
	info := &kfake.GroupInfo{Group: "g", State: "CompletingRebalance", Epoch: 8, Members: []kfake.GroupMember{{MemberID: "m"}}}
	for after, gone := range map[time.Duration]bool{0: false, 2 * time.Second: false, 4 * time.Second: true} {
		r.groups["g"].generation = 7
		r.silent(info, now)
		if got := r.silent(info, now.Add(after)); (len(got) > 0) != gone {
			t.Errorf("%v after the group is shared, %v are gone", after, got)
		}
	}
}
