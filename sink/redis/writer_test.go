package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

func TestAScoreThatIsPutCanBeLookedUp(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		w, r := startWriter(t, testConfig(s)), newTestReader(t, testConfig(s))
		track := w.Open(3)
		put(t, track, 7, update(entityNumber(1), 7, 80))
		drain(t, track)
		v := get(t, r, entityNumber(1))
		if v.Position.Offset != 7 || len(v.Contributions) != 1 || v.Contributions[0].Weight != 80 {
			t.Errorf("got %+v", v)
		}
		if want := score.Expires(v.Contributions); v.Expires != want {
			t.Errorf("expires %d, want %d", v.Expires, want)
		}
		if other := get(t, r, entityNumber(2)); other.Kind != 0 {
			t.Errorf("an entity that nobody put: %+v", other)
		}
		if got := track.Stored(); got != math.MaxInt64 {
			t.Errorf("stored %d while nothing waits", got)
		}
		if got := testutil.ToFloat64(w.metrics.written); got != 1 {
			t.Errorf("%v writes counted", got)
		}
	})
}

func TestManyWritersLeaveTheNewestScore(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		const writers, entities, offsets = 4, 8, 200
		r := newTestReader(t, testConfig(s))
		var wg sync.WaitGroup
		for range writers {
			cfg := testConfig(s)
			cfg.PipelineSize = 1 + rand.IntN(20)
			track := startWriter(t, cfg).Open(3)
			wg.Go(func() {
				from := int64(rand.IntN(offsets)) // as owners that took over at different times
				for o := from; o <= offsets; o++ {
					put(t, track, o, update(entityNumber(int(o)%entities), o, uint8(50+o%50)))
				}
				drain(t, track)
			})
		}
		wg.Wait()
		for i := range entities {
			want := int64(offsets - (offsets-i)%entities)
			v := get(t, r, entityNumber(i))
			if v.Position.Offset != want || v.Contributions[0].Weight != uint8(50+want%50) {
				t.Errorf("entity %d: offset %d, want %d", i, v.Position.Offset, want)
			}
		}
	})
}

func TestOnlyTheLatestScoreOfAnEntityIsSent(t *testing.T) {
	s := startFake(t)
	w, r := startWriter(t, testConfig(s)), newTestReader(t, testConfig(s))
	s.Stop(t)
	track := w.Open(3)
	for o := range int64(1000) {
		put(t, track, o, update(entityNumber(int(o%2)), o, 50))
	}
	if got := track.Stored(); got > 1 {
		t.Errorf("stored %d, but nothing was acknowledged", got)
	}
	if got := testutil.ToFloat64(w.metrics.coalesced); got < 990 {
		t.Errorf("%v coalesced", got)
	}
	s.Start(t)
	drain(t, track)
	if got := testutil.ToFloat64(w.metrics.written); got > 8 {
		t.Errorf("%v writes for two entities", got)
	}
	for i := range 2 {
		if v := get(t, r, entityNumber(i)); v.Position.Offset != int64(998+i) {
			t.Errorf("entity %d: offset %d", i, v.Position.Offset)
		}
	}
}

func TestAnOutageDelaysButLosesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		w, r := startWriter(t, testConfig(s)), newTestReader(t, testConfig(s))
		track := w.Open(3)
		for o := range int64(50) {
			put(t, track, o, update(entityNumber(int(o)), o, 50))
		}
		drain(t, track)
		s.Stop(t)
		for o := int64(50); o < 100; o++ {
			put(t, track, o, update(entityNumber(int(o)), o, 50))
		}
		if got := track.Stored(); got != 50 {
			t.Errorf("stored %d during the outage, want 50", got)
		}
		eventually(t, "the failure is counted", func() bool {
			return testutil.ToFloat64(w.metrics.errors[reasonNetwork])+testutil.ToFloat64(w.metrics.errors[reasonTimeout]) > 0
		})
		s.Start(t) // empty, and without the script
		drain(t, track)
		for i := 50; i < 100; i++ {
			if v := get(t, r, entityNumber(i)); v.Position.Offset != int64(i) {
				t.Errorf("entity %d: offset %d", i, v.Position.Offset)
			}
		}
		if got := track.Stored(); got != math.MaxInt64 {
			t.Errorf("stored %d", got)
		}
	})
}

