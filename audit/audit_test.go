package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/internal/kafka"
)

var errDied = errors.New("the worker is dead")

// world is what a stage of one partition is wired to: a log with a start, and a
// table that holds a row for each time and id. A worker dies at an effect.
type world struct {
	start     int64
	values    [][]byte       // from offset 0 on
	versions  map[int64]bool // offsets of versions of policies
	rotten    [2]int64       // offsets that do not read: from, to
	committed int64
	rows      map[string]int // how often each row was written, by time and id
	buffered  []row
	mortal    int // effects left until the worker dies; below 0: it does not
}

type row struct {
	offset int64
	key    string
}

func newWorld(n int) *world {
	w := &world{committed: -1, rows: map[string]int{}, mortal: -1}
	for i := range n {
		w.send(fmt.Sprintf("d-%d", i))
	}
	return w
}

func (w *world) send(id string) {
	b, err := decision.Record{ID: id, Time: 1763892000123, Action: "deny", Would: "deny"}.Encode()
	if err != nil {
		panic(err)
	}
	w.values = append(w.values, b)
}

func (w *world) dies() bool {
	if w.mortal == 0 {
		return true
	}
	w.mortal--
	return false
}

func (w *world) end() int64 { return int64(len(w.values)) }

func (w *world) Fetch(ctx context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	if offset < w.start || offset > w.end() {
		return fmt.Errorf("fetch at %d: %w", offset, kafka.ErrOffsetOutOfRange)
	}
	b.Records, b.Next, b.HighWatermark = b.Records[:0], offset, w.end()
	if offset >= w.rotten[0] && offset < w.rotten[1] {
		return fmt.Errorf("fetch at %d: %w", offset, kafka.ErrUnreadable)
	}
	if offset == w.end() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(250 * time.Millisecond):
			return nil
		}
	}
	for ; b.Next < w.end() && len(b.Records) < 3 && (b.Next != w.rotten[0] || w.rotten[1] == 0); b.Next++ {
		r := kafka.Record{Offset: b.Next, Value: w.values[b.Next]}
		if w.versions[b.Next] {
			r.Headers = []kafka.Header{{Key: decision.VersionHeader}}
		}
		b.Records = append(b.Records, r)
	}
	return nil
}

func (w *world) NextReadable(context.Context, string, int32, int64) (int64, error) {
	return w.rotten[1], nil
}

func (w *world) Produce(context.Context, string, []kafka.Produce) error {
	return errors.New("nothing is produced here")
}

func (w *world) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	return []kafka.OffsetRange{{Start: w.start, End: w.end()}}, nil
}

func (w *world) Committed(context.Context, string, string) ([]kafka.Commit, error) {
	return []kafka.Commit{{Offset: w.committed}}, nil
}

func (w *world) Partitions(context.Context, string) (int, error) { return 1, nil }

func (w *world) Join(ctx context.Context, _, _ string, own func(context.Context, *kafka.Lease) error) error {
	return own(ctx, kafka.NewLease(0, func(_ context.Context, offset int64, _ string) error {
		if w.dies() {
			return errDied
		}
		w.committed = offset
		return nil
	}))
}

// Append keeps a row in memory; every second one inserts what is kept.
func (w *world) Append(_ context.Context, offset, _ int64, d *decision.Record) error {
	if w.dies() {
		return errDied
	}
	if w.buffered = append(w.buffered, row{offset, fmt.Sprint(d.Time, d.ID)}); len(w.buffered) > 1 {
		w.insert()
	}
	return nil
}

// AppendVersion keeps versions as decisions are kept.
func (w *world) AppendVersion(_ context.Context, offset, _ int64, v *decision.RuleVersion) error {
	return w.Append(context.Background(), offset, 0, &decision.Record{Time: v.Time, ID: v.Version})
}

func (w *world) insert() {
	for _, r := range w.buffered {
		w.rows[r.key]++
	}
	w.buffered = nil
}

func (w *world) Stored() int64 {
	if len(w.buffered) > 0 {
		return w.buffered[0].offset
	}
	return math.MaxInt64
}

func (w *world) Drain(context.Context) error {
	if w.dies() {
		return errDied
	}
	w.insert()
	return nil
}

