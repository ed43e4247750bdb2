package engine

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/internal/facet"
)

func inBubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func TestAHandOverLeavesASnapshotThatTheNextOwnerGoesOnFrom(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 300)
		w.visible = 100
		w.runs(t, 10*time.Second)
		if got := w.store.names(); len(got) < 2 || got[len(got)-1] != 100 || w.commit != 100 {
			t.Fatalf("snapshots %v, committed %d", got, w.commit)
		}
		sent := len(w.sent)
		w.lowestFetch()
		w.visible = 300
		w.runs(t, 20*time.Second)
		if low := w.lowestFetch(); low != 100 {
			t.Errorf("the log was read from %d", low)
		}
		if len(w.sent) <= sent || slices.Max(w.sendings()) > 1 {
			t.Errorf("%d signals, then %d; some were sent twice", sent, len(w.sent))
		}
		w.check(t, w.reference(t))
	})
}

func (w *world) sendings() (all []int) {
	for _, n := range w.sent {
		all = append(all, n)
	}
	return all
}

// TestEveryRecoveryGivesTheSameState hands stores in every condition to new
// owners: what they write is what an undisturbed run writes.
func TestEveryRecoveryGivesTheSameState(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 240)
		reference := w.reference(t)
		w.runs(t, 20*time.Second)
		full := w.store.objects
		names := w.store.names()
		if len(names) < 4 {
			t.Fatalf("only the snapshots %v", names)
		}
		newest, older := names[len(names)-1], names[len(names)-2]
		for _, c := range []struct {
			name   string
			spoil  func(objects map[int64][]byte)
			from   int64 // where the log is read from
			aside  []int64
			writes bool // the newest is written anew
		}{
			{"sound", func(map[int64][]byte) {}, newest, nil, false},
			{"newest missing", func(o map[int64][]byte) { delete(o, newest) }, older, nil, true},
			{"newest truncated", func(o map[int64][]byte) { o[newest] = o[newest][:len(o[newest])/2] }, older, []int64{newest}, true},
			{"newest empty", func(o map[int64][]byte) { o[newest] = nil }, older, []int64{newest}, true},
			{"newest corrupted", func(o map[int64][]byte) { o[newest] = flipped(o[newest]) }, older, []int64{newest}, true},
			{"newest under a wrong name", func(o map[int64][]byte) { o[newest] = o[older] }, older, []int64{newest}, true},
			{"all but the oldest corrupted", func(o map[int64][]byte) {
				for _, n := range names[1:] {
					o[n] = flipped(o[n])
				}
			}, names[0], names[1:], true},
			{"none", func(o map[int64][]byte) { clear(o) }, 0, nil, true},
		} {
			w := newWorld(t, 240)
			w.commit = 240
			for n, b := range full {
				w.store.objects[n] = bytes.Clone(b)
			}
			c.spoil(w.store.objects)
			w.runs(t, 20*time.Second)
			if low := w.lowestFetch(); low != c.from {
				t.Errorf("%s: the log was read from %d, want %d", c.name, low, c.from)
			}
			var aside []int64
			for n := range w.store.aside {
				aside = append(aside, n)
			}
			if slices.Sort(aside); !slices.Equal(aside, c.aside) {
				t.Errorf("%s: moved aside %v, want %v", c.name, aside, c.aside)
			}
			if len(w.sent) != 0 {
				t.Errorf("%s: signals from below the commit were sent", c.name)
			}
			if got := w.store.names(); got[len(got)-1] != 240 {
				t.Errorf("%s: snapshots %v", c.name, got)
			}
			w.check(t, reference)
		}
	})
}

func flipped(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 4
	return b
}

func TestAnErrorOfTheStoreIsNeverNone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 100)
		w.runs(t, 10*time.Second)
		w.lowestFetch()
		failing := 0
		w.store.fail = func(call string) error {
			if failing++; failing < 20 && (call == "list" || call == "read") {
				return errStore
			}
			return nil
		}
		w.runs(t, 5*time.Minute)
		if low := w.lowestFetch(); low != 100 || failing < 20 {
			t.Errorf("after %d calls the log was read from %d", failing, low)
		}
	})
}

