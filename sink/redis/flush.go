package redis

import (
	"context"
	"time"
)

// Pauses after a failure: doubled from one to the other, with jitter so that many
// workers do not come back at once.
const (
	shortestPause = 5 * time.Millisecond
	longestPause  = 500 * time.Millisecond
)

// flush sends a batch once and settles it. After a failure it waits a little, but
// not beyond the end of ctx.
func (w *Writer) flush(ctx context.Context, batch []*entry) {
	start := time.Now()
	failed := make([]error, len(batch))
	if err := w.introduce(ctx, batch); err != nil {
		for i := range failed {
			failed[i] = err
		}
	} else {
		w.send(ctx, batch, failed)
	}
	w.metrics.flushed(len(batch), time.Since(start))
	err := w.countFailed(failed)
	w.settle(batch, failed)
	w.tell(err)
	w.resize(len(batch), err)
	switch {
	case err == nil:
		w.pauses.Reset()
	case reasonOf(err) == reasonScript && w.loadScripts(ctx) == nil:
	default:
		w.pauses.Wait(ctx)
	}
}

// resize halves the next batches after one that took too long, because a slow
// server would otherwise get the same batch for ever. After success they grow
// again.
func (w *Writer) resize(sent int, err error) {
	switch {
	case err == nil:
		w.limit = min(2*w.limit, w.cfg.PipelineSize)
	case reasonOf(err) == reasonTimeout:
		w.limit = max(sent/2, 1)
	}
}

// countFailed counts failures by reason. It returns the first one that is not a
// missing script, or else the first.
func (w *Writer) countFailed(failed []error) error {
	var first error
	for _, err := range failed {
		if err == nil {
			continue
		}
		reason := reasonOf(err)
		w.metrics.failed(reason)
		if first == nil || reason != reasonScript && reasonOf(first) == reasonScript {
			first = err
		}
	}
	return first
}

// loadScripts loads the scripts into the server, which forgets them on a restart or
// on request.
func (w *Writer) loadScripts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.DialTimeout+w.cfg.WriteTimeout)
	defer cancel()
	for _, script := range []string{putScript, countScript} {
		if err := w.client.ScriptLoad(ctx, script).Err(); err != nil {
			w.metrics.failed(reasonOf(err))
			w.tell(err)
			return err
		}
	}
	return nil
}

// tell logs the first failure, each change of its reason, and its end.
func (w *Writer) tell(err error) {
	reason := ""
	if err != nil {
		if reason = reasonOf(err); reason == reasonScript {
			return // part of normal life
		}
	}
	if reason == w.trouble {
		return
	}
	w.trouble = reason
	if err == nil {
		w.log.Info("scores are written again")
		return
	}
	w.log.Warn("scores cannot be written; they are kept, and detection waits once the buffer is full", "reason", reason, "error", err)
}
