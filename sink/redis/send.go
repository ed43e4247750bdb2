package redis

import (
	"context"
	"errors"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/score"
)

// write is a score that is being written.
type write struct {
	*entry
	n       int // its place in the batch
	key     string
	digest  string
	expires int64
	over    string // what may be written over; see putScript
	foreign int    // texts met so far that are not genuine
	rounds  int
}

const (
	// mostRounds limits the tries of one flush for an entity; the next flush
	// continues.
	mostRounds = 8
	// mostForeign is the number of invalid texts in a row after which a score
	// overwrites whatever is stored. Each text is overwritten only while it is
	// still there, so that a genuine one that arrives in between is respected. But
	// somebody who writes faster than we do must not keep a score out.
	mostForeign = 3
	anything    = "*"
)

// errContended means that an entity's value changed with each try.
var errContended = errors.New("redis: the stored score changes with each try")

// send writes a batch, and fills in failed. It judges stored values that prevent a
// write, because the store cannot tell what is genuine: a newer score stays, a
// later expiry is adopted, anything else is overwritten.
func (w *Writer) send(ctx context.Context, batch []*entry, failed []error) {
	all, writes := make([]write, len(batch)), make([]*write, len(batch))
	for i, e := range batch {
		digest := w.codec.Digest(e.entity)
		all[i] = write{
			entry: e, n: i, digest: digest, key: w.codec.KeyOf(e.entity.Kind, digest),
			expires: (&score.Update{Contributions: e.contributions, Expires: e.expires}).Lasts(),
		}
		writes[i] = &all[i]
	}
	for len(writes) > 0 {
		writes = w.round(ctx, writes, failed)
	}
}

// round pipelines one script call per write, and after them the witnesses of their
// tracks. It returns the writes to send again. The end of ctx does not interrupt
// it, because the outcome would be unknown; its own timeout does.
func (w *Writer) round(ctx context.Context, writes []*write, failed []error) (again []*write) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.DialTimeout+w.cfg.WriteTimeout)
	defer cancel()
	pipe := w.client.Pipeline()
	calls, tracked := make([]*goredis.Cmd, len(writes)), map[*Track]struct{}{}
	for i, wr := range writes {
		calls[i], failed[wr.n] = w.call(ctx, pipe, wr)
		tracked[wr.track] = struct{}{}
	}
	tracks := w.watched(tracked)
	witnesses := w.count(ctx, pipe, tracks)
	_, err := pipe.Exec(ctx)
	w.judge(tracks, witnesses)
	for i, call := range calls {
		wr := writes[i]
		if failed[wr.n] != nil {
			continue // could not even be encoded
		}
		stands, replyErr := w.answer(call)
		switch {
		case errors.Is(replyErr, errNoReply) && err != nil:
			failed[wr.n] = err // the pipeline broke before this reply
		case replyErr != nil:
			failed[wr.n] = replyErr
		case stands == "":
			w.metrics.written.Inc()
		case w.yield(wr, stands):
			w.metrics.refused.Inc()
		case wr.rounds == mostRounds:
			failed[wr.n] = errContended
		default:
			again = append(again, wr)
		}
	}
	return again
}

// call queues the write of one entry.
func (w *Writer) call(ctx context.Context, pipe goredis.Pipeliner, wr *write) (*goredis.Cmd, error) {
	v := score.Value{Kind: wr.entity.Kind, Digest: wr.digest, Position: wr.position, Expires: wr.expires, Contributions: wr.contributions}
	var room [1024]byte
	text, err := w.codec.Append(room[:0], v)
	if err != nil {
		return nil, err
	}
	// An expired score, such as a cleared one that replaces nothing, expires at
	// once.
	expires := strconv.FormatInt(max(wr.expires, 1), 10)
	return pipe.EvalSha(ctx, w.script, []string{wr.key}, string(text), expires, wr.over, w.voice.channel, w.voice.next()), nil
}

// answer returns the result of putScript: the text that prevents the write; "" if
// the score is written.
func (w *Writer) answer(call *goredis.Cmd) (stands string, err error) {
	reply, err := call.Result()
	if err != nil {
		return "", err
	}
	switch r := reply.(type) {
	case int64:
		if r != 1 {
			w.foreign(reasonType, call.Args()[3])
		}
		return "", nil
	case string:
		return r, nil
	}
	return "", errNoReply
}

// yield reports whether stands, which prevented wr, is genuine and newer. Otherwise
// it prepares another try.
func (w *Writer) yield(wr *write, stands string) bool {
	wr.rounds++
	h, err := w.codec.Head(wr.key, stands)
	switch {
	case err != nil:
		w.foreign(reasonOfValue(err), wr.key)
		wr.over = stands
		if wr.foreign++; wr.foreign >= mostForeign {
			wr.over = anything
		}
	case wr.position.Less(h.Position):
		return true
	case h.Expires > wr.expires:
		wr.expires = h.Expires
	default:
		wr.over = stands // genuine, in another version of the form
	}
	return false
}

// foreign counts an invalid stored value that is overwritten.
func (w *Writer) foreign(reason string, key any) {
	w.metrics.foreign[reason].Inc()
	if w.alarm.due(w.now()) {
		w.log.Error("redis held something that is no score of ours; it is written over. Somebody else writes to it, unless workers of another version do",
			"reason", reason, "key", key)
	}
}
