package kafka

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// row is errors that come one after the other, over and over.
type row struct {
	length time.Duration // 0: until it is given up
	errs   []error       // none: a success
}

func during(length time.Duration, errs ...error) row { return row{length, errs} }

func given(errs ...error) row { return row{0, errs} }

// TestEachKindOfErrorThatMayLastHasPatienceOfItsOwn: what was tried for one of
// them does not count against another, nor against what comes after a success or
// after an error that goes away by itself.
func TestEachKindOfErrorThatMayLastHasPatienceOfItsOwn(t *testing.T) {
	const (
		noTopic = kafkago.UnknownTopicOrPartition
		most    = defaultPatience - maxPause
	)
	for name, rows := range map[string][]row{
		"damage":                           {given(ErrUnreadable)},
		"two codes of one kind":            {given(noTopic, kafkago.Unknown)},
		"two kinds of damage":              {given(ErrUnreadable, kafkago.InvalidMessage)},
		"damage after a missing topic":     {during(most, noTopic), given(ErrUnreadable)},
		"a missing topic after damage":     {during(most, ErrUnreadable), given(noTopic)},
		"a lost connection":                {during(20*defaultPatience, io.EOF), given(ErrUnreadable)},
		"a lost connection amid damage":    {during(most, ErrUnreadable), during(time.Second, io.EOF), given(ErrUnreadable)},
		"a moving leader amid no topic":    {during(most, noTopic), during(time.Second, kafkago.NotLeaderForPartition), given(noTopic)},
		"a success amid damage":            {during(most, ErrUnreadable), {}, given(ErrUnreadable)},
		"damage that a success interrupts": {during(most, ErrUnreadable), {}, during(most, ErrUnreadable), {}, given(noTopic)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &Client{log: slog.New(slog.DiscardHandler), patience: defaultPatience}
				tries := c.newTries("test", "x")
				for i, r := range rows {
					if r.errs == nil {
						tries.succeeded()
						continue
					}
					began, err := time.Now(), error(nil)
					for n := 0; err == nil && time.Since(began) < cmp.Or(r.length, 20*defaultPatience); n++ {
						if err = tries.failed(t.Context(), r.errs[n%len(r.errs)]); err != nil && !errors.Is(err, r.errs[n%len(r.errs)]) {
							t.Errorf("row %d: %v became %v", i, r.errs, err)
						}
					}
					took := time.Since(began)
					switch last := r.length == 0; {
					case last != (err != nil):
						t.Errorf("row %d of %v: after %v %v", i, r.errs, took, err)
					case last && (took <= defaultPatience || took > defaultPatience+2*maxPause):
						t.Errorf("row %d of %v was given up after %v", i, r.errs, took)
					}
				}
			})
		})
	}
}