func TestALogThatHasLostItsBeginningNeedsASnapshotOrADeclaredLoss(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 120)
		w.visible = 100
		w.runs(t, 10*time.Second)
		w.start, w.visible = 100, 120
		w.lowestFetch()
		w.runs(t, 10*time.Second)
		if low := w.lowestFetch(); low != 100 || w.commit != 120 {
			t.Errorf("read from %d, committed %d", low, w.commit)
		}
		w.check(t, w.reference(t))

		w.start = 130
		w.frames, w.visible = history(w.rules, 6, 140), 140
		if err := w.run(t, 10*time.Second); err == nil || !strings.Contains(err.Error(), "accept_loss") {
			t.Errorf("the newest snapshot ends where the log does not begin yet: %v", err)
		}
		w.start, w.visible = 100, 120

		clear(w.store.objects)
		if err := w.run(t, 10*time.Second); err == nil || !strings.Contains(err.Error(), "accept_loss") {
			t.Errorf("without a snapshot: %v", err)
		}
		w.start, w.commit = 1, 1
		if err := w.run(t, 10*time.Second); err == nil || !strings.Contains(err.Error(), "accept_loss") {
			t.Errorf("without the first record: %v", err)
		}
		w.cfg.AcceptLoss = true
		w.frames[100] = history(w.rules, 3, 1)[0]
		w.start, w.visible = 100, 101
		w.commit = 100
		w.runs(t, 10*time.Second)
		if w.commit != 101 {
			t.Errorf("with the loss declared, committed %d", w.commit)
		}
	})
}

// TestAStateThatBeginsAfterALossHasThePushedRules, whose switch record is gone, and not
// those that its owner was started with, which are in force nowhere else. A restart keeps
// them.
func TestAStateThatBeginsAfterALossHasThePushedRules(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		own, live := groupRuleSet(t, 20), groupRuleSet(t, 21)
		bundle, err := live.Bundle()
		if err != nil {
			t.Fatal(err)
		}
		for name, shadow := range map[string][]byte{"shadow rules watch": bundle, "shadow rules have ended": nil} {
			w := newWorld(t, 120)
			w.rules, w.cfg.AcceptLoss = own, true
			w.frames[100] = history(w.rules, 3, 1)[0]
			w.start, w.visible, w.commit = 100, 101, 100
			w.pushed = func(_ context.Context, lane facet.Lane) (uint64, []byte, error) {
				if lane == facet.Shadow {
					return 9, shadow, nil
				}
				return 7, bundle, nil
			}
			w.runs(t, 10*time.Second)
			w.pushed = nil
			p, _, err := restoreTest(w.rules, w.store.objects[101])
			if err != nil {
				t.Fatal(err)
			}
			if p.number != 7 || p.lane.rules.Version != live.Version || p.shadowNumber != 9 || (p.shadow == nil) != (shadow == nil) {
				t.Errorf("%s: it has rules %s of push %d, shadow rules of %d", name, p.lane.rules.Version, p.number, p.shadowNumber)
			}
		}
	})
}

func TestASnapshotWaitsUntilItsOutputsAreAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 200)
		w.stored = 50 // nothing beyond it is acknowledged
		err := w.run(t, time.Minute)
		if got := w.store.names(); len(got) != 0 || err == nil || w.commit != 50 {
			t.Errorf("snapshots %v of unacknowledged outputs, committed %d, %v", got, w.commit, err)
		}
		w.stored = 150
		if w.run(t, time.Minute); w.commit != 150 {
			t.Errorf("committed %d", w.commit)
		}
		for _, n := range w.store.names() {
			if n > 150 {
				t.Errorf("snapshot %d, although outputs from 150 on are not acknowledged", n)
			}
		}
		if len(w.store.names()) == 0 {
			t.Error("no snapshot below 150")
		}
		w.check(t, w.reference(t))
	})
}

// TestASnapshotAheadOfTheCommitStandsForIt is the crash between a snapshot and
// the commit.
func TestASnapshotAheadOfTheCommitStandsForIt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 100)
		w.runs(t, 10*time.Second)
		once := len(w.sent)
		w.commit = 10
		w.runs(t, 10*time.Second)
		if w.commit != 100 || once != len(w.sent) || slices.Max(w.sendings()) > 1 {
			t.Errorf("committed %d, %d signals and then %d, at most %d times", w.commit, once, len(w.sent), slices.Max(w.sendings()))
		}
	})
}

