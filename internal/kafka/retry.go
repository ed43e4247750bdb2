package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirdev/weir/internal/retry"
)

const (
	firstPause = 20 * time.Millisecond
	maxPause   = 400 * time.Millisecond
	// defaultPatience is how long an error is retried that may pass as things
	// propagate: a new topic, a batch damaged in transit.
	defaultPatience = 5 * time.Second
)

// tries is a sequence of attempts. It pauses between them, longer each time and
// with jitter, so that clients that failed together do not come back together.
type tries struct {
	c             *Client
	what, subject string
	pauses        retry.Backoff
	since         time.Time // of the current run of errors that must not last; zero: none
	unreadable    bool      // the kind of that run
	last          string
	count         int
}

func (c *Client) newTries(what, subject string) *tries {
	return &tries{c: c, what: what, subject: subject, pauses: retry.Backoff{First: firstPause, Most: maxPause}}
}

// failed waits for the next attempt. It returns an error if there is none: err is
// permanent, or ctx has ended.
func (t *tries) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return t.ended(ctx, err)
	}
	outlook, err := classify(err)
	switch {
	case outlook == never:
		return err
	case outlook == soon:
		t.since = time.Time{}
	case t.since.IsZero() || errors.Is(err, ErrUnreadable) != t.unreadable:
		t.since, t.unreadable = time.Now(), errors.Is(err, ErrUnreadable)
	case time.Since(t.since) > t.c.patience:
		return err
	}
	t.report(err)
	if !t.pauses.Wait(ctx) {
		return t.ended(ctx, err)
	}
	return nil
}

func (t *tries) ended(ctx context.Context, err error) error {
	return fmt.Errorf("%w (last: %v)", context.Cause(ctx), err)
}

// report logs the first error of a run and each change. The first may be only a
// moved leader, so it is not a warning yet.
func (t *tries) report(err error) {
	t.count++
	text := err.Error()
	switch {
	case t.count == 1:
		t.c.log.Debug("kafka: trying again", "what", t.what, "on", t.subject, "error", err)
	case t.count == 2 || text != t.last:
		t.c.log.Warn("kafka: still failing, trying on", "what", t.what, "on", t.subject, "attempts", t.count, "error", err)
	}
	t.last = text
}

// succeeded ends a run of errors.
func (t *tries) succeeded() {
	if t.count > 1 {
		t.c.log.Info("kafka: works again", "what", t.what, "on", t.subject, "attempts", t.count+1)
	}
	t.pauses.Reset()
	t.count, t.last, t.since = 0, "", time.Time{}
}
