// Package lookup says what is known of the risk of entities, within a time, whatever
// Redis does. It keeps what it has read, hears what changes, and asks for the rest in
// round trips of its own. It decides nothing.
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

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// Store holds scores. Calls may overlap.
type Store interface {
	// Fetch gets what stands under keys in one round trip, and returns soon after ctx
	// ends. It answers with one value a key, in order, the zero value where there is
	// none; bad says of which keys something is stored that is no score. With an error
	// there is no answer.
	Fetch(ctx context.Context, keys []string) (values []score.Value, bad []bool, err error)

	// Ready reports whether the store answers.
	Ready(ctx context.Context) error

	// Follow tells of changes until ctx ends. It calls one method of h at a time.
	Follow(ctx context.Context, h score.Hearer) error
}

// Why risk is not known, or not all of it: a closed set, in answers and as labels.
const (
	Timeout  = "timeout"      // not within the budget
	Failed   = "error"        // the store refused or cannot be reached
	Partial  = "partial"      // some of what is stored is no score
	Breaker  = "breaker_open" // not asked: the store failed just now
	Busy     = "busy"         // not asked: too many look-ups are under way
	Canceled = "canceled"     // whoever asked went away
)

// Troubles lists them.
func Troubles() []string { return []string{Timeout, Failed, Partial, Breaker, Busy, Canceled} }

// Dependencies are what a Lookup is wired to.
type Dependencies struct {
	Store      Store
	Codec      *score.Codec          // of the stream's keys and values
	Timeout    time.Duration         // longest time of a round trip
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: time.Now
}

// Lookup looks risk up. Its methods may be called by many goroutines.
type Lookup struct {
	cfg     Config
	deps    Dependencies
	log     *slog.Logger
	now     func() time.Time
	metrics *metrics
	cache   *cache
	breaker breaker
	waiting chan struct{} // one taken for each request that waits

	feed  atomic.Uint64 // epoch × 2, and 1 while the feed is whole
	saved atomic.Uint64 // changes that are on disk
	heard atomic.Uint64 // changes of what is kept

	mu      sync.Mutex
	ended   bool
	asks    map[string]*ask // wanted or under way, by key
	queue   []*ask          // wanted
	trips   map[*trip]struct{}
	running sync.WaitGroup
	ctx     context.Context // of round trips
	cancel  context.CancelFunc
}

const (
	mostTrips = 4   // round trips at once
	mostKeys  = 512 // of a round trip
	mostWaste = 64  // keys wanted for each request that may wait
	unfed     = time.Second
)

// ask is a key that somebody wants.
type ask struct {
	key   string
	since time.Time
	done  chan struct{} // closed when the rest is set
	value score.Value
	bad   bool
	err   error
}

// trip is a round trip under way.
type trip struct{ since time.Time }

// New checks cfg, and reads what was kept on disk. It starts nothing.
func New(cfg Config, deps Dependencies) (*Lookup, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Store == nil || deps.Codec == nil || deps.Timeout <= 0 {
		return nil, errors.New("lookup: no store, no codec or no time for a round trip")
	}
	l := &Lookup{cfg: cfg, deps: deps, log: deps.Logger, now: deps.Now, cache: newCache(cfg.CacheEntries), asks: map[string]*ask{}, trips: map[*trip]struct{}{}}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.waiting = make(chan struct{}, cfg.MaxLookups)
	l.breaker = breaker{failures: cfg.BreakerFailures, pause: cfg.BreakerPause, now: time.Now}
	l.metrics = newMetrics(deps.Registerer, l)
	if err := l.load(); err != nil {
		return nil, err
	}
	return l, nil
}

// Answer is what is known of entities.
type Answer struct {
	Values  []score.Value // one an entity; the zero value where nothing is known, or nothing is held against it
	Trouble string        // why Values is not whole or of now; ""
	Earlier bool          // what is missing is in Values as it was known earlier
}

