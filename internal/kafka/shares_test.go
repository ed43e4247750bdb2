package kafka

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// longSession is a session that no test waits for.
func longSession(c *Config) { c.SessionTimeout, c.RebalanceTimeout = 5*time.Minute, 5*time.Minute }

// A coordinator that refuses one rejoin costs what is held, but not a session: the
// id that the library has forgotten is taken out of the group.
func TestAFailedRejoinIsNotWaitedFor(t *testing.T) {
	broker := embedded(t)
	addr := broker.ListenAddrs()[0]
	a, b := client(t, addr, longSession), client(t, addr, longSession)
	topic := newTopic(t, a, 4)
	first := joinGroup(t, a, topic, topic, nil)
	first.with(t, 4)
	var refused atomic.Int32
	broker.ControlKey(int16(kmsg.JoinGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		join := req.(*kmsg.JoinGroupRequest)
		if join.MemberID == "" || refused.Add(1) > 1 {
			return nil, nil, false
		}
		res := join.ResponseKind().(*kmsg.JoinGroupResponse)
		res.ErrorCode = kerr.CoordinatorLoadInProgress.Code
		return res, nil, true
	})
	second := joinGroup(t, b, topic, topic, nil)
	ctx := within(t, time.Minute)
	for owned := 0; owned < 4 || refused.Load() == 0 || first.timesTaken(0)+second.timesTaken(0) < 2; {
		select {
		case <-first.changed:
		case <-second.changed:
		case <-ctx.Done():
			t.Fatalf("%d partitions are owned, and the rejoin was refused %d times", owned, refused.Load())
		}
		owned = 0
		for _, m := range []*testMember{first, second} {
			m.mu.Lock()
			owned += len(m.owned)
			m.mu.Unlock()
		}
	}
}

// Who leaves while the group waits for somebody else leaves all the same.
func TestLeavingWhileOthersAreWaitedFor(t *testing.T) {
	broker := embedded(t)
	addr := broker.ListenAddrs()[0]
	a, b, c := client(t, addr, longSession), client(t, addr, longSession), client(t, addr, longSession)
	topic := newTopic(t, a, 4)
	first := joinGroup(t, a, topic, topic, nil)
	first.with(t, 4)
	dialer := newGroupDialer(b)
	cfg := b.groupConfig(topic, topic, dialer, &sticky{})
	cfg.HeartbeatInterval = time.Hour // hears of nothing
	silent, err := kafkago.NewConsumerGroup(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer dialer.closeGroup(silent)
	if _, err := silent.Next(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	rejoins := make(chan struct{}, 1)
	broker.ControlKey(int16(kmsg.JoinGroup), func(req kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		if req.(*kmsg.JoinGroupRequest).MemberID != "" {
			select {
			case rejoins <- struct{}{}:
			default:
			}
		}
		return nil, nil, false
	})
	joinGroup(t, c, topic, topic, nil)
	select {
	case <-rejoins: // which waits for the silent one
	case <-within(t, time.Minute).Done():
		t.Fatal("nobody joins anew")
	}
	first.leave()
	if err := <-first.left; err != nil {
		t.Fatal(err)
	}
	if n := len(broker.GroupInfo(topic).Members); n != 2 {
		t.Errorf("%d members, not 2: the one that left is still one", n)
	}
}

// A leader whose broker does not know the topic yet gives nobody anything, and then
// asks again.
func TestATopicThatTheLeaderDoesNotSeeYet(t *testing.T) {
	broker := embedded(t)
	a := client(t, broker.ListenAddrs()[0])
	topic := newTopic(t, a, 2)
	var asked atomic.Int32
	broker.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		q := req.(*kmsg.MetadataRequest)
		if q.Version != 6 || len(q.Topics) != 1 || asked.Add(1) > 1 { // the library's, of the leader
			return nil, nil, false
		}
		res := q.ResponseKind().(*kmsg.MetadataResponse)
		unknown := kmsg.NewMetadataResponseTopic()
		unknown.Topic, unknown.ErrorCode = kmsg.StringPtr(topic), kerr.UnknownTopicOrPartition.Code
		res.Topics = append(res.Topics, unknown)
		return res, nil, true
	})
	joinGroup(t, a, topic, topic, nil).with(t, 2)
	if asked.Load() < 2 {
		t.Error("no answer was forged")
	}
}

// What a join did not claim may be another's by now: it is not drained, and commits
// nothing.
func TestWhatWasNotClaimedIsLost(t *testing.T) {
	m := &member{
		c: &Client{cfg: Defaults()}, topic: "t", balancer: &sticky{}, log: slog.New(slog.DiscardHandler),
		held: map[int32]*holding{}, pauses: map[int32]time.Duration{},
		own: func(ctx context.Context, _ *Lease) error { <-ctx.Done(); return nil },
	}
	generation := func(id int32, partitions ...int) *kafkago.Generation {
		g := &kafkago.Generation{ID: id, MemberID: "me", Assignments: map[string][]kafkago.PartitionAssignment{}}
		for _, p := range partitions {
			g.Assignments["t"] = append(g.Assignments["t"], kafkago.PartitionAssignment{ID: p})
		}
		return g
	}
	held := func(p int32) *holding {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.held[p]
	}
	ended := func(h *holding) error {
		cause := make(chan error, 1)
		h.end = func(end context.CancelCauseFunc) context.CancelCauseFunc {
			return func(why error) {
				select {
				case cause <- why:
				default:
				}
				end(why)
			}
		}(h.end)
		defer func() { <-h.done }()
		m.adopt(t.Context(), generation(3, 1))
		return <-cause
	}
	m.adopt(t.Context(), generation(1))
	if _, err := m.balancer.UserData(); err != nil { // the join before generation 2 claims nothing
		t.Fatal(err)
	}
	m.adopt(t.Context(), generation(2, 0, 1))
	given := held(1)
	if why := ended(held(0)); !errors.Is(why, ErrFenced) {
		t.Errorf("it was told %v", why)
	}
	if now := held(1); now == given || now == nil || m.generationOf(given) != nil {
		t.Error("what was not claimed, and given again, goes on as if nobody had had it in between")
	}
	// Claimed, it is drained, and commits in the new generation.
	m.adopt(t.Context(), generation(4, 0, 1))
	if _, err := m.balancer.UserData(); err != nil {
		t.Fatal(err)
	}
	if why := ended(held(0)); !errors.Is(why, errMoved) {
		t.Errorf("it was told %v", why)
	}
	m.mu.Lock()
	m.lose(ErrFenced)
	m.mu.Unlock()
	m.running.Wait()
}

func TestALeaderThatSeesNoPartitionsSharesAgain(t *testing.T) {
	s := &sticky{}
	s.levelNext()
	s.AssignGroups([]kafkago.GroupMember{{ID: "a", Topics: []string{"t"}}}, nil)
	if !s.takeUneven() {
		t.Error("the group would rest with nothing")
	}
	s.levelNext()
	if s.takeUneven() || s.level {
		t.Error("what was to be the next time outlives the generation")
	}
}
