package redis

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// A witness is a key of one facet partition that its owner counts up behind
// every batch of scores, and once a second. Where the server forgets scores, it
// forgets that, too: after FLUSHALL or a restart without data the key is gone,
// after a failover to a replica that lacks the last writes it is too low.
//
//	<prefix>:owner:{<partition>} = <random text of the track>:<number>
type witness struct {
	key, token string
	sent       uint64 // the last number that was sent
	known      uint64 // the last one that is known to have arrived
	forgotten  atomic.Bool

	// Below here: guarded by Writer.mu.
	told  time.Time     // when it was last told of a loss
	pause time.Duration // until it is told again
}

const (
	beatEvery        = time.Second
	witnessLife      = time.Hour
	longestLossPause = time.Minute
)

func newWitness(prefix string, partition int32) *witness {
	return &witness{key: prefix + ":owner:{" + strconv.Itoa(int(partition)) + "}", token: rand.Text()}
}

// count queues the next number.
func (s *witness) count(ctx context.Context, pipe goredis.Pipeliner, script string) *goredis.Cmd {
	s.sent++
	value := s.token + ":" + strconv.FormatUint(s.sent, 10)
	return pipe.EvalSha(ctx, script, []string{s.key}, value, int(witnessLife/time.Second))
}

// judge looks at what stood in the place of the number that was sent. A number
// whose answer was lost may have arrived or not.
func (s *witness) judge(reply *goredis.Cmd) (lost bool) {
	old, err := reply.Text()
	if err != nil {
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
// acknowledged: whatever is live has to be put again. The first loss is told at
// once, those that follow one upon the other with pauses that grow to a minute:
// who writes to the witness's key must not keep the partition at putting.
func (t *Track) Forgotten() bool {
	s := t.witness
	if !s.forgotten.Load() {
		return false
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	now := t.w.now()
	if now.Sub(s.told) < s.pause {
		return false
	}
	s.forgotten.Store(false)
	if now.Sub(s.told) < 4*s.pause {
		s.pause = min(2*s.pause, longestLossPause)
	} else {
		s.pause = beatEvery
	}
	s.told = now
	t.w.log.Warn("redis has lost scores, or somebody else writes there; the partition's live scores are put again", "partition", t.partition)
	return true
}

// Close ends the track: its owner has given the partition up, and another one
// counts from now on. What was put before is still written.
func (t *Track) Close() {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	delete(t.w.open, t)
}

// watched lists those of some tracks that are open.
func (w *Writer) watched(some map[*Track]struct{}) (tracks []*Track) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for t := range some {
		if _, ok := w.open[t]; ok {
			tracks = append(tracks, t)
		}
	}
	return tracks
}

// introduce has the witnesses of new tracks answered before their first scores are
// sent: what is lost from then on is noticed.
func (w *Writer) introduce(ctx context.Context, batch []*entry) error {
	tracks := map[*Track]struct{}{}
	for _, e := range batch {
		if e.track.witness.known == 0 {
			tracks[e.track] = struct{}{}
		}
	}
	return w.countUp(ctx, w.watched(tracks))
}

// beat counts all witnesses up.
func (w *Writer) beat(ctx context.Context) {
	_ = w.countUp(ctx, w.watched(w.open)) // an answer that does not come is judged by the next
}

func (w *Writer) countUp(ctx context.Context, tracks []*Track) error {
	if len(tracks) == 0 {
		return nil
	}
	err := w.countOnce(ctx, tracks)
	if err != nil && reasonOf(err) == reasonScript && w.loadScripts(ctx) == nil {
		err = w.countOnce(ctx, tracks)
	}
	return err
}

func (w *Writer) countOnce(ctx context.Context, tracks []*Track) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.DialTimeout+w.cfg.WriteTimeout)
	defer cancel()
	pipe := w.client.Pipeline()
	replies := w.count(ctx, pipe, tracks)
	_, err := pipe.Exec(ctx)
	w.judge(tracks, replies)
	return err
}

// count queues the witnesses of tracks.
func (w *Writer) count(ctx context.Context, pipe goredis.Pipeliner, tracks []*Track) []*goredis.Cmd {
	replies := make([]*goredis.Cmd, len(tracks))
	for i, t := range tracks {
		replies[i] = t.witness.count(ctx, pipe, w.counter)
	}
	return replies
}

func (w *Writer) judge(tracks []*Track, replies []*goredis.Cmd) {
	for i, t := range tracks {
		if t.witness.judge(replies[i]) {
			w.metrics.forgotten.Inc()
		}
	}
}
