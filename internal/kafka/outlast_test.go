package kafka

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestOutlastEndsSoMuchLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		out, release := Outlast(ctx, 3*time.Second)
		defer release()
		time.Sleep(time.Hour)
		end()
		ended := time.Now()
		if synctest.Wait(); out.Err() != nil {
			t.Fatal("it ended at once")
		}
		<-out.Done()
		if d := time.Since(ended); d != 3*time.Second || !errors.Is(context.Cause(out), context.DeadlineExceeded) {
			t.Errorf("it ended %v later: %v", d, context.Cause(out))
		}
	})
}

func TestOutlastIsReleased(t *testing.T) {
	out, release := Outlast(t.Context(), time.Hour)
	release()
	if out.Err() == nil {
		t.Error("it goes on")
	}
}

func TestOutlastEndsAtOnceWhereThePartitionIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancelCause(t.Context())
		out, release := Outlast(ctx, time.Hour)
		defer release()
		end(ErrFenced)
		if synctest.Wait(); !errors.Is(context.Cause(out), ErrFenced) {
			t.Errorf("it goes on: %v", context.Cause(out))
		}
	})
}

func TestTurnsAreFollowedByADrain(t *testing.T) {
	broken := errors.New("broken")
	for _, tc := range []struct {
		name     string
		turn     error // of the second turn
		end      error // why the partition goes, in the third turn
		drain    error
		want     error
		drained  bool
		turnedBy int
	}{
		{"given up", nil, context.Canceled, nil, nil, true, 3},
		{"a drain that fails", nil, context.Canceled, broken, broken, true, 3},
		{"a turn that fails", broken, nil, nil, broken, false, 2},
		{"lost", nil, ErrFenced, nil, ErrFenced, false, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, end := context.WithCancelCause(t.Context())
			defer end(nil)
			turns, drained := 0, false
			err := Turns(ctx, time.Hour, func(_, finish context.Context) error {
				switch turns++; turns {
				case 2:
					return tc.turn
				case 3:
					if end(tc.end); tc.end == context.Canceled && finish.Err() != nil {
						t.Error("the work in progress is interrupted")
					}
				}
				return nil
			}, func(finish context.Context) error {
				if drained = true; finish.Err() != nil {
					t.Error("the drain is interrupted")
				}
				return tc.drain
			})
			if !errors.Is(err, tc.want) || drained != tc.drained || turns != tc.turnedBy {
				t.Errorf("%v after %d turns, drained: %v", err, turns, drained)
			}
		})
	}
}