// TestASnapshotBeyondTheEndOfTheLogIsPassedOver is an owner that asked for the
// end of the log before another one wrote more to it.
func TestASnapshotBeyondTheEndOfTheLogIsPassedOver(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 100)
		w.runs(t, 10*time.Second)
		names := w.store.names()
		older := names[len(names)-2]
		w.commit, w.visible = older, older+1
		w.lowestFetch()
		w.runs(t, 10*time.Second)
		if low := w.lowestFetch(); low != older {
			t.Errorf("the log, which ends at %d, was read from %d", older+1, low)
		}
		w.check(t, w.reference(t))
	})
}

// TestAStoreThatDoesNotAnswerIsGivenUpAndAskedAgain has the first listing hang.
func TestAStoreThatDoesNotAnswerIsGivenUpAndAskedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 60)
		w.runs(t, 10*time.Second)
		w.lowestFetch()
		s := w.stage(t)
		s.Snapshots = &hanging{memorySnapshots: w.store}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		if low := w.lowestFetch(); low != 60 {
			t.Errorf("the log was read from %d", low)
		}
	})
}

type hanging struct {
	*memorySnapshots
	asked bool
}

func (h *hanging) List(ctx context.Context, partition int32) ([]int64, error) {
	if !h.asked {
		h.asked = true
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.memorySnapshots.List(ctx, partition)
}

func TestAnotherSoundSnapshotStopsThePartition(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 100)
		other := testPartition(t, w.rules)
		apply(t, other, history(w.rules, 99, 50), 0, 50)
		foreign := snapshotOf(t, other, 100)
		recovering := true
		w.store.fail = func(call string) error {
			if recovering = recovering && call == "list"; call == "write" && w.store.objects[100] == nil {
				w.store.objects[100] = foreign
			}
			return nil
		}
		if err := w.run(t, time.Minute); !errors.Is(err, errNotFunction) {
			t.Errorf("the partition went on: %v", err)
		}
		if !bytes.Equal(w.store.objects[100], foreign) {
			t.Error("the other snapshot was touched")
		}
	})
}

func TestADamagedObjectMakesRoomForTheSnapshotOfItsName(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 100)
		reference := w.reference(t)
		w.store.fail = func(call string) error {
			if call == "write" && w.store.objects[100] == nil && w.store.aside[100] == nil {
				w.store.objects[100] = []byte("half of somethi")
			}
			return nil
		}
		w.runs(t, time.Minute)
		if !bytes.Equal(w.store.objects[100], reference[100]) || w.store.aside[100] == nil {
			t.Error("the damaged object is still there")
		}
	})
}

// TestTwoOwnersAtOnceWriteTheSame lets a second stage work on the same log and
// store, as after a pause that nobody noticed.
func TestTwoOwnersAtOnceWriteTheSame(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 240)
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- w.run(t, 30*time.Second) }()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if w.store.same == 0 {
			t.Error("no snapshot was written twice")
		}
		w.check(t, w.reference(t))
	})
}

func TestOnlyTheNewestSnapshotsAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 240)
		w.cfg.SnapshotKeep = 2
		w.runs(t, 30*time.Second)
		if got := w.store.names(); len(got) != 2 || got[1] != 240 {
			t.Errorf("snapshots %v", got)
		}
	})
}

func TestAStoreThatIsDownStopsNoDetection(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 240)
		down := true
		w.store.fail = func(call string) error {
			if down && call != "list" {
				return errStore
			}
			return nil
		}
		started := time.Now()
		w.runs(t, time.Minute)
		if w.commit != 240 || len(w.store.names()) != 0 {
			t.Errorf("committed %d, snapshots %v", w.commit, w.store.names())
		}
		if took := time.Since(started); took > time.Minute+w.cfg.DrainTimeout {
			t.Errorf("giving up took %v", took-time.Minute)
		}
		down, w.stored = false, math.MaxInt64
		w.runs(t, time.Minute)
		w.check(t, w.reference(t))
	})
}

func TestWithoutAStoreTheLogIsReplayed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		w := newWorld(t, 60)
		w.store = nil
		w.runs(t, 10*time.Second)
		w.lowestFetch()
		w.runs(t, 10*time.Second)
		if low := w.lowestFetch(); low != 0 || w.commit != 60 {
			t.Errorf("read from %d, committed %d", low, w.commit)
		}
	})
}
