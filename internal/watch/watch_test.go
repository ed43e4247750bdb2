package watch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const limit = 30 * time.Second

// watched runs a loop beside a watch, and tells how long it took until the loop
// was called stuck, and what was said; 0 when ten minutes were not enough.
func watched(t *testing.T, loop func(ctx context.Context, l *Loop)) (after time.Duration, err error) {
	t.Helper()
	w, err := New(limit)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	l := w.Loop("detect 3")
	var wg sync.WaitGroup
	wg.Go(func() { loop(ctx, l) })
	started := time.Now()
	if err = w.Run(ctx); err != nil {
		after = time.Since(started)
	}
	cancel()
	wg.Wait()
	return after, err
}

func every(ctx context.Context, d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

func TestWhatIsStuckAndWhatIsNot(t *testing.T) {
	for _, c := range []struct {
		name  string
		loop  func(ctx context.Context, l *Loop)
		stuck bool
	}{
		{"a loop that gets on", func(ctx context.Context, l *Loop) { every(ctx, time.Second, l.Beat) }, false},
		{"a loop that gets on slowly", func(ctx context.Context, l *Loop) { every(ctx, 29*time.Second, l.Beat) }, false},
		{"a loop that hangs at its start", func(context.Context, *Loop) {}, true},
		{"a loop that hangs later", func(ctx context.Context, l *Loop) {
			l.Waiting()
			l.Working()
			l.Beat()
		}, true},
		{"a loop that waits for somebody for minutes", func(_ context.Context, l *Loop) { l.Waiting() }, false},
		{"a loop that hangs after a wait", func(_ context.Context, l *Loop) {
			l.Waiting()
			time.Sleep(2 * time.Minute)
			l.Working()
		}, true},
		{"a loop that goes round and round without getting on", func(ctx context.Context, l *Loop) {
			every(ctx, time.Second, func() {
				l.Waiting()
				time.Sleep(time.Millisecond)
				l.Working()
			})
		}, true},
		{"one long wait after the other", func(ctx context.Context, l *Loop) {
			every(ctx, 20*time.Second, func() {
				l.Waiting()
				time.Sleep(19 * time.Second)
				l.Working()
			})
		}, false},
		{"a loop that is done", func(_ context.Context, l *Loop) { l.Done() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				after, err := watched(t, c.loop)
				if errors.Is(err, ErrStuck) != c.stuck || (err == nil) == c.stuck {
					t.Fatalf("after %v it is said: %v", after, err)
				}
				if !c.stuck {
					return
				}
				if after < limit || after > 2*time.Minute+limit+2*limit/looks || !strings.Contains(err.Error(), "detect 3") {
					t.Errorf("after %v it is said: %v", after, err)
				}
			})
		})
	}
}

func TestHealthComplainsAtHalfTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := New(limit)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = w.Run(ctx) }()
		l := w.Loop("ingest 0")
		check := func(after time.Duration, want bool) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if err := w.Check(); (err == nil) != want || err != nil && !strings.Contains(err.Error(), "ingest 0") {
				t.Errorf("health says %v", err)
			}
		}
		check(14*time.Second, true)
		check(2*time.Second, false)
		l.Beat()
		check(4*time.Second, true)
	})
}

func TestNothingIsWatchedWithoutAWatch(t *testing.T) {
	var w *Watch
	l := w.Loop("none")
	l.Beat()
	l.Waiting()
	l.Working()
	l.Done()
	if _, err := New(time.Millisecond); err == nil {
		t.Error("a limit of a millisecond is accepted")
	}
}

func BenchmarkBeat(b *testing.B) {
	w, err := New(limit)
	if err != nil {
		b.Fatal(err)
	}
	l := w.Loop("")
	for b.Loop() {
		l.Waiting()
		l.Working()
		l.Beat()
	}
}
