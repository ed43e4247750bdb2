package retry_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/internal/retry"
)

func TestABackoffGrowsAndStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := retry.Backoff{First: 10 * time.Millisecond, Most: 50 * time.Millisecond}
		shortened := false
		for range 20 {
			for i, most := range []time.Duration{10, 20, 40, 50, 50} {
				most *= time.Millisecond
				began := time.Now()
				if !b.Wait(t.Context()) {
					t.Fatal("it says that the context has ended")
				}
				took := time.Since(began)
				if took < most/2 || took > most {
					t.Errorf("pause %d is %v, want %v to %v", i, took, most/2, most)
				}
				shortened = shortened || took < most
			}
			b.Reset()
		}
		if !shortened {
			t.Error("no pause is shortened")
		}
	})
}

func TestAPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if retry.Sleep(ctx, time.Hour) || time.Since(began) != time.Second {
			t.Errorf("it waited %v", time.Since(began))
		}
		b := retry.Backoff{First: time.Minute, Most: time.Minute}
		if b.Wait(ctx) {
			t.Error("a pause passes under a context that has ended")
		}
	})
}
