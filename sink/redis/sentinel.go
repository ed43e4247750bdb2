package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// A sentinel is a key of one facet partition that its owner counts up behind
// every batch of scores, and once a second. Where the server forgets scores, it
// forgets that, too: after FLUSHALL or a restart without data the key is gone,
// after a failover to a replica that lacks the last writes it is too low.
//
//	<prefix>:owner:{<partition>} = <random text of the track>:<number>
type sentinel struct {
	key, token string
	sent       uint64 // the last number that was sent
	known      uint64 // the last one that is known to have arrived
	forgotten  atomic.Bool
}

const (
	beatEvery    = time.Second
	sentinelLife = time.Hour
)

func newSentinel(prefix string, partition int32) *sentinel {
	return &sentinel{key: prefix + ":owner:{" + strconv.Itoa(int(partition)) + "}", token: rand.Text()}
}

// count queues the next number.
func (s *sentinel) count(ctx context.Context, pipe goredis.Pipeliner) *goredis.StatusCmd {
	s.sent++
	value := s.token + ":" + strconv.FormatUint(s.sent, 10)
	return pipe.SetArgs(ctx, s.key, value, goredis.SetArgs{Get: true, TTL: sentinelLife})
}

// judge looks at what stood in the place of the number that was sent. A number
// whose answer was lost may have arrived or not.
func (s *sentinel) judge(reply *goredis.StatusCmd) (lost bool) {
	old, err := reply.Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return false // not answered: the next one tells
	}
	first := s.known == 0
	low := s.known
	s.known = s.sent
	if first {
		return false // whoever opens a track puts everything anyway
	}
	token, number, _ := strings.Cut(old, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	if token == s.token && err == nil && n >= low && n < s.sent {
		return false
	}
	s.forgotten.Store(true)
	return true
}

// Forgotten reports, once for each time, that the server lost scores that it had
// acknowledged: whatever is live has to be put again.
func (t *Track) Forgotten() bool { return t.sentinel.forgotten.Swap(false) }

// Close ends the track: its owner has given the partition up, and another one
// counts from now on. What was put before is still written.
func (t *Track) Close() {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	delete(t.w.open, t)
}

// watched lists the open tracks, or those of a batch.
func (w *Writer) watched(batch []*entry) (tracks []*Track) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := map[*Track]bool{}
	for _, e := range batch {
		seen[e.track] = true
	}
	for t := range w.open {
		if batch == nil || seen[t] {
			tracks = append(tracks, t)
		}
	}
	return tracks
}

// introduce has the sentinels of new tracks answered before their first scores are
// sent: what is lost from then on is noticed.
func (w *Writer) introduce(ctx context.Context, batch []*entry) error {
	fresh := slices.DeleteFunc(w.watched(batch), func(t *Track) bool { return t.sentinel.known > 0 })
	return w.countUp(ctx, fresh)
}

// beat counts all sentinels up.
func (w *Writer) beat(ctx context.Context) {
	_ = w.countUp(ctx, w.watched(nil)) // an answer that does not come is judged by the next
}

func (w *Writer) countUp(ctx context.Context, tracks []*Track) error {
	if len(tracks) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.DialTimeout+w.cfg.WriteTimeout)
	defer cancel()
	pipe := w.client.Pipeline()
	replies := count(ctx, pipe, tracks)
	_, err := pipe.Exec(ctx)
	w.judge(tracks, replies)
	if errors.Is(err, goredis.Nil) {
		return nil // where no number stood before
	}
	return err
}

func count(ctx context.Context, pipe goredis.Pipeliner, tracks []*Track) []*goredis.StatusCmd {
	replies := make([]*goredis.StatusCmd, len(tracks))
	for i, t := range tracks {
		replies[i] = t.sentinel.count(ctx, pipe)
	}
	return replies
}

func (w *Writer) judge(tracks []*Track, replies []*goredis.StatusCmd) {
	for i, t := range tracks {
		if t.sentinel.judge(replies[i]) {
			w.metrics.forgotten.Inc()
			w.log.Warn("redis has lost scores, or another owner writes; the partition's live scores are put again", "partition", t.partition)
		}
	}
}
