package notices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

var errDied = errors.New("the worker is dead")

// world is what a stage of one partition is wired to: the log of signals, with a
// record for each second at which something was written, and receivers. A worker
// dies at an effect.
type world struct {
	mu       sync.Mutex
	dir      string
	file     string
	start    int64
	records  []kafka.Record
	commit   kafka.Commit
	receiver map[string]*receiver
	dead     []kafka.Outgoing
	mortal   int // effects left until the worker dies; below 0: it does not
	die      context.CancelCauseFunc
}

// receiver takes notices, unless it is down.
type receiver struct {
	*world
	got  []Notice
	err  error
	slow time.Duration
}

// Send implements [sender]. A worker that dies after it may have told.
func (r *receiver) Send(ctx context.Context, n *Notice) error {
	if r.slow > 0 {
		select {
		case <-time.After(r.slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dies() {
		return errDied
	}
	if r.err != nil {
		return r.err
	}
	r.got = append(r.got, *n)
	if r.dies() {
		return errDied
	}
	return nil
}

// dies counts an effect; mu is held.
func (w *world) dies() bool {
	if w.mortal == 0 {
		w.die(kafka.ErrFenced) // its owner does nothing more
		return true
	}
	w.mortal--
	return false
}

const twoChannels = `
group: {wait: 10s, interval: 1m, repeat: 1h, resolve: 5m}
channels:
  - {id: one, webhook: {url: http://127.0.0.1:1/, secret_file: secret}}
  - {id: two, webhook: {url: http://127.0.0.1:1/, secret_file: secret}, give_up_after: 10m}
`

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), commit: kafka.Commit{Offset: -1}, mortal: -1}
	w.receiver = map[string]*receiver{"one": {world: w}, "two": {world: w}}
	w.file = filepath.Join(w.dir, "notices.yaml")
	w.write(t, "secret", "a secret of the tests\n")
	w.write(t, "notices.yaml", twoChannels)
	return w
}

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// send writes the n-th signal now.
func (w *world) send(n int64, rule, entity string) {
	b, err := json.Marshal(signal(n, rule, entity))
	if err != nil {
		panic(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, kafka.Record{Offset: int64(len(w.records)), Time: time.Now().UnixMilli(), Value: b})
}

func (w *world) Fetch(ctx context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	b.Asked = time.Now()
	w.mu.Lock()
	end := int64(len(w.records))
	w.mu.Unlock()
	if offset < w.start || offset > end {
		return fmt.Errorf("fetch at %d: %w", offset, kafka.ErrOffsetOutOfRange)
	}
	b.Records, b.Next, b.HighWatermark = b.Records[:0], offset, end
	if offset == end {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(4 * time.Second):
			return nil
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for ; b.Next < end && len(b.Records) < 3; b.Next++ {
		b.Records = append(b.Records, w.records[b.Next])
	}
	return nil
}

func (w *world) NextReadable(context.Context, string, int32, int64) (int64, error) {
	return 0, errors.New("everything reads here")
}

func (w *world) Produce(_ context.Context, topic string, ps []kafka.Produce) error {
	if topic != "weir.dead" {
		return errors.New("nothing else is produced here")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dead = append(w.dead, ps[0].Records...)
	return nil
}

func (w *world) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []kafka.OffsetRange{{Start: w.start, End: int64(len(w.records))}}, nil
}

func (w *world) Committed(context.Context, string, string) ([]kafka.Commit, error) {
	return []kafka.Commit{w.commit}, nil
}

func (w *world) Partitions(context.Context, string) (int, error) { return 1, nil }

func (w *world) Join(ctx context.Context, _, _ string, own func(context.Context, *kafka.Lease) error) error {
	ctx, w.die = context.WithCancelCause(ctx)
	return own(ctx, kafka.NewLease(0, func(_ context.Context, offset int64, metadata string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.dies() {
			return errDied
		}
		w.commit = kafka.Commit{Offset: offset, Metadata: metadata}
		return nil
	}))
}

var loadRules = sync.OnceValues(func() (*rules.Set, error) { return rules.Default(detectors.All()) })

func words(t *testing.T) *rules.Set {
	t.Helper()
	set, err := loadRules()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// stage makes a worker with the receivers of the world.
func (w *world) stage(t *testing.T) *Stage {
	t.Helper()
	s, err := New(Config{File: w.file}, Topics{Signals: "weir.signals", Dead: "weir.dead", Group: "weir.notices", Stream: "weir"}, Dependencies{
		Log: w, Rules: words(t), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.wire(s.file.current.Load())
	taken := s.file.taken
	s.file.taken = func(f *File) {
		w.wire(f)
		taken(f)
	}
	return s
}

func (w *world) wire(f *File) {
	for _, c := range f.Channels {
		c.sender = w.receiver[c.ID]
	}
}

// run runs a worker for d, or until it dies.
func (w *world) run(t *testing.T, d time.Duration) *Stage {
	t.Helper()
	s := w.stage(t)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := s.Run(ctx); err != nil && !errors.Is(err, errDied) && !errors.Is(err, kafka.ErrFenced) {
		t.Fatal(err)
	}
	return s
}

// traffic writes the signals of an hour while a worker runs.
func (w *world) traffic(t *testing.T) {
	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() {
		for n := range int64(20) {
			time.Sleep(90 * time.Second)
			w.send(n, []string{"scan", "scrape"}[n/7%2], string(rune('a'+n/3%4)))
		}
	})
	w.run(t, 40*time.Minute)
}

// ids lists what a receiver was told.
func (r *receiver) ids() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.got {
		all = append(all, string(n.Status)+" "+n.ID)
	}
	return all
}

// TestAKilledWorkerTellsEverything kills it at every effect: before and after each
// delivery, and before each commit. Its successor goes on with the same groups and
// notices.
func TestAKilledWorkerTellsEverything(t *testing.T) {
	var want []string
	effects := 0
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mortal = 1 << 20
		w.traffic(t)
		want, effects = w.receiver["one"].ids(), 1<<20-w.mortal
		if two := w.receiver["two"].ids(); len(want) < 9 || !slices.Equal(two, want) || slices.Compact(slices.Sorted(slices.Values(want)))[0] == "" {
			t.Errorf("one was told %q, two %q", want, two)
		}
		if w.commit.Offset != int64(len(w.records)) {
			t.Errorf("%d is committed of %d, with nothing open", w.commit.Offset, len(w.records))
		}
	})
	again := 0
	for at := range effects {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.mortal = at
			w.traffic(t)
			w.mortal = -1
			w.run(t, 20*time.Minute)
			for name, r := range w.receiver {
				seen := map[string]int{}
				for _, n := range r.got {
					seen[n.ID]++
				}
				var last []string // the resolved notice of each group tells all
				for _, id := range want {
					if strings.HasPrefix(id, "resolved") {
						last = append(last, strings.TrimPrefix(id, "resolved "))
					}
				}
				for _, id := range last {
					if at > 0 && seen[id] == 0 {
						t.Errorf("after a death at effect %d, %s was never told %s", at, name, id)
					}
				}
				for id, n := range seen {
					again += n - 1
					if !slices.ContainsFunc(want, func(w string) bool { return strings.HasSuffix(w, " "+id) }) && at > 0 {
						t.Errorf("after a death at effect %d, %s was told %s, which an undisturbed worker never tells", at, name, id)
					}
				}
			}
		})
	}
	if again == 0 {
		t.Error("nothing was ever told twice: nobody died between delivery and commit")
	}
}

func TestAChannelThatIsDownHoldsNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.receiver["two"].err = errors.New("the receiver is down")
		var writing sync.WaitGroup
		writing.Go(func() {
			time.Sleep(time.Minute)
			w.send(1, "scan", "a")
			time.Sleep(2 * time.Minute)
			w.send(2, "scan", "b")
			time.Sleep(2 * time.Minute)
			if got := w.receiver["one"].ids(); len(got) != 2 {
				t.Errorf("the other was told %q", got)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.commit.Offset != 0 {
				t.Errorf("%d is committed, though something is not delivered", w.commit.Offset)
			}
			w.receiver["two"].err = nil
		})
		s := w.run(t, 20*time.Minute)
		writing.Wait()
		// What it missed is one notice: the latest of the group, as its first.
		if got := w.receiver["two"].got; len(got) != 2 || got[0].Status != Firing || got[0].Entities != 2 || got[1].Status != Resolved {
			t.Errorf("told when it was back: %q", w.receiver["two"].ids())
		}
		if n := testutil.ToFloat64(s.metrics.failed.WithLabelValues("two")); n < 4 || n > 20 {
			t.Errorf("%v attempts failed", n)
		}
		if len(w.dead) != 0 || w.commit.Offset != 2 {
			t.Errorf("%d are dead, %d is committed", len(w.dead), w.commit.Offset)
		}
	})
}

// TestWhatIsOverBeforeItIsToldIsToldFromItsBeginning: what pages people closes by the
// second notice what it opened by the first.
func TestWhatIsOverBeforeItIsToldIsToldFromItsBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.receiver["two"].err = errors.New("the receiver is down")
		var writing sync.WaitGroup
		writing.Go(func() {
			time.Sleep(time.Minute)
			w.send(1, "scan", "a")
			time.Sleep(7 * time.Minute)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.receiver["two"].err = nil
		})
		w.run(t, 20*time.Minute)
		writing.Wait()
		if got := w.receiver["two"].got; len(got) != 2 || got[0].Status != Firing || got[1].Status != Resolved || got[0].GroupID != got[1].GroupID {
			t.Errorf("told when it was back: %+v", got)
		}
		if len(w.dead) != 0 || w.commit.Offset != 1 {
			t.Errorf("%d are dead, %d is committed", len(w.dead), w.commit.Offset)
		}
	})
}