// run runs a worker for d, or until it dies, and returns its metrics.
func (w *world) run(t *testing.T, d time.Duration) (*metrics, error) {
	t.Helper()
	w.buffered = nil // a worker that died has lost what it had not inserted
	s, err := New(Topic{Decisions: "decisions", Group: "g"}, Dependencies{
		Log: w, Open: func(int32) Track { return w }, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return s.metrics, s.Run(ctx)
}

// whole checks that the table holds each decision, and no commit was ahead of it.
func (w *world) whole(t *testing.T, n int) {
	t.Helper()
	if len(w.rows) != n {
		t.Errorf("%d of %d decisions are in the table", len(w.rows), n)
	}
	if w.committed != w.end() {
		t.Errorf("%d is committed at last, want %d", w.committed, w.end())
	}
}

// TestAWorkerThatDiesLosesNoDecision: at every effect, so also between the insert
// and the commit.
func TestAWorkerThatDiesLosesNoDecision(t *testing.T) {
	again := 0
	for at := range 15 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(10)
			w.mortal = at
			if _, err := w.run(t, 3*time.Second); err != nil && !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			for offset := range w.committed {
				if w.rows[fmt.Sprint(1763892000123, "d-", offset)] == 0 {
					t.Errorf("after a death at effect %d, %d is committed and %d is in no table", at, w.committed, offset)
				}
			}
			w.mortal = -1
			if _, err := w.run(t, 3*time.Second); err != nil {
				t.Fatal(err)
			}
			w.whole(t, 10)
			for _, n := range w.rows {
				again += n - 1
			}
		})
	}
	if again == 0 {
		t.Error("no row was ever written twice: nobody died between insert and commit")
	}
}

func TestWhatIsNoDecisionIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(5)
		w.values[1], w.values[3] = []byte("garbage"), nil
		m, err := w.run(t, 3*time.Second)
		if err != nil || testutil.ToFloat64(m.refused) != 2 || testutil.ToFloat64(m.read) != 5 {
			t.Errorf("%v passed over, %v", testutil.ToFloat64(m.refused), err)
		}
		w.whole(t, 3)
	})
}

func TestVersionsOfPoliciesStandAmongDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(6)
		v, err := decision.RuleVersion{Time: 1763892000123, Kind: decision.Policies, Version: "d-1", Program: "weir-gate"}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		w.values[1], w.values[3] = v, v // the second one without its header
		w.versions = map[int64]bool{1: true, 4: true}
		m, err := w.run(t, 3*time.Second)
		if err != nil || testutil.ToFloat64(m.refused) != 2 || testutil.ToFloat64(m.read) != 6 {
			t.Errorf("%v passed over, %v", testutil.ToFloat64(m.refused), err)
		}
		w.whole(t, 4)
	})
}

func TestRecordsThatDoNotReadArePassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(10)
		w.rotten = [2]int64{4, 6}
		m, err := w.run(t, 3*time.Second)
		if err != nil || testutil.ToFloat64(m.refused) != 2 {
			t.Errorf("%v passed over, %v", testutil.ToFloat64(m.refused), err)
		}
		w.whole(t, 8)
	})
}

func TestALogThatNoLongerHoldsTheNextRecord(t *testing.T) {
	for name, tc := range map[string]struct {
		start, committed int64
		rows, lost       int
	}{
		"retention deleted some":       {4, 1, 6, 3},
		"the topic was made anew":      {0, 50, 10, 0},
		"nobody has read it before":    {0, -1, 10, 0},
		"nor its records that expired": {3, -1, 7, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(10)
				w.start, w.committed = tc.start, tc.committed
				m, err := w.run(t, 3*time.Second)
				if err != nil || int(testutil.ToFloat64(m.lost)) != tc.lost {
					t.Errorf("%v lost, %v", testutil.ToFloat64(m.lost), err)
				}
				w.whole(t, tc.rows)
			})
		})
	}
}

func TestLagIsTheAgeOfWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, now := newMetrics(nil), time.Now()
		m.lag(3, &kafka.Batch{HighWatermark: 10, Asked: now, Records: []kafka.Record{{Time: now.Add(-time.Minute).UnixMilli()}}}, 5)
		time.Sleep(30 * time.Second) // in which nothing is read
		if s, n := testutil.ToFloat64(m.waited), testutil.ToFloat64(m.behind); s != 90 || n != 5 {
			t.Errorf("%v seconds and %v records behind", s, n)
		}
		m.lag(3, &kafka.Batch{HighWatermark: 10, Asked: time.Now()}, 10)
		if s := testutil.ToFloat64(m.waited); s != 0 {
			t.Errorf("%v seconds behind at the end", s)
		}
		m.gone(3)
		if testutil.CollectAndCount(m.waited) != 0 || testutil.CollectAndCount(m.behind) != 0 {
			t.Error("there is a lag of a partition that is another worker's")
		}
	})
}
