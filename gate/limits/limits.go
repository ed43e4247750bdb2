// Package limits counts requests against limits within a time limit, whatever the
// state of Redis. Round trips are independent of requests, and carry several of them.
// Without an answer, a gate counts by itself, in memory. It makes no decisions.
package limits

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/internal/breaker"
	"github.com/weirdev/weir/internal/quota"
	"github.com/weirdev/weir/internal/trips"
)

const (
	// mostTrips is the maximum number of concurrent round trips.
	mostTrips = 4
	// mostRequests is the maximum number of requests in a round trip.
	mostRequests = 64
	// mostWaste bounds the queue, in multiples of the requests that may wait: it also
	// holds requests that have left.
	mostWaste = 4
	// localTimes is the number of times that are kept in memory for when the store
	// is away: some 32 MB.
	localTimes = 1 << 20
)

// Store counts requests. Calls may overlap.
type Store interface {
	// Take counts requests, given by their counters, in one round trip, and returns
	// soon after ctx ends. It returns one answer per request, in order.
	Take(ctx context.Context, batch [][]quota.Counter) []quota.Answer
}

// Dependencies are the parts that Limits uses, and its bounds.
type Dependencies struct {
	Store      Store
	Bounds     lookup.Config         // requests that wait, and the breaker
	Timeout    time.Duration         // of a round trip
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
}

// Limits counts requests. It is safe for concurrent use.
type Limits struct {
	deps    Dependencies
	log     *slog.Logger
	metrics *metrics
	breaker *breaker.Breaker
	local   *quota.Local

	mu      sync.Mutex
	ended   bool
	waiting int        // requests between Start and the end of Wait
	queue   []*Request // not sent yet
	trips   *trips.Trips

	running sync.WaitGroup
	ctx     context.Context // of all round trips
	cancel  context.CancelFunc
}

// New creates Limits.
func New(deps Dependencies) (*Limits, error) {
	if err := deps.Bounds.Validate(); err != nil {
		return nil, err
	}
	if deps.Store == nil || deps.Timeout <= 0 {
		return nil, errors.New("limits: no store, or no time for a round trip")
	}
	l := &Limits{
		deps: deps, log: deps.Logger, breaker: breaker.New(deps.Bounds.BreakerFailures, deps.Bounds.BreakerPause, time.Now), local: quota.NewLocal(localTimes),
		trips: trips.New(mostTrips),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.metrics = newMetrics(deps.Registerer, l)
	return l, nil
}

// Request is a request that is being counted.
type Request struct {
	limits   *Limits
	counters []quota.Counter
	until    time.Time
	trouble  string // why it is not sent
	left     bool   // nobody waits for it any more

	done   chan struct{} // closed when answer is set
	answer quota.Answer
}

// Start begins to count a request, and does not wait. The caller must call Wait.
func (l *Limits) Start(counters []quota.Counter, budget time.Duration) *Request {
	now := time.Now()
	r := &Request{limits: l, counters: counters, until: now.Add(budget), done: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting++
	switch {
	case l.ended:
		r.trouble = lookup.Failed
	case l.waiting > l.deps.Bounds.MaxLookups, len(l.queue) >= mostWaste*l.deps.Bounds.MaxLookups:
		r.trouble = lookup.Busy
	case l.trips.Late(now, budget):
		r.trouble = lookup.Timeout
	case !l.breaker.Allow():
		r.trouble = lookup.Breaker
	default:
		l.queue = append(l.queue, r)
		l.dispatch(now)
	}
	return r
}

// dispatch starts another round trip if the limit allows it. The caller holds l.mu.
func (l *Limits) dispatch(now time.Time) {
	if place, ok := l.trips.Begin(now); ok {
		l.running.Go(func() { l.travel(place) })
	}
}

// travel makes round trips until the queue is empty.
func (l *Limits) travel(place int) {
	for {
		batch := l.take(place)
		if len(batch) == 0 {
			return
		}
		l.send(batch)
	}
}

// take removes the requests of the next round trip from the queue.
func (l *Limits) take(place int) (batch []*Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for ; n < len(l.queue) && len(batch) < mostRequests; n++ {
		if !l.queue[n].left {
			batch = append(batch, l.queue[n])
		}
	}
	l.queue = l.queue[n:]
	if len(batch) == 0 {
		l.queue = nil
		l.trips.End(place)
		l.breaker.Done(breaker.Abandoned) // its only requests may have left
		return nil
	}
	l.trips.Again(place, time.Now())
	return batch
}

// send makes one round trip, and passes the answers to the waiting requests.
func (l *Limits) send(batch []*Request) {
	ctx, cancel := context.WithTimeout(l.ctx, l.deps.Timeout)
	defer cancel()
	counters := make([][]quota.Counter, len(batch))
	for i, r := range batch {
		counters[i] = r.counters
	}
	answers, err := l.call(ctx, counters)
	switch {
	case err == nil:
		l.breaker.Done(breaker.Succeeded)
	case l.ctx.Err() != nil:
		l.breaker.Done(breaker.Abandoned)
	default:
		l.log.Debug("limits could not be checked", "error", err)
		l.breaker.Done(breaker.Failed)
	}
	for i, r := range batch {
		r.answer = answers[i]
		close(r.done)
	}
	if err != nil && l.breaker.Open() == 1 {
		l.giveUp(err)
	}
}

// call asks the store. err is the first error if no request has an answer. A panic
// there must not leave requests waiting.
func (l *Limits) call(ctx context.Context, counters [][]quota.Counter) (answers []quota.Answer, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("limits: the store panics: %v", r)
			l.log.Error("the store of limits panics", "error", err)
			answers = failed(len(counters), err)
		}
	}()
	answers = l.deps.Store.Take(ctx, counters)
	if len(answers) != len(counters) {
		err = fmt.Errorf("limits: %d answers to %d requests", len(answers), len(counters))
		return failed(len(counters), err), err
	}
	for _, a := range answers {
		if a.Err == nil {
			return answers, nil
		}
	}
	return answers, answers[0].Err
}

