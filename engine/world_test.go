package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

const testPartitionID = 5

// world is what stages stand on, in memory: one facet partition, its commit and
// what was sent. It is used inside a synctest bubble.
type world struct {
	mu      sync.Mutex
	rules   *rules.Set
	frames  [][]byte
	start   int64 // of the log
	visible int64 // end of the log as readers see it
	commit  int64
	fetched []int64          // offsets that were asked for
	sent    map[string]int   // signals by id, how often
	scores  map[int64]int    // updates by offset, how often
	stored  int64            // what the stores say is acknowledged
	store   *memorySnapshots // nil: none
	cfg     StageConfig
	pushed  PushedRules
}

func newWorld(t testing.TB, frames int) *world {
	set := defaultRules(t)
	w := &world{
		rules: set, frames: history(set, 6, frames), sent: map[string]int{}, scores: map[int64]int{}, stored: math.MaxInt64,
		store: &memorySnapshots{objects: map[int64][]byte{}, aside: map[int64][]byte{}}, cfg: StageDefaults(),
	}
	w.visible = int64(frames)
	w.cfg.Config = testConfig()
	w.cfg.SnapshotInterval = 2 * time.Second
	w.cfg.SnapshotKeep = 1000
	return w
}

// fetchedAtOnce is the most records that one fetch of a world brings.
const fetchedAtOnce = 7

func (w *world) Fetch(ctx context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	w.mu.Lock()
	w.fetched = append(w.fetched, offset)
	b.Records, b.Next = b.Records[:0], offset
	for ; b.Next < min(w.visible, offset+fetchedAtOnce); b.Next++ {
		b.Records = append(b.Records, kafka.Record{Offset: b.Next, Value: w.frames[b.Next]})
	}
	b.HighWatermark = w.visible
	start := w.start
	w.mu.Unlock()
	if offset < start {
		return kafka.ErrOffsetOutOfRange
	}
	return wait(ctx, 250*time.Millisecond)
}

// wait is how long a fetch takes.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *world) Produce(context.Context, string, []kafka.Produce) error { return nil }

func (w *world) Partitions(_ context.Context, topic string) (int, error) {
	return map[string]int{"events": testSources, "facets": testPartitions, "signals": 1}[topic], nil
}

func (w *world) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]kafka.OffsetRange, testPartitions)
	all[testPartitionID] = kafka.OffsetRange{Start: w.start, End: w.visible}
	return all, nil
}

func (w *world) Committed(context.Context, string, string) ([]kafka.Commit, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []kafka.Commit{{Partition: testPartitionID, Offset: w.commit}}, nil
}

func (w *world) Join(ctx context.Context, _, _ string, own func(context.Context, *kafka.Lease) error) error {
	return own(ctx, kafka.NewLease(testPartitionID, func(_ context.Context, offset int64, _ string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.commit = max(w.commit, offset)
		return nil
	}))
}

// track takes signals and scores.
type track struct{ *world }

func (s track) Append(_ context.Context, _ int64, sig *score.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[sig.ID()]++
	return nil
}

func (s track) Put(_ context.Context, offset int64, _ score.Update) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scores[offset]++
	return nil
}

func (s track) Stored() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.world.stored
}

