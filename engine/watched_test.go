package engine

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/watch"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// fetchLog is a log of which only fetches matter.
type fetchLog struct {
	fetch func(ctx context.Context, b *kafka.Batch) error
}

func (l fetchLog) Fetch(ctx context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	b.Next = offset
	return l.fetch(ctx, b)
}
func (l fetchLog) Produce(ctx context.Context, _ string, _ []kafka.Produce) error { return block(ctx) }
func (l fetchLog) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	return []kafka.OffsetRange{{Start: 0, End: 7}}, nil
}
func (l fetchLog) Committed(context.Context, string, string) ([]kafka.Commit, error) { return nil, nil }
func (l fetchLog) Partitions(context.Context, string) (int, error)                   { return 1, nil }
func (l fetchLog) Join(context.Context, string, string, func(context.Context, *kafka.Lease) error) error {
	return nil
}

// block is a store or a broker that does not answer.
func block(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

type stalled struct{}

func (stalled) Append(ctx context.Context, _ int64, _ *score.Signal) error { return block(ctx) }
func (stalled) Put(ctx context.Context, _ int64, _ score.Update) error     { return block(ctx) }
func (stalled) Drain(ctx context.Context) error                            { return block(ctx) }
func (stalled) Stored() int64                                              { return 0 }
func (stalled) Forgotten() bool                                            { return false }
func (stalled) Close()                                                     {}

// stalledSink is a sink that gathers, and cannot get rid of it.
type stalledSink struct{ Sink }

func (stalledSink) Flush(ctx context.Context) error { return block(ctx) }

// failing is a store of snapshots that is down.
type failing struct{ SnapshotStore }

func (failing) List(context.Context, int32) ([]int64, error) { return nil, errors.New("down") }

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TestAnOwnerIsStuckOnlyByItsOwnFault runs an owner for ten minutes beside a
// watch.
func TestAnOwnerIsStuckOnlyByItsOwnFault(t *testing.T) {
	for _, c := range []struct {
		name  string
		fetch func(ctx context.Context, b *kafka.Batch) error
		stuck bool
		store SnapshotStore
	}{
		{"nothing new", func(ctx context.Context, b *kafka.Batch) error { return rest(ctx, 250*time.Millisecond) }, false, nil},
		{"a broker that does not answer", func(ctx context.Context, _ *kafka.Batch) error { return block(ctx) }, false, nil},
		{"markers that are passed", func(ctx context.Context, b *kafka.Batch) error {
			b.Next++
			b.HighWatermark = b.Next + 1
			return rest(ctx, time.Millisecond)
		}, false, nil},
		{"a partition that stopped because of an error", func(context.Context, *kafka.Batch) error { return kafka.ErrUnreadable }, false, nil},
		{"a store of snapshots that fails", nil, false, failing{}},
		{"a log that goes on, of which nothing comes", func(ctx context.Context, b *kafka.Batch) error {
			b.HighWatermark = b.Next + 1
			return rest(ctx, time.Millisecond)
		}, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, err := watch.New(30 * time.Second)
				if err != nil {
					t.Fatal(err)
				}
				set, err := rules.Default(detectors.All())
				if err != nil {
					t.Fatal(err)
				}
				s, err := NewStage(StageDefaults(), Topics{}, Dependencies{
					Log: fetchLog{c.fetch}, Snapshots: c.store, Rules: set, Hasher: facet.NewHasher([16]byte{1}), Watch: w, Logger: slog.New(slog.DiscardHandler),
					Sinks: []SinkOpener{{"signals", func(int32) Sink { return SignalSink(stalled{}) }}, {"scores", func(int32) Sink { return ScoreSink(stalled{}) }}},
				})
				if err != nil {
					t.Fatal(err)
				}
				s.cfg.Sources, s.cfg.Partitions, s.signalsPartitions = 1, 1, 1
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				var wg sync.WaitGroup
				wg.Go(func() {
					_ = s.own(ctx, kafka.NewLease(0, nil)) // stalled stores do not drain
				})
				err = w.Run(ctx)
				if errors.Is(err, watch.ErrStuck) != c.stuck || err != nil && !strings.Contains(err.Error(), "detect, partition 0") {
					t.Errorf("the watch says %v", err)
				}
				cancel()
				wg.Wait()
				if err := w.Check(); err != nil {
					t.Errorf("an owner that has returned is still looked at: %v", err)
				}
			})
		})
	}
}

// TestEveryWaitOfAnOwnerIsKnown: whatever an owner asks of others may take ten
// minutes.
func TestEveryWaitOfAnOwnerIsKnown(t *testing.T) {
	for name, ask := range map[string]func(ctx context.Context, l *watch.Loop) error{
		"fetch": func(ctx context.Context, l *watch.Loop) error {
			blocking := fetchLog{func(ctx context.Context, _ *kafka.Batch) error { return block(ctx) }}
			return kafka.Watched{Log: blocking, Loop: l}.Fetch(ctx, "", 0, 0, &kafka.Batch{})
		},
		"produce": func(ctx context.Context, l *watch.Loop) error {
			return kafka.Watched{Log: fetchLog{}, Loop: l}.Produce(ctx, "", nil)
		},
		"write": func(ctx context.Context, l *watch.Loop) error {
			return watchedSink{SignalSink(stalled{}), l}.Write(ctx, 0, &Output{Signals: make([]score.Signal, 1)})
		},
		"flush": func(ctx context.Context, l *watch.Loop) error { return watchedSink{stalledSink{}, l}.Flush(ctx) },
		"put": func(ctx context.Context, l *watch.Loop) error {
			return watchedMirror{ScoreSink(stalled{}).(Mirror), l}.Put(ctx, 0, score.Update{})
		},
		"drain of signals": func(ctx context.Context, l *watch.Loop) error {
			return watchedSink{SignalSink(stalled{}), l}.Drain(ctx)
		},
		"drain of scores": func(ctx context.Context, l *watch.Loop) error { return watchedSink{ScoreSink(stalled{}), l}.Drain(ctx) },
		"commit": func(ctx context.Context, l *watch.Loop) error {
			return kafka.WatchedCommit(l, func(ctx context.Context, _ int64, _ string) error { return block(ctx) })(ctx, 0, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, err := watch.New(30 * time.Second)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				l := w.Loop(name)
				asked := make(chan error, 1)
				go func() { asked <- ask(ctx, l) }()
				if err := w.Run(ctx); err != nil {
					t.Error(err)
				}
				if err := <-asked; !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("it was not asked for long: %v", err)
				}
				// Afterwards the loop is at work again.
				if err := w.Run(t.Context()); !errors.Is(err, watch.ErrStuck) {
					t.Errorf("a loop that hangs after its wait: %v", err)
				}
			})
		})
	}
}