func failed(n int, err error) []quota.Answer {
	answers := make([]quota.Answer, n)
	for i := range answers {
		answers[i].Err = err
	}
	return answers
}

// giveUp answers the queue with an error: nobody should wait for a round trip that
// would fail, too.
func (l *Limits) giveUp(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.queue {
		r.answer.Err = err
		close(r.done)
	}
	l.queue = nil
}

// Answer holds the counts of a request's counters.
type Answer struct {
	Counts  []quota.Count // one per counter, in order
	Trouble string        // why they are those of this gate alone; "" if they are not
}

// Wait waits until the request is counted, or its budget is over. Without an answer
// by then, it is counted in memory. It may then be counted in the store, too.
func (r *Request) Wait(ctx context.Context) Answer {
	l := r.limits
	trouble := r.wait(ctx)
	l.mu.Lock()
	r.left = true
	l.waiting--
	l.mu.Unlock()
	if trouble == "" {
		l.metrics.checked.Inc()
		return Answer{Counts: r.answer.Counts}
	}
	l.metrics.troubles[trouble].Inc()
	return Answer{Counts: l.local.Take(r.counters, time.Now()).Counts, Trouble: trouble}
}

func (r *Request) wait(ctx context.Context) (trouble string) {
	if r.trouble != "" {
		return r.trouble
	}
	select {
	case <-r.done:
		return troubleOf(r.answer.Err)
	default:
	}
	timer := time.NewTimer(time.Until(r.until))
	defer timer.Stop()
	select {
	case <-r.done:
		return troubleOf(r.answer.Err)
	case <-timer.C:
		return lookup.Timeout
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return lookup.Timeout
		}
		return lookup.Canceled
	}
}

func troubleOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.DeadlineExceeded):
		return lookup.Timeout
	}
	return lookup.Failed
}

// Run waits until ctx ends, and then for the round trips in progress.
func (l *Limits) Run(ctx context.Context) error {
	<-ctx.Done()
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.cancel()
	l.running.Wait()
	return nil
}