func TestScriptsThatAreForgottenAreLoadedAgain(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, w, r, c := t.Context(), idleWriter(t, s), newTestReader(t, testConfig(s)), connect(t, s)
		track := w.Open(3)
		for o := range int64(5) {
			if err := writeNow(ctx, w, track, update(entityNumber(0), o, 50)); err != nil {
				t.Fatal(err)
			}
			if v := get(t, r, entityNumber(0)); v.Position.Offset != o {
				t.Errorf("offset %d", v.Position.Offset)
			}
			if err := c.ScriptFlush(ctx).Err(); err != nil {
				t.Fatal(err)
			}
			if o%2 == 1 { // with the witnesses, before a score needs them
				if w.beat(ctx); track.witness.known != track.witness.sent {
					t.Error("the witness is not counted up")
				}
			}
		}
		// The track's first number learns the scripts, and so does each second beat.
		if got := testutil.ToFloat64(w.metrics.errors[reasonScript]); got != 2 {
			t.Errorf("a script was missing for %v scores, want 2", got)
		}
	})
}

func TestAnEmptiedRedisTakesScoresAgain(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		w, r, c := startWriter(t, testConfig(s)), newTestReader(t, testConfig(s)), connect(t, s)
		track := w.Open(3)
		for range 2 { // the second time as a new owner republishes: same positions
			for o := range int64(20) {
				put(t, track, o, update(entityNumber(int(o)), o, 50))
			}
			drain(t, track)
			if err := c.FlushAll(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		put(t, track, 20, update(entityNumber(5), 5, 50))
		drain(t, track)
		if v := get(t, r, entityNumber(5)); v.Position.Offset != 5 {
			t.Errorf("got %+v", v)
		}
	})
}

