// Package lookup looks up the risk of entities within a time limit, whatever the
// state of Redis. It caches what it has read, follows changes, and fetches the rest
// in round trips that are independent of requests. It makes no decisions.
package lookup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/internal/breaker"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/trips"
	"github.com/weirdev/weir/score"
)

// Store holds scores. Calls may overlap.
type Store interface {
	// Fetch reads the values of keys in one round trip, and returns soon after ctx
	// ends. values holds one value per key, in order; the zero value if nothing is
	// stored. bad marks keys with a stored value that is not a score. If err is not
	// nil, there are no values.
	Fetch(ctx context.Context, keys []string) (values []score.Value, bad []bool, err error)

	// Ready reports whether the store answers.
	Ready(ctx context.Context) error

	// Follow reports changes until ctx ends. It calls one method of h at a time.
	Follow(ctx context.Context, h score.Hearer) error
}

// Reasons why risk is unknown, fully or in part: a closed set, used in answers and
// as labels.
const (
	Timeout  = "timeout"      // the budget is over
	Failed   = "error"        // the store returned an error or cannot be reached
	Partial  = "partial"      // a stored value is not a score
	Breaker  = "breaker_open" // not asked: the store failed just before
	Busy     = "busy"         // not asked: too many look-ups are in progress
	Canceled = "canceled"     // the caller went away
)

// Troubles lists all reasons.
func Troubles() []string { return []string{Timeout, Failed, Partial, Breaker, Busy, Canceled} }

// Dependencies are the parts that a Lookup uses.
type Dependencies struct {
	Store      Store
	Codec      *score.Codec          // for the stream's keys and values
	Timeout    time.Duration         // time limit of a round trip
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: the clock
}

// Lookup looks up risk. It is safe for concurrent use.
type Lookup struct {
	cfg     Config
	deps    Dependencies
	log     *slog.Logger
	now     func() time.Time // nil: a look-up is of the time at which it was asked for
	metrics *metrics
	cache   *cache
	keyOf   func(facet.Entity) string
	breaker *breaker.Breaker
	waiting chan struct{} // holds one element per waiting request

	feed  atomic.Uint64 // epoch × 2, plus 1 while the feed is complete
	saved atomic.Uint64 // number of changes that are on disk
	heard atomic.Uint64 // number of changes to the cache

	mu      sync.Mutex
	ended   bool
	asks    map[string]*ask // queued or in flight, by key
	queue   []*ask          // not sent yet
	trips   *trips.Trips
	running sync.WaitGroup
	ctx     context.Context // for round trips
	cancel  context.CancelFunc
}

const (
	mostTrips = 4           // concurrent round trips
	mostKeys  = 512         // per round trip
	mostWaste = 64          // queued keys per request that may wait
	unfed     = time.Second // age at which a score is read again while no changes arrive
)

// ask is a key that at least one request wants.
type ask struct {
	key   string
	since time.Time
	done  chan struct{} // closed when the other fields are set
	value *score.Value
	bad   bool
	err   error
}

// New checks cfg, and reads the saved scores. It starts nothing.
func New(cfg Config, deps Dependencies) (*Lookup, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Store == nil || deps.Codec == nil || deps.Timeout <= 0 {
		return nil, errors.New("lookup: no store, no codec or no time for a round trip")
	}
	l := &Lookup{cfg: cfg, deps: deps, log: deps.Logger, now: deps.Now, cache: newCache(cfg.CacheEntries), keyOf: deps.Codec.Key, asks: map[string]*ask{}, trips: trips.New(mostTrips)}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.waiting = make(chan struct{}, cfg.MaxLookups)
	l.breaker = breaker.New(cfg.BreakerFailures, cfg.BreakerPause, time.Now)
	l.metrics = newMetrics(deps.Registerer, l)
	if err := l.load(); err != nil {
		return nil, err
	}
	return l, nil
}

// Answer is the known risk of entities.
type Answer struct {
	Trouble string // why Found is incomplete or outdated; "" if it is neither
	Earlier bool   // what is missing is in Found as it was known earlier

	few  [fewFound]Found // in the answer itself, so that it needs no memory of its own
	many []Found         // all, where few has no room; otherwise nil
	n    int
}

// Found is the risk of one entity.
type Found struct {
	Place int          // of the entity among those that were looked up
	Value *score.Value // shared
}

// fewFound is more than the entities of most requests that have a score.
const fewFound = 4

// Found lists the entities with risk, in order of their places. It aliases a.
func (a *Answer) Found() []Found {
	if a.many != nil {
		return a.many
	}
	return a.few[:a.n]
}

// Value returns the value of entity i; nil if nothing is known or there is no risk.
func (a *Answer) Value(i int) *score.Value {
	for _, f := range a.Found() {
		if f.Place == i {
			return f.Value
		}
	}
	return nil
}

