package redis

import (
	"strconv"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

// TestAServerThatForgetsIsNoticed: without a single score being put meanwhile.
func TestAServerThatForgetsIsNoticed(t *testing.T) {
	for name, forget := range map[string]func(t *testing.T, s server){
		"flushed": func(t *testing.T, s server) {
			if err := connect(t, s).FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		},
		"started again empty": func(t *testing.T, s server) {
			s.Stop(t)
			s.Start(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, s server) {
				track := startWriter(t, testConfig(s)).Open(3)
				put(t, track, 1, update(entityNumber(1), 1, 50))
				drain(t, track)
				if track.Forgotten() {
					t.Fatal("forgotten before anything happened")
				}
				forget(t, s)
				eventually(t, "it is noticed", track.Forgotten)
				drain(t, track)
				if track.Forgotten() {
					t.Error("it is said twice")
				}
			})
		})
	}
}

// TestAReplicaThatLagsIsNoticed: after a failover the key is there, but lower.
func TestAReplicaThatLagsIsNoticed(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		c, track := connect(t, s), startWriter(t, testConfig(s)).Open(3)
		put(t, track, 1, update(entityNumber(1), 1, 50))
		drain(t, track)
		old, err := c.Get(t.Context(), track.witness.key).Result()
		if err != nil {
			t.Fatal(err)
		}
		put(t, track, 2, update(entityNumber(1), 2, 60))
		drain(t, track)
		if err := c.Set(t.Context(), track.witness.key, old, 0).Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is noticed", track.Forgotten)
	})
}

// TestAnOwnerThatGaveUpDoesNotDisturb the next one.
func TestAnOwnerThatGaveUpDoesNotDisturb(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		first := startWriter(t, testConfig(s)).Open(3)
		put(t, first, 1, update(entityNumber(1), 1, 50))
		drain(t, first)
		first.Close()
		second := startWriter(t, testConfig(s)).Open(3)
		counted := func(n uint64) func() bool {
			return func() bool {
				v, err := connect(t, s).Get(t.Context(), second.witness.key).Result()
				return err == nil && v >= second.witness.token+":"+strconv.FormatUint(n, 10)
			}
		}
		eventually(t, "the second counts", counted(3))
		if first.Forgotten() || second.Forgotten() {
			t.Error("one of them takes the other for a loss")
		}
	})
}

// TestAnAnswerThatIsLostIsNoLoss: the number may have arrived or not.
func TestAnAnswerThatIsLostIsNoLoss(t *testing.T) {
	reply := func(old string) *goredis.Cmd { return goredis.NewCmdResult(old, nil) }
	unanswered := goredis.NewCmdResult(nil, errNoReply)
	for _, c := range []struct {
		name, old string
		lost      bool
	}{
		{"the number arrived", "token:2", false},
		{"it did not", "token:1", false},
		{"what stood before is gone", "token:0", true},
		{"a number that was never sent", "token:4", true},
		{"somebody else's", "other:2", true},
		{"none", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &witness{token: "token", sent: 1}
			s.judge(reply("anything")) // the first tells nothing
			s.sent = 2
			if s.judge(unanswered) {
				t.Fatal("no answer is taken for a loss")
			}
			s.sent = 3
			if got := s.judge(reply(c.old)); got != c.lost || s.forgotten.Load() != c.lost {
				t.Errorf("loss %v, want %v", got, c.lost)
			}
		})
	}
}

// TestTheWitnessStandsBeforeTheFirstScore: a server that dies amid the first
// batch has lost something that was acknowledged, and that must be told.
func TestTheWitnessStandsBeforeTheFirstScore(t *testing.T) {
	s := startFake(t)
	w, err := NewWriter(testConfig(s), testDeps()) // which nobody runs
	if err != nil {
		t.Fatal(err)
	}
	defer w.client.Close()
	track := w.Open(3)
	put(t, track, 1, update(entityNumber(1), 1, 50))
	if err := w.introduce(t.Context(), w.take()); err != nil {
		t.Fatal(err)
	}
	if track.witness.known == 0 || !s.Exists(track.witness.key) || len(s.scores()) != 0 {
		t.Fatalf("known %d, keys %v", track.witness.known, s.Keys())
	}
	s.FlushAll()
	w.beat(t.Context())
	if !track.Forgotten() {
		t.Error("a loss before the first score is not told")
	}
}
