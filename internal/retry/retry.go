// Package retry repeats calls to a store that may be down until they succeed.
package retry

import (
	"context"
	"errors"
	"time"
)

const (
	firstPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
	// attemptTime limits an attempt: a store that neither answers nor refuses has
	// failed.
	attemptTime = 2 * time.Minute
)

// Do calls try until it succeeds, until final reports an error as permanent, or
// until ctx ends; the pauses grow to ten seconds. It calls failed with each error
// that is retried; news reports whether the error differs from the last.
func Do(ctx context.Context, try func(ctx context.Context) error, final func(error) bool, failed func(err error, news bool)) error {
	pauses := Backoff{First: firstPause, Most: mostPause}
	for last := ""; ; {
		err := Once(ctx, try)
		switch {
		case err == nil, final(err):
			return err
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), err)
		}
		failed(err, err.Error() != last)
		last = err.Error()
		if !pauses.Wait(ctx) {
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// Once tries once, for at most two minutes.
func Once(ctx context.Context, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return try(ctx)
}
