// Package redis stores the risk of entities where gateways look it up: it writes
// scores to Redis and reads them back. Package score defines the stored form;
// docs/redis.md describes it for other languages.
//
// It decides nothing: the engine decides which score an entity has, and the gate
// what follows from it. It never drops a score: while Redis is down, it keeps the
// latest score of each entity and makes its callers wait.
package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/retry"
	"github.com/weirdev/weir/score"
)

// Dependencies are the connections of a writer or reader. Only Secret is required.
type Dependencies struct {
	Secret     []byte // of keys and codes, 16 bytes or more; the same for all that write and read
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: time.Now
}

// Writer writes scores. It sends as soon as there is something to send. Scores that
// arrive during a round trip go with the next one, so batches grow with the load
// and nothing ever waits for a timer.
//
//	Track.Put ─▶ waiting (latest per entity) ─▶ queue ─▶ pipeline ─┬▶ acknowledged
//	                     ▲                                         │
//	                     └────────── failed, unless replaced ◀─────┘
type Writer struct {
	cfg     Config
	codec   *score.Codec
	client  goredis.UniversalClient
	log     *slog.Logger
	now     func() time.Time
	metrics *writerMetrics
	script  string // name of putScript
	counter string // name of countScript
	voice   *voice
	alarm   seldom

	places chan struct{} // one taken for each entry
	wake   chan struct{} // says that the queue is not empty
	ended  chan struct{} // closed when Run has ended

	mu     sync.Mutex
	open   map[*Track]struct{}
	queue  []*entry // waiting to be sent, the oldest first
	flying []*entry // being sent
	free   []*entry

	// Below here: used by Run alone.
	trouble string        // reason of the last failure, "" after a success
	pauses  retry.Backoff // of the loop that writes
	limit   int           // most scores in the next batch
}

// entry is the latest score of an entity.
type entry struct {
	track  *Track
	mark   int // the lowest offset that this entry acknowledges
	entity facet.Entity
	since  time.Time // from when on a score of the entity is not acknowledged

	position      score.Position
	expires       int64
	contributions []score.Contribution
}

// keep sets the entry's score.
func (e *entry) keep(u *score.Update) {
	if e.entity != u.Entity {
		e.entity = facet.Entity{Kind: u.Entity.Kind, Tenant: strings.Clone(u.Entity.Tenant), Key: strings.Clone(u.Entity.Key)}
	}
	e.position, e.expires = u.Position, u.Expires
	e.contributions = append(e.contributions[:0], u.Contributions...)
}

// replace sets the entry's score in place of one that was not written, and that may
// have a later expiry.
func (e *entry) replace(u *score.Update) {
	expires := max(u.Expires, e.expires)
	e.keep(u)
	e.expires = expires
}

// NewWriter checks cfg and reads the files it names. It connects to nothing.
func NewWriter(cfg Config, deps Dependencies) (*Writer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := checkSecret(deps.Secret); err != nil {
		return nil, err
	}
	client, err := cfg.client(cfg.WriteTimeout, 2)
	if err != nil {
		return nil, err
	}
	w := &Writer{pauses: retry.Backoff{First: shortestPause, Most: longestPause},
		cfg: cfg, codec: score.NewCodec(deps.Secret, cfg.KeyPrefix), client: client, log: deps.logger(), now: deps.clock(),
		script: scriptName(putScript), counter: scriptName(countScript), voice: newVoice(cfg.KeyPrefix), limit: cfg.PipelineSize, open: map[*Track]struct{}{},
		places: make(chan struct{}, cfg.BufferSize), wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	w.metrics = newWriterMetrics(deps.Registerer, func() float64 { return w.oldest().Seconds() })
	return w, nil
}

func (d Dependencies) clock() func() time.Time {
	if d.Now == nil {
		return time.Now
	}
	return d.Now
}

func (d Dependencies) logger() *slog.Logger {
	if d.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Logger.With("sink", "redis")
}

// Open starts a track for a facet partition, which its owner closes.
func (w *Writer) Open(partition int32) *Track {
	t := &Track{w: w, partition: partition, witness: newWitness(w.cfg.KeyPrefix, partition), waiting: map[facet.Entity]*entry{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[t] = struct{}{}
	return t
}

// Run writes until ctx ends, and then the rest, within the configured drain time.
// Its error states how much could not be written: the owners of the partitions have
// not committed that, and it will be written again.
func (w *Writer) Run(ctx context.Context) error {
	defer close(w.ended)
	defer w.client.Close()
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			w.beat(ctx)
		default:
		}
		if batch := w.take(); len(batch) > 0 {
			w.flush(ctx, batch)
			continue
		}
		select {
		case <-w.wake:
		case <-tick.C:
			w.beat(ctx)
		case <-ctx.Done():
		}
	}
	return w.finish(context.WithoutCancel(ctx))
}

func (w *Writer) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.DrainTimeout)
	defer cancel()
	for ctx.Err() == nil {
		batch := w.take()
		if len(batch) == 0 {
			return nil
		}
		w.flush(ctx, batch)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil
	}
	return fmt.Errorf("redis: %d scores not written: %w", len(w.queue), ctx.Err())
}