// add adds the risk of an entity that has none yet.
func (a *Answer) add(f Found) {
	if a.n == len(a.few) {
		a.many = append(make([]Found, 0, 2*fewFound), a.few[:]...)
	}
	a.n++
	var all []Found
	if a.many != nil {
		a.many = append(a.many, f)
		all = a.many
	} else {
		all = a.few[:a.n]
	}
	i := len(all) - 1
	for ; i > 0 && all[i-1].Place > f.Place; i-- {
		all[i] = all[i-1]
	}
	all[i] = f
}

// Look looks up entities within a budget, which begins at now. With earlier, an
// outdated value is used if no current one can be read in time.
func (l *Lookup) Look(ctx context.Context, entities []facet.Entity, now time.Time, budget time.Duration, earlier bool) Answer {
	var a Answer
	var missing []miss
	feed := l.feed.Load()
	finder := l.cache.finder(l.keyOf)
	for i := range entities {
		key, kept := finder.find(&entities[i])
		if kept == nil || !l.fresh(kept, now, feed) {
			missing = append(missing, miss{place: i, key: key, kept: kept})
		} else if l.isRisk(&kept.value, now) {
			a.add(Found{i, &kept.value})
		}
	}
	if len(missing) == 0 {
		l.metrics.hits.Inc()
		return a
	}
	l.metrics.misses.Inc()
	if a.Trouble = l.await(ctx, missing, now, budget); a.Trouble != "" {
		l.metrics.troubles[a.Trouble].Inc()
	}
	a.Earlier = a.Trouble != "" && earlier
	for i := range missing {
		m := &missing[i]
		if !m.found {
			if !earlier || m.kept == nil {
				a.Earlier = false
				continue
			}
			m.value = &m.kept.value
		}
		if l.isRisk(m.value, now) {
			a.add(Found{m.place, m.value})
		}
	}
	if a.Earlier {
		l.metrics.earlier.Inc()
	}
	return a
}

// miss is an entity without a fresh cache entry.
type miss struct {
	place int // index among the entities
	key   string
	kept  *entry // nil: nothing is known
	ask   *ask

	value *score.Value
	found bool
}

// fresh reports whether a decision may use a cache entry.
func (l *Lookup) fresh(e *entry, now time.Time, feed uint64) bool {
	most := l.cfg.MaxStale
	if feed&1 == 0 || e.epoch != feed { // changes may have been missed since then
		most = min(most, unfed)
	}
	return !e.at.IsZero() && now.Sub(e.at) < most
}

// isRisk reports whether v is a score that has not expired.
func (l *Lookup) isRisk(v *score.Value, now time.Time) bool {
	return v.Kind != 0 && v.Expires > l.nowOr(now).UnixMilli()
}

// nowOr returns the time of the clock that the look-up was given, or else t.
func (l *Lookup) nowOr(t time.Time) time.Time {
	if l.now == nil {
		return t
	}
	return l.now()
}

// await waits for the missing entities. trouble says why some of them were not
// found.
func (l *Lookup) await(ctx context.Context, missing []miss, now time.Time, budget time.Duration) (trouble string) {
	select {
	case l.waiting <- struct{}{}:
		defer func() { <-l.waiting }()
	default:
		return Busy
	}
	until, trouble := l.want(missing, now, budget)
	if trouble != "" {
		return trouble
	}
	timer := time.NewTimer(until.Sub(now))
	defer timer.Stop()
	over := "" // why waiting has ended
	for i := range missing {
		m := &missing[i]
		if over == "" {
			select {
			case <-m.ask.done:
			case <-timer.C:
				over = Timeout
			case <-ctx.Done():
				over = canceled(ctx)
			}
		}
		switch {
		case !m.ask.answered():
			trouble = over
		case m.ask.err != nil:
			trouble = worse(trouble, troubleOf(m.ask.err))
		case m.ask.bad:
			trouble = worse(trouble, Partial)
		default:
			m.value, m.found = m.ask.value, true
		}
	}
	return trouble
}

// answered reports whether the fields of a can be read.
func (a *ask) answered() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// worse returns the more serious trouble: that the store did not answer.
func worse(a, b string) string {
	if a == "" || a == Partial {
		return b
	}
	return a
}

func canceled(ctx context.Context) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return Timeout
	}
	return Canceled
}

func troubleOf(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return Timeout
	}
	return Failed
}