func (s track) Drain(ctx context.Context) error {
	for s.Stored() != math.MaxInt64 {
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (track) Forgotten() bool { return false }
func (track) Close()          {}

func (w *world) stage(t testing.TB) *Stage {
	t.Helper()
	deps := Dependencies{
		Log: w, Rules: w.rules, Hasher: testHasher(), Incarnation: 9, Logger: slog.New(slog.DiscardHandler), Pushed: w.pushed,
		Sinks: []SinkOpener{
			{Name: "signals", Open: func(int32) Sink { return SignalSink(track{w}) }},
			{Name: "scores", Open: func(int32) Sink { return ScoreSink(track{w}) }},
		},
	}
	if w.store != nil {
		deps.Snapshots = w.store
	}
	s, err := NewStage(w.cfg, Topics{Events: "events", Facets: "facets", Signals: "signals", Group: "g"}, deps)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run lets a new stage work until the given time has passed, and drain.
func (w *world) run(t testing.TB, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return w.stage(t).Run(ctx)
}

func (w *world) runs(t testing.TB, d time.Duration) {
	t.Helper()
	if err := w.run(t, d); err != nil {
		t.Fatal(err)
	}
}

// lowestFetch is the lowest offset asked for since the last call.
func (w *world) lowestFetch() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	low := slices.Min(w.fetched)
	w.fetched = nil
	return low
}

// reference is the snapshot before every record, made in one go.
func (w *world) reference(t testing.TB) [][]byte {
	t.Helper()
	p := testPartition(t, w.rules)
	all := [][]byte{snapshotOf(t, p, 0)}
	for i := range w.frames {
		apply(t, p, w.frames, i, i+1)
		all = append(all, snapshotOf(t, p, i+1))
	}
	return all
}

// check compares every snapshot in the store with the reference.
func (w *world) check(t testing.TB, reference [][]byte) {
	t.Helper()
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for next, b := range w.store.objects {
		if !bytes.Equal(b, reference[next]) {
			t.Errorf("the snapshot %d differs from one of an undisturbed run", next)
		}
	}
}

// memorySnapshots is a store in memory that fails when it is told to.
type memorySnapshots struct {
	mu      sync.Mutex
	objects map[int64][]byte
	aside   map[int64][]byte
	fail    func(call string) error // may be nil
	same    int                     // writes of what stood there
}

var errStore = errors.New("the store is down")

func (m *memorySnapshots) begin(call string) error {
	m.mu.Lock()
	if m.fail == nil {
		return nil
	}
	if err := m.fail(call); err != nil {
		m.mu.Unlock()
		return fmt.Errorf("%s: %w", call, err)
	}
	return nil
}

func (m *memorySnapshots) List(context.Context, int32) ([]int64, error) {
	if err := m.begin("list"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	all := slices.Sorted(maps.Keys(m.objects))
	slices.Reverse(all)
	return all, nil
}

func (m *memorySnapshots) Read(_ context.Context, _ int32, next int64) ([]byte, error) {
	if err := m.begin("read"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	b, ok := m.objects[next]
	if !ok {
		return nil, errors.New("no such object")
	}
	return bytes.Clone(b), nil
}

func (m *memorySnapshots) Write(_ context.Context, _ int32, next int64, b []byte) error {
	if err := m.begin("write"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if there, ok := m.objects[next]; ok {
		if !bytes.Equal(there, b) {
			return ErrSnapshotDiffers
		}
		m.same++
		return nil
	}
	m.objects[next] = bytes.Clone(b)
	return nil
}

func (m *memorySnapshots) Discard(_ context.Context, _ int32, next int64) error {
	if err := m.begin("discard"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if b, ok := m.objects[next]; ok {
		m.aside[next] = b
		delete(m.objects, next)
	}
	return nil
}

func (m *memorySnapshots) Delete(_ context.Context, _ int32, next int64) error {
	if err := m.begin("delete"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.objects, next)
	return nil
}

func (m *memorySnapshots) names() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.objects))
}

// oneRule is a set of one rule, of a detector that is made for a test: it sees every
// event of an account.
func oneRule(t testing.TB, spec rules.Spec) *rules.Set {
	t.Helper()
	kind := rules.Kind{Name: "tested", Doc: "is tested", Keys: []rules.Key{rules.CountKey("n", rules.Required, 1, 1, "nothing")},
		Compile: func(*rules.Params) rules.Spec { return spec }}
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(`
rules:
  - id: tested
    title: A rule that is tested
    entity: account
    when: status >= 0
    tested: {n: 1}
    signal: {category: bot, reason: r, half_life: 1h}
    phase: soft
`)}}, []rules.Kind{kind})
	if err != nil {
		t.Fatal(err)
	}
	return set
}