func TestWhatCannotBeDeliveredIsADeadLetter(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		most float64 // attempts for one notice
	}{
		"after its time":           {errors.New("the receiver is down"), 15},
		"at once if it is refused": {refusal{errors.New("no such thing")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.receiver["two"].err = tc.err
				go func() {
					time.Sleep(time.Minute)
					w.send(1, "scan", "a")
				}()
				s := w.run(t, 40*time.Minute)
				if len(w.dead) == 0 || len(w.receiver["one"].got) != 2 || w.commit.Offset != 1 {
					t.Fatalf("%d are dead, the other got %d, %d is committed", len(w.dead), len(w.receiver["one"].got), w.commit.Offset)
				}
				if n := testutil.ToFloat64(s.metrics.failed.WithLabelValues("two")); n > tc.most*float64(len(w.dead)) || len(w.dead) != 2 {
					t.Errorf("%v attempts for %d notices", n, len(w.dead))
				}
				letter := map[string]string{}
				for _, h := range w.dead[0].Headers {
					letter[h.Key] = string(h.Value)
				}
				var n Notice
				if err := json.Unmarshal(w.dead[0].Value, &n); err != nil || letter["weir-reason"] != "notice" || letter["weir-detail"] != "channel two: "+tc.err.Error() || letter["weir-source-topic"] != "weir.signals" {
					t.Errorf("the letter: %v %s (%v)", letter, w.dead[0].Value, err)
				}
			})
		})
	}
}

func TestAChannelIsToldNoMoreThanItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write(t, "notices.yaml", strings.Replace(twoChannels, "give_up_after: 10m", "per_minute: 2, resolved: skip", 1))
		go func() {
			time.Sleep(time.Second)
			for n := range int64(9) {
				w.send(n, fmt.Sprint("rule-", n), "a")
			}
		}()
		var times []time.Time
		w.receiver["two"].slow = time.Millisecond
		done := make(chan struct{})
		go func() {
			defer close(done)
			for seen := 0; seen < 9; time.Sleep(time.Second) {
				w.mu.Lock()
				for ; seen < len(w.receiver["two"].got); seen++ {
					times = append(times, time.Now())
				}
				w.mu.Unlock()
			}
		}()
		w.run(t, 30*time.Minute)
		<-done
		if took := times[8].Sub(times[0]); took < 3*time.Minute || took > 5*time.Minute {
			t.Errorf("nine notices took %v", took)
		}
		if got := len(w.receiver["two"].got); got != 9 {
			t.Errorf("%d were told, resolved ones among them", got)
		}
	})
}

// TestTheFileIsReadAgain: a silence holds at once, and a wrong file does not.
func TestTheFileIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.stage(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(10 * time.Second)
		w.write(t, "notices.yaml", twoChannels+"silences:\n  - {match: {entity: ['ip:*']}, owner: ops, reason: maintenance, expires: 2000-01-01T00:10:00Z}\n")
		time.Sleep(10 * time.Second)
		w.send(1, "scan", "a")
		time.Sleep(time.Minute)
		w.write(t, "notices.yaml", "channels: []\n")
		time.Sleep(time.Minute)
		if !s.file.refused.Load() || len(w.receiver["one"].ids()) != 0 {
			t.Errorf("the wrong file is not refused, or the silence does not hold: %q", w.receiver["one"].ids())
		}
		time.Sleep(10 * time.Minute) // the synthetic clock begins in 2000
		w.send(2, "scan", "a")
		time.Sleep(time.Minute)
		if got := w.receiver["one"].ids(); len(got) != 1 {
			t.Errorf("after the silence: %q", got)
		}
		// A channel that is gone is told nothing.
		w.write(t, "notices.yaml", strings.Join(strings.Split(twoChannels, "\n")[:4], "\n"))
		time.Sleep(10 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if one, two := w.receiver["one"].ids(), w.receiver["two"].ids(); len(one) != 2 || len(two) != 1 {
			t.Errorf("in the end: %q and %q", one, two)
		}
		if got := slices.Sorted(maps.Keys(s.out.lines)); !slices.Equal(got, []string{"one"}) {
			t.Errorf("channels: %v", got)
		}
	})
}

func TestNobodyIsToldOfWhatWasBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.send(1, "scan", "a")
		w.run(t, time.Minute)
		if w.commit.Offset != 1 || len(w.receiver["one"].got) != 0 {
			t.Errorf("%d is committed, and %q told", w.commit.Offset, w.receiver["one"].ids())
		}
	})
}

func TestALogThatNoLongerHoldsTheNextSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for n := range int64(6) {
			w.send(n, "scan", string(rune('a'+n)))
		}
		w.records = append(w.records, kafka.Record{Offset: 6, Time: time.Now().UnixMilli(), Value: []byte("garbage")})
		w.commit, w.start = kafka.Commit{Offset: 1, Metadata: "1 0"}, 4
		s := w.run(t, 10*time.Minute)
		if lost, bad := testutil.ToFloat64(s.metrics.lost), testutil.ToFloat64(s.metrics.unreadable); lost != 3 || bad != 1 {
			t.Errorf("%v lost, %v unreadable", lost, bad)
		}
		if got := w.receiver["one"].got; len(got) != 2 || got[0].Signals != 2 {
			t.Errorf("told: %q", w.receiver["one"].ids())
		}
	})
}
