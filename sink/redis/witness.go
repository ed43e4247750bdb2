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

// A witness is a key of one facet partition that its owner increments after every
// batch of scores, and once a second. If the server loses scores, it loses that
// key, too: after FLUSHALL or a restart without data it is missing, and after a
// failover to a replica that lacks the last writes it is too low.
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

// judge checks the previous content against the number that was sent. A number
// whose reply was lost may have arrived or not.
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

// Forgotten reports, once per loss, that the server lost acknowledged scores: all
// live scores must be put again. The first loss is reported at once, repeated ones
// with pauses that grow to a minute: somebody who writes to the witness's key must
// not keep the partition busy.
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

// Close ends the track: its owner has given the partition up, and another owner
// counts from now on. Scores that were put before are still written.
func (t *Track) Close() {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	delete(t.w.open, t)
}

// watched lists the open tracks among some.
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

// introduce writes the witnesses of new tracks before their first scores, so that
// any later loss is noticed.
func (w *Writer) introduce(ctx context.Context, batch []*entry) error {
	tracks := map[*Track]struct{}{}
	for _, e := range batch {
		if e.track.witness.known == 0 {
			tracks[e.track] = struct{}{}
		}
	}
	return w.countUp(ctx, w.watched(tracks))
}

// beat counts all witnesses up, and tells those who follow that nothing is missing.
func (w *Writer) beat(ctx context.Context) {
	tracks := w.watched(w.open)
	if len(tracks) == 0 || w.countUp(ctx, tracks) != nil {
		return // an answer that does not come is judged by the next
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.WriteTimeout)
	defer cancel()
	w.client.Publish(ctx, w.voice.channel, w.voice.next()) // who follows notices that it is missing
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