// Each refusal comes from a real server in the state that causes it.
func TestRefusalsOfARealServerAreWaitedOut(t *testing.T) {
	for _, tc := range []struct {
		name, reason   string
		break_, mended [][]any
	}{
		{"memory is full", reasonMemory, [][]any{{"config", "set", "maxmemory", "1"}}, [][]any{{"config", "set", "maxmemory", "0"}}},
		{"it has become a replica", reasonReadOnly, [][]any{{"replicaof", "127.0.0.1", "1"}}, [][]any{{"replicaof", "no", "one"}}},
		{"it wants more replicas", reasonReadOnly, [][]any{{"config", "set", "min-replicas-to-write", "1"}}, [][]any{{"config", "set", "min-replicas-to-write", "0"}}},
		{"the user may not", reasonDenied, [][]any{{"acl", "setuser", "default", "-evalsha"}}, [][]any{{"acl", "setuser", "default", "+evalsha"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := startReal(t)
			w, r, c := startWriter(t, testConfig(s)), newTestReader(t, testConfig(s)), connect(t, s)
			track := w.Open(3)
			put(t, track, 0, update(entityNumber(0), 0, 50))
			drain(t, track)
			do := func(commands [][]any) {
				for _, args := range commands {
					if err := c.Do(t.Context(), args...).Err(); err != nil {
						t.Fatal(err)
					}
				}
			}
			do(tc.break_)
			put(t, track, 1, update(entityNumber(1), 1, 50))
			eventually(t, "the refusal is counted as "+tc.reason, func() bool { return testutil.ToFloat64(w.metrics.errors[tc.reason]) > 0 })
			if got := track.Stored(); got != 1 {
				t.Errorf("stored %d", got)
			}
			do(tc.mended)
			drain(t, track)
			if v := get(t, r, entityNumber(1)); v.Position.Offset != 1 {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestRefusalsAreNamed(t *testing.T) {
	s := startFake(t)
	w := startWriter(t, testConfig(s))
	track := w.Open(3)
	for text, reason := range map[string]string{
		"LOADING Redis is loading the dataset in memory":             reasonLoading,
		"BUSY Redis is busy running a script":                        reasonLoading,
		"MISCONF Redis is configured to save RDB snapshots":          reasonMemory,
		"CLUSTERDOWN The cluster is down":                            reasonCluster,
		"MASTERDOWN Link with MASTER is down":                        reasonCluster,
		"NOAUTH Authentication required.":                            reasonDenied,
		"ERR something that nobody has thought of":                   reasonServer,
		"OOM command not allowed when used memory > 'maxmemory'.":    reasonMemory,
		"READONLY You can't write against a read only replica.":      reasonReadOnly,
		"NOREPLICAS Not enough good replicas to write.":              reasonReadOnly,
		"NOPERM this user has no permissions to run the 'x' command": reasonDenied,
	} {
		before := testutil.ToFloat64(w.metrics.errors[reason])
		s.SetError(text)
		put(t, track, 0, update(entityNumber(0), 0, 50))
		eventually(t, text+" is counted", func() bool { return testutil.ToFloat64(w.metrics.errors[reason]) > before })
		s.SetError("")
		drain(t, track)
	}
}

func TestPutWaitsWhileTheBufferIsFullOfOtherEntities(t *testing.T) {
	s := startFake(t)
	cfg := testConfig(s)
	s.Stop(t)
	cfg.BufferSize, cfg.PipelineSize = 4, 2
	w := startWriter(t, cfg)
	track := w.Open(3)
	for o := range int64(4) {
		put(t, track, o, update(entityNumber(int(o)), o, 50))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := track.Put(ctx, 4, update(entityNumber(4), 4, 50)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a fifth entity: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- track.Put(t.Context(), 4, update(entityNumber(4), 4, 50)) }()
	s.Start(t)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	drain(t, track)
	if n := len(w.places); n != 0 {
		t.Errorf("%d places are still taken", n)
	}
	if got := testutil.ToFloat64(w.metrics.blocked); got <= 0 {
		t.Error("the wait was not counted")
	}
}

func TestTheBufferStaysBoundedHoweverManyScoresCome(t *testing.T) {
	s := startFake(t)
	cfg := testConfig(s)
	s.Stop(t)
	cfg.BufferSize, cfg.DrainTimeout = 64, time.Millisecond
	w := startWriter(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for p := range int32(4) {
		track := w.Open(p)
		wg.Go(func() {
			for o := int64(0); track.Put(ctx, o, update(entityNumber(rand.IntN(10_000)), o, 50)) == nil; o++ {
			}
		})
	}
	wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.places) > 64 || len(w.queue) > 64 || len(w.free) > cfg.PipelineSize {
		t.Errorf("%d places, %d queued, %d free", len(w.places), len(w.queue), len(w.free))
	}
}

func TestEndingWritesWhatIsLeft(t *testing.T) {
	s := startFake(t)
	cfg := testConfig(s)
	cfg.DrainTimeout = time.Minute // 1,000 scripts take seconds on a busy machine
	w, err := NewWriter(cfg, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	track := w.Open(3)
	for o := range int64(1000) {
		put(t, track, o, update(entityNumber(int(o)), o, 50))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(s.scores()); n != 1000 {
		t.Errorf("%d keys", n)
	}
	if err := track.Put(t.Context(), 1000, update(entityNumber(0), 1000, 50)); !errors.Is(err, ErrClosed) {
		t.Errorf("put after the end: %v", err)
	}
}

// A real server that is slow on purpose: each call waits as long as a busy
// machine would make it.
func TestBatchesShrinkUntilASlowServerKeepsUp(t *testing.T) {
	s := startReal(t)
	cfg := testConfig(s)
	cfg.WriteTimeout, cfg.PipelineSize = 25*time.Millisecond, 64
	w, err := NewWriter(cfg, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	slow := "local n = 0; for i = 1, 200000 do n = n + i end" // about a millisecond
	if w.script, err = connect(t, s).ScriptLoad(t.Context(), slow+putScript).Result(); err != nil {
		t.Fatal(err)
	}
	track := w.Open(3)
	for o := range int64(200) {
		put(t, track, o, update(entityNumber(int(o)), o, 50))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	drain(t, track)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(w.metrics.errors[reasonTimeout]); got == 0 {
		t.Error("the server was never too slow: the test shows nothing")
	}
}

func TestEndingDuringAnOutageSaysWhatIsLost(t *testing.T) {
	s := startFake(t)
	cfg := testConfig(s)
	s.Stop(t)
	cfg.DrainTimeout = 20 * time.Millisecond
	w, err := NewWriter(cfg, testDeps())
	if err != nil {
		t.Fatal(err)
	}
	track := w.Open(3)
	put(t, track, 9, update(entityNumber(0), 9, 50))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx); err == nil {
		t.Error("no error")
	}
	if got := track.Stored(); got != 9 {
		t.Errorf("stored %d", got)
	}
	if err := track.Drain(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("drain: %v", err)
	}
}

func TestDrainEndsWithItsContext(t *testing.T) {
	s := startFake(t)
	track := startWriter(t, testConfig(s)).Open(3)
	s.Stop(t)
	put(t, track, 0, update(entityNumber(0), 0, 50))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := track.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	s.Start(t)
	drain(t, track)
}

func TestUpdatesThatNoReaderCouldReadAreRefused(t *testing.T) {
	w, err := NewWriter(testConfig(startFake(t)), testDeps())
	if err != nil {
		t.Fatal(err)
	}
	u := update(entityNumber(0), 0, 50)
	u.Position.Incarnation = 1 << 40
	if err := w.Open(3).Put(t.Context(), 0, u); !errors.Is(err, score.ErrValue) {
		t.Errorf("got %v", err)
	}
}

func TestPutCopiesWhatItKeeps(t *testing.T) {
	s := startFake(t)
	w, err := NewWriter(testConfig(s), testDeps())
	if err != nil {
		t.Fatal(err)
	}
	track := w.Open(3)
	u := update(entityNumber(0), 0, 50)
	put(t, track, 0, u)
	u.Contributions[0].Weight = 99
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if v := get(t, newTestReader(t, testConfig(s)), entityNumber(0)); v.Contributions[0].Weight != 50 {
		t.Errorf("weight %d", v.Contributions[0].Weight)
	}
}

// benchmarkWrites measures scores a second; run with a real server it includes
// the server's own time on the same machine.
func benchmarkWrites(b *testing.B, s server, entities int) {
	w := startWriter(b, testConfig(s))
	track := w.Open(3)
	all := make([]facet.Entity, entities)
	for i := range all {
		all[i] = entityNumber(i)
	}
	u := update(all[0], 0, 50)
	b.ReportAllocs()
	o := int64(0)
	for b.Loop() {
		o++
		u.Entity, u.Position.Offset = all[o%int64(entities)], o
		if err := track.Put(b.Context(), o, u); err != nil {
			b.Fatal(err)
		}
	}
	drain(b, track)
	b.ReportMetric(testutil.ToFloat64(w.metrics.written)/float64(b.N), "writes/put")
}

func BenchmarkPut(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprintf("%d entities", n), func(b *testing.B) { benchmarkWrites(b, startReal(b), n) })
	}
}

// BenchmarkPutAndAcknowledge is the way of a single score when nothing else is
// going on.
func BenchmarkPutAndAcknowledge(b *testing.B) {
	track := startWriter(b, testConfig(startReal(b))).Open(3)
	o := int64(0)
	for b.Loop() {
		o++
		put(b, track, o, update(entityNumber(0), o, 50))
		drain(b, track)
	}
}
