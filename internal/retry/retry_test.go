package retry_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/internal/retry"
)

var (
	errDown  = errors.New("down")
	errOther = errors.New("down in another way")
	errFinal = errors.New("gone")
)

// store answers one after the other.
type store struct {
	answers []error
	asked   []time.Time
	news    []bool
}

func (s *store) try(context.Context) error {
	s.asked = append(s.asked, time.Now())
	return s.answers[min(len(s.asked), len(s.answers))-1]
}

func (s *store) do(ctx context.Context) error {
	return retry.Do(ctx, s.try, func(err error) bool { return errors.Is(err, errFinal) }, func(_ error, news bool) { s.news = append(s.news, news) })
}

func TestItIsTriedUntilItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{answers: []error{errDown, errDown, errOther, nil}}
		if err := s.do(t.Context()); err != nil || len(s.asked) != 4 || !slices.Equal(s.news, []bool{true, false, true}) {
			t.Errorf("%v after %d attempts, news %v", err, len(s.asked), s.news)
		}
		s = &store{answers: []error{errDown, errFinal}}
		if err := s.do(t.Context()); !errors.Is(err, errFinal) || len(s.asked) != 2 {
			t.Errorf("%v after %d attempts", err, len(s.asked))
		}
	})
}

func TestThePausesGrowToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s := &store{answers: []error{errDown}}
		if err := s.do(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDown) {
			t.Errorf("in the end: %v", err)
		}
		for i := 1; i < len(s.asked); i++ {
			most := min(100*time.Millisecond<<(i-1), 10*time.Second)
			if pause := s.asked[i].Sub(s.asked[i-1]); pause < most/2 || pause > most {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, most/2, most)
			}
		}
		if n := len(s.asked); n < 8 || n > 25 {
			t.Errorf("%d attempts in a minute", n)
		}
	})
}

// A store that neither answers nor refuses is asked again.
func TestAnAttemptEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, attempts := time.Now(), 0
		err := retry.Do(t.Context(), func(ctx context.Context) error {
			if attempts++; attempts > 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}, func(error) bool { return false }, func(error, bool) {})
		if took := time.Since(began); err != nil || attempts != 2 || took < time.Minute || took > 3*time.Minute {
			t.Errorf("%v after %d attempts and %v", err, attempts, took)
		}
	})
}
