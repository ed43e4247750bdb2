package policy

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

const (
	openFile   = "policies: [{id: all, failure: open}]\n"
	closedFile = "policies: [{id: all, failure: closed}]\n"
)

func TestAChangedFileHoldsWithinASecond(t *testing.T) {
	w := words(t) // outside the bubble, because it takes a while
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(openFile)
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		reg := prometheus.NewRegistry()
		watched, err := Watch(path, w, slog.New(slog.NewTextHandler(&log, nil)), reg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- watched.Run(ctx) }()
		second := func() {
			<-time.After(time.Second) // of the bubble's clock
			synctest.Wait()
		}
		failure := func() Failure { return watched.Current().Last().Failure }
		expect := func(f Failure, refused, takenTimes, refusedTimes float64) {
			t.Helper()
			if failure() != f {
				t.Errorf("%v on failure, want %v", failure(), f)
			}
			if got := testutil.ToFloat64(watched.reloads.WithLabelValues("taken")); got != takenTimes {
				t.Errorf("%v taken, want %v", got, takenTimes)
			}
			if got := testutil.ToFloat64(watched.reloads.WithLabelValues("refused")); got != refusedTimes {
				t.Errorf("%v refused, want %v", got, refusedTimes)
			}
			if watched.refused.Load() != (refused == 1) {
				t.Errorf("refused: %v", watched.refused.Load())
			}
		}

		write(closedFile)
		second()
		expect(Closed, 0, 1, 0)

		write("policies: [{id: all, failure: ajar}]\n")
		second()
		expect(Closed, 1, 1, 1)
		if got := strings.Count(log.String(), "ajar"); got == 0 || !strings.Contains(log.String(), "policy.yaml:1:31") {
			t.Errorf("the log does not say what is wrong: %s", log.String())
		}
		lines := strings.Count(log.String(), "\n")
		second()
		if strings.Count(log.String(), "\n") != lines {
			t.Error("the same mistake is told again")
		}

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		second()
		expect(Closed, 1, 1, 1)

		write(closedFile)
		second()
		expect(Closed, 0, 1, 1)

		write(openFile)
		second()
		expect(Open, 0, 2, 1)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestAFileThatIsBeingWrittenIsNotTaken: a change counts when two consecutive reads
// agree.
func TestAFileThatIsBeingWrittenIsNotTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(openFile)
	w, err := Watch(path, words(t), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	write(closedFile[:20])
	w.look()
	write(closedFile)
	w.look()
	if w.refused.Load() || w.Current().Last().Failure != Open {
		t.Error("half a file was judged")
	}
	w.look()
	if w.Current().Last().Failure != Closed {
		t.Error("the whole file was not taken")
	}
}

func TestAFileThatIsWrongAtTheStartEndsTheProgram(t *testing.T) {
	w := words(t)
	for _, path := range []string{"testdata/wrong/keys.yaml", "testdata/there-is-none.yaml", t.TempDir()} {
		if _, err := Watch(path, w, slog.New(slog.DiscardHandler), nil); err == nil {
			t.Errorf("%s was taken", path)
		}
	}
}
