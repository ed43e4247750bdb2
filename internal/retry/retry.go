// Package retry does something with a store that may be down until it is done.
package retry

import (
	"context"
	"errors"
	"time"
)

const (
	firstPause = 100 * time.Millisecond
	mostPause  = 10 * time.Second
	// attemptTime is how long an attempt may take: a store that neither answers
	// nor refuses is one that fails.
	attemptTime = 2 * time.Minute
)

// Do tries until it succeeds, until final says of the error that trying again
// cannot help, or until ctx ends; the pauses grow to ten seconds. failed hears of
// each error after which it is tried again; news says that it is another one than
// the last.
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

// Once tries once, for two minutes at most.
func Once(ctx context.Context, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return try(ctx)
}
