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
