package redis

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/score"
)

// Pauses after a failure: doubled from one to the other, each cut by a random
// part so that many workers do not come back at once.
const (
	shortestPause = 5 * time.Millisecond
	longestPause  = 500 * time.Millisecond
)

// flush sends a batch once and settles it. After a failure it waits a little,
// but not beyond the end of ctx.
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
	err := w.count(failed)
	w.settle(batch, failed)
	w.tell(err)
	w.resize(len(batch), err)
	switch {
	case err == nil:
		w.pause = 0
	case reasonOf(err) == reasonScript && w.loadScript(ctx) == nil:
	default:
		w.wait(ctx)
	}
}

// resize halves the next batches after one that took too long, or a slow server
// would be sent the same for ever, and lets them grow again after success.
func (w *Writer) resize(sent int, err error) {
	switch {
	case err == nil:
		w.limit = min(2*w.limit, w.cfg.PipelineSize)
	case reasonOf(err) == reasonTimeout:
		w.limit = max(sent/2, 1)
	}
}

// send pipelines one script call an entry, and behind them the sentinels of
// their tracks, and fills in failed. The end of ctx
// does not cut it short, lest its outcome be unknown: its own timeout does.
func (w *Writer) send(ctx context.Context, batch []*entry, failed []error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.DialTimeout+w.cfg.WriteTimeout)
	defer cancel()
	pipe := w.client.Pipeline()
	calls := make([]*goredis.Cmd, len(batch))
	for i, e := range batch {
		calls[i], failed[i] = w.call(ctx, pipe, e)
	}
	tracks := w.watched(batch)
	sentinels := count(ctx, pipe, tracks)
	_, err := pipe.Exec(ctx)
	w.judge(tracks, sentinels)
	for i, call := range calls {
		if failed[i] != nil {
			continue // could not even be encoded
		}
		written, replyErr := call.Int64()
		switch {
		case call.Err() == nil && replyErr != nil && err != nil:
			failed[i] = err // the pipeline broke before this reply
		case call.Err() == nil && replyErr != nil:
			failed[i] = errNoReply
		case replyErr != nil:
			failed[i] = replyErr
		case written == 1:
			w.metrics.written.Inc()
		default:
			w.metrics.refused.Inc()
		}
	}
}

// call queues the write of one entry.
func (w *Writer) call(ctx context.Context, pipe goredis.Pipeliner, e *entry) (*goredis.Cmd, error) {
	v := score.Value{Kind: e.entity.Kind, Digest: score.Digest(w.secret, e.entity), Position: e.position, Contributions: e.contributions}
	var room [2*score.PositionLen + 512]byte
	position, err := score.AppendPosition(room[:0:score.PositionLen], v.Position)
	if err != nil {
		return nil, err
	}
	body, err := score.AppendBody(room[score.PositionLen:score.PositionLen], v)
	if err != nil {
		return nil, err
	}
	expires := strconv.FormatInt(max(score.Expires(e.contributions), e.expires), 10)
	key := score.KeyOf(w.cfg.KeyPrefix, v.Kind, v.Digest)
	return pipe.EvalSha(ctx, w.script, []string{key}, string(position), expires, string(body)), nil
}

// count counts failures by reason and returns the first that is not a missing
// script, or else the first.
func (w *Writer) count(failed []error) error {
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

// loadScript teaches the server the script, which it forgets when it is
// restarted or told to.
func (w *Writer) loadScript(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.DialTimeout+w.cfg.WriteTimeout)
	defer cancel()
	err := w.client.ScriptLoad(ctx, putScript).Err()
	if err != nil {
		w.metrics.failed(reasonOf(err))
		w.tell(err)
	}
	return err
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

// wait pauses longer after each failure in a row.
func (w *Writer) wait(ctx context.Context) {
	w.pause = min(max(2*w.pause, shortestPause), longestPause)
	timer := time.NewTimer(w.pause - rand.N(w.pause/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