// Look says what is known of entities, within a budget. earlier: where it cannot be
// known now, what was known earlier counts.
func (l *Lookup) Look(ctx context.Context, entities []facet.Entity, budget time.Duration, earlier bool) Answer {
	a := Answer{Values: make([]score.Value, len(entities))}
	var missing []miss
	now, feed := time.Now(), l.feed.Load()
	for i, e := range entities {
		key := l.cache.key(e, l.deps.Codec.Key)
		kept, ok := l.cache.get(key)
		if ok && l.fresh(&kept, now, feed) {
			a.Values[i] = l.live(kept.value)
			continue
		}
		missing = append(missing, miss{place: i, key: key, kept: kept, known: ok})
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
	for _, m := range missing {
		switch {
		case m.found:
			a.Values[m.place] = l.live(m.value)
		case earlier && m.known:
			a.Values[m.place] = l.live(m.kept.value)
		default:
			a.Earlier = false
		}
	}
	if a.Earlier {
		l.metrics.earlier.Inc()
	}
	return a
}

// miss is an entity of which nothing fresh is kept.
type miss struct {
	place int // among the entities
	key   string
	kept  entry
	known bool // kept holds something
	ask   *ask

	value score.Value
	found bool
}

// fresh reports whether a decision may go by what is kept.
func (l *Lookup) fresh(e *entry, now time.Time, feed uint64) bool {
	most := l.cfg.MaxStale
	if feed&1 == 0 || e.epoch != feed { // changes may have been missed since
		most = min(most, unfed)
	}
	return !e.at.IsZero() && now.Sub(e.at) < most
}

// live is v, or nothing where it has expired.
func (l *Lookup) live(v score.Value) score.Value {
	if v.Expires <= l.now().UnixMilli() {
		return score.Value{}
	}
	return v
}

// await waits for what is missing. trouble says why some of it was not found.
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
	over := "" // why nothing is waited for any more
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

// answered reports whether the rest of a can be read.
func (a *ask) answered() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// worse is the trouble that says more: that the store did not answer.
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

// want has what is missing asked for, unless that is under way. until is how long it is
// worth waiting: a budget behind the moment from which on any of it was wanted.
func (l *Lookup) want(missing []miss, now time.Time, budget time.Duration) (until time.Time, trouble string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, late := now.Add(budget), l.late(now, budget)
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
		case !admitted && !l.breaker.allow():
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

// dispatch has one more round trip begin, if there may be one. l.mu is held.
func (l *Lookup) dispatch(now time.Time) {
	if len(l.trips) >= mostTrips {
		return
	}
	t := &trip{since: now}
	l.trips[t] = struct{}{}
	l.running.Go(func() { l.travel(t) })
}

// late reports whether the store is known to take longer than a budget: all round trips
// under way do. l.mu is held.
func (l *Lookup) late(now time.Time, budget time.Duration) bool {
	if len(l.trips) < mostTrips {
		return false
	}
	for t := range l.trips {
		if now.Sub(t.since) < budget {
			return false
		}
	}
	return true
}

// travel makes round trips until nothing is wanted.
func (l *Lookup) travel(t *trip) {
	for {
		batch := l.take(t)
		if len(batch) == 0 {
			return
		}
		l.fetch(batch)
	}
}

// take removes what goes with the next round trip from the queue.
func (l *Lookup) take(t *trip) []*ask {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.queue), mostKeys)
	if n == 0 {
		delete(l.trips, t)
		l.queue = nil
		return nil
	}
	batch := l.queue[:n:n]
	l.queue, t.since = l.queue[n:], time.Now()
	return batch
}

// fetch makes one round trip, and gives what it brought to those who want it.
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
		l.breaker.done(succeeded)
	case l.ctx.Err() != nil:
		l.breaker.done(abandoned)
	default:
		l.log.Debug("risk could not be looked up", "error", err)
		l.breaker.done(failed)
	}
	for i, a := range batch {
		if a.err = err; err == nil {
			a.value, a.bad = values[i], bad[i]
			if !a.bad {
				a.value = l.cache.put(a.key, entry{a.value, began, feed}, began)
				l.heard.Add(1)
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && l.breaker.open() == 1 { // nobody is to wait for what would fail, too
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

// call asks the store. A panic in there must not leave everybody waiting.
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

// Ready reports whether the store of scores answers.
func (l *Lookup) Ready(ctx context.Context) error { return l.deps.Store.Ready(ctx) }

// Following reports whether changes are heard.
func (l *Lookup) Following() bool { return l.feed.Load()&1 == 1 }

// Run hears of changes, and keeps what is known on disk, until ctx ends. Then round
// trips that are under way end.
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

// Whole is of [score.Hearer].
func (l *Lookup) Whole() {
	if f := l.feed.Load(); f&1 == 0 {
		l.feed.Store(f + 1)
	}
}

// Broken is of [score.Hearer]: what was read before is not to be believed.
func (l *Lookup) Broken() {
	l.metrics.gaps.Inc()
	l.feed.Store(l.feed.Load()&^1 + 2)
}

// Changed is of [score.Hearer].
func (l *Lookup) Changed(key string, v score.Value) {
	l.cache.put(strings.Clone(key), entry{v, time.Now(), l.feed.Load()}, time.Time{})
	l.heard.Add(1)
	l.metrics.changes.Inc()
}

func cloned(e facet.Entity) facet.Entity {
	return facet.Entity{Kind: e.Kind, Tenant: strings.Clone(e.Tenant), Key: strings.Clone(e.Key)}
}
