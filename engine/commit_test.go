package engine

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/kafka"
)

// owned runs an owner of the world's partition for a while, and returns what it
// committed.
func (w *world) owned(t *testing.T, d time.Duration) (commits []kafka.Commit, err error) {
	t.Helper()
	s := w.stage(t)
	s.cfg.Sources, s.cfg.Partitions, s.signalsPartitions = testSources, testPartitions, 1
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	err = s.own(ctx, kafka.NewLease(testPartitionID, func(_ context.Context, offset int64, metadata string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.commit = offset
		commits = append(commits, kafka.Commit{Partition: testPartitionID, Offset: offset, Metadata: metadata})
		return nil
	}))
	return commits, err
}

// A topic that was made anew, or cut, may lack just one record of what was
// committed.
func TestACommitBeyondTheEndOfTheLogStopsThePartition(t *testing.T) {
	for _, c := range []struct {
		name   string
		commit int64
		stops  bool
	}{
		{"at the end", 40, false},
		{"one beyond", 41, true},
		{"far beyond", 4000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				w := newWorld(t, 40)
				w.commit = c.commit
				_, err := w.owned(t, 10*time.Minute)
				if stopped := err != nil && strings.Contains(err.Error(), "start a new incarnation"); stopped != c.stops {
					t.Errorf("committed %d of a log that ends at 40: %v", c.commit, err)
				}
			})
		})
	}
}

// The ledger in a commit is that of the state before its offset: while a store is
// behind, the state is further than the commit, and the commit has none.
func TestALedgerGoesWithTheOffsetThatItIsOf(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 60)
		w.stored = 20
		behind := time.AfterFunc(12*time.Second, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.stored = math.MaxInt64
		})
		defer behind.Stop()
		commits, err := w.owned(t, 30*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		ledgers := map[int64]Totals{}
		p := testPartition(t, w.rules)
		for i := range w.frames {
			ledgers[int64(i)] = p.Ledger().Total()
			apply(t, p, w.frames, i, i+1)
		}
		ledgers[60] = p.Ledger().Total()
		without := false
		for _, c := range commits {
			got, ok, err := ParseProgress(c.Metadata)
			if err != nil || ok && got.Ledger != ledgers[c.Offset] {
				t.Errorf("commit %d: %+v, %v, want %+v", c.Offset, got.Ledger, err, ledgers[c.Offset])
			}
			without = without || c.Offset == 20 && !ok
		}
		if last := commits[len(commits)-1]; !without || last.Offset != 60 || last.Metadata == "" {
			t.Errorf("commits %+v, want one of 20 without a ledger, and 60 with one", commits)
		}
	})
}