// want queues the missing keys, unless they are already queued or in flight. until
// is the end of waiting: one budget after the first of them was queued.
func (l *Lookup) want(missing []miss, now time.Time, budget time.Duration) (until time.Time, trouble string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, late := now.Add(budget), l.trips.Late(now, budget)
	admitted := false
	defer func() {
		if admitted {
			l.dispatch(now)
		}
	}()
	for i := range missing {
		m := &missing[i]
		if m.ask = l.asks[m.key]; m.ask != nil {
			if joined := m.ask.since.Add(budget); joined.Before(until) {
				until = joined
			}
			continue
		}
		switch {
		case l.ended:
			return until, Failed
		case len(l.queue) >= mostWaste*l.cfg.MaxLookups:
			return until, Busy
		case !admitted && !l.breaker.Allow():
			return until, Breaker
		}
		admitted = true
		m.ask = &ask{key: m.key, since: now, done: make(chan struct{})}
		l.asks[m.key] = m.ask
		l.queue = append(l.queue, m.ask)
	}
	if late || !now.Before(until) {
		return until, Timeout
	}
	return until, ""
}

// dispatch starts another round trip if the limit allows it. The caller holds l.mu.
func (l *Lookup) dispatch(now time.Time) {
	if place, ok := l.trips.Begin(now); ok {
		l.running.Go(func() { l.travel(place) })
	}
}

// travel makes round trips until the queue is empty.
func (l *Lookup) travel(place int) {
	for {
		batch := l.take(place)
		if len(batch) == 0 {
			return
		}
		l.fetch(batch)
	}
}

// take removes the keys of the next round trip from the queue.
func (l *Lookup) take(place int) []*ask {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.queue), mostKeys)
	if n == 0 {
		l.trips.End(place)
		l.queue = nil
		return nil
	}
	batch := l.queue[:n:n]
	l.queue = l.queue[n:]
	l.trips.Again(place, time.Now())
	return batch
}

// fetch makes one round trip, and passes the values to the waiting requests.
func (l *Lookup) fetch(batch []*ask) {
	keys := make([]string, len(batch))
	for i, a := range batch {
		keys[i] = a.key
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.deps.Timeout)
	defer cancel()
	began, feed := time.Now(), l.feed.Load()
	values, bad, err := l.call(ctx, keys)
	switch {
	case err == nil:
		l.breaker.Done(breaker.Succeeded)
	case l.ctx.Err() != nil:
		l.breaker.Done(breaker.Abandoned)
	default:
		l.log.Debug("risk could not be looked up", "error", err)
		l.breaker.Done(breaker.Failed)
	}
	for i, a := range batch {
		if a.err = err; err == nil {
			a.bad = bad[i]
			if !a.bad {
				a.value = l.cache.put(a.key, entry{began, feed, values[i]}, began)
				l.heard.Add(1)
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.breaker.Open() == 1 { // nobody should wait for a round trip that would fail too
		for _, a := range l.queue {
			a.err = err
		}
		batch, l.queue = append(batch, l.queue...), nil
	}
	for _, a := range batch {
		delete(l.asks, a.key)
		close(a.done)
	}
}

// call asks the store. A panic there must not leave requests waiting.
func (l *Lookup) call(ctx context.Context, keys []string) (values []score.Value, bad []bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("lookup: the store panics: %v", r)
			l.log.Error("the store of scores panics", "error", err)
		}
	}()
	values, bad, err = l.deps.Store.Fetch(ctx, keys)
	if err == nil && (len(values) != len(keys) || len(bad) != len(keys)) {
		err = fmt.Errorf("lookup: %d answers to %d keys", len(values), len(keys))
	}
	return values, bad, err
}

// Ready reports whether the score store answers.
func (l *Lookup) Ready(ctx context.Context) error { return l.deps.Store.Ready(ctx) }

// Following reports whether changes are being received.
func (l *Lookup) Following() bool { return l.feed.Load()&1 == 1 }

// Run follows changes and saves the cache until ctx ends. It then waits for the
// round trips in progress.
func (l *Lookup) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.deps.Store.Follow(ctx, l); err != nil {
			l.log.Error("changes of scores are not followed any more", "error", err)
		}
	})
	l.keep(ctx)
	wg.Wait()
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.cancel()
	l.running.Wait()
	return nil
}

// Whole implements [score.Hearer].
func (l *Lookup) Whole() {
	if f := l.feed.Load(); f&1 == 0 {
		l.feed.Store(f + 1)
	}
}

// Broken implements [score.Hearer]: entries that were read before are no longer
// trusted.
func (l *Lookup) Broken() {
	l.metrics.gaps.Inc()
	l.feed.Store(l.feed.Load()&^1 + 2)
}

// Changed implements [score.Hearer].
func (l *Lookup) Changed(key string, v score.Value) {
	l.cache.put(strings.Clone(key), entry{time.Now(), l.feed.Load(), v}, time.Time{})
	l.heard.Add(1)
	l.metrics.changes.Inc()
}