// reserve takes a place in the buffer.
func (w *Writer) reserve(ctx context.Context) error {
	select {
	case <-w.ended:
		return ErrClosed
	default:
	}
	select {
	case w.places <- struct{}{}:
		return nil
	default:
	}
	start := time.Now()
	defer func() { w.metrics.blocked.Add(time.Since(start).Seconds()) }()
	select {
	case w.places <- struct{}{}:
		return nil
	case <-w.ended:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("redis: wait for room: %w", ctx.Err())
	}
}

// newEntry returns an unused entry; w.mu is held.
func (w *Writer) newEntry() *entry {
	n := len(w.free)
	if n == 0 {
		return &entry{}
	}
	e := w.free[n-1]
	w.free = w.free[:n-1]
	return e
}

func (w *Writer) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// take removes the next batch from the queue. Until it is settled, new scores of
// its entities wait separately.
func (w *Writer) take() []*entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.queue), w.limit)
	batch := w.queue[:n:n]
	w.queue, w.flying = w.queue[n:], batch
	for _, e := range batch {
		delete(e.track.waiting, e.entity)
	}
	w.metrics.pending.Set(float64(len(w.places)))
	return batch
}

// settle releases acknowledged entries, and puts the others back at the front of
// the queue. failed holds one error per entry, nil for success.
func (w *Writer) settle(batch []*entry, failed []error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying = nil
	var again []*entry
	for i, e := range batch {
		if failed[i] != nil && !w.replaced(e) {
			e.track.waiting[e.entity] = e
			again = append(again, e)
			continue
		}
		e.track.release(e)
		w.recycle(e)
	}
	if len(again) > 0 {
		w.queue = append(again, w.queue...)
	}
}

// replaced reports whether a newer score of e's entity is queued, which then
// accounts for e's offset too.
func (w *Writer) replaced(e *entry) bool {
	newer, ok := e.track.waiting[e.entity]
	if ok {
		newer.mark, e.mark = e.mark, newer.mark
		newer.since = e.since
	}
	return ok
}

// oldest returns the age of the oldest unacknowledged score.
func (w *Writer) oldest() (age time.Duration) {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, list := range [][]*entry{w.flying, w.queue} {
		for _, e := range list {
			age = max(age, now.Sub(e.since))
		}
	}
	return age
}

const keptContributions = 4 // room of an entry that is worth keeping

func (w *Writer) recycle(e *entry) {
	<-w.places
	clear(e.contributions)
	room := e.contributions[:0]
	if cap(room) > keptContributions {
		room = nil
	}
	*e = entry{contributions: room}
	if len(w.free) < w.cfg.PipelineSize {
		w.free = append(w.free, e)
	}
}

// Ready reports whether Redis answers, and lets us read.
func (w *Writer) Ready(ctx context.Context) error {
	return ready(ctx, w.client, w.cfg)
}

var errNoReply = errors.New("redis: no reply")
