package middleware

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/gate/client"
)

const (
	maxWaiting = 4096 // outcomes, less than a megabyte
	senders    = 4
	drainTime  = time.Second
)

// reports tells a reporter of outcomes, in the background. No request waits for it.
type reports struct {
	to    Reporter
	log   *slog.Logger
	queue chan client.Outcome

	sent, failed, dropped prometheus.Counter
}

func newReports(to Reporter, log *slog.Logger, f promauto.Factory) *reports {
	results := f.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_middleware_outcomes_total", Help: "Outcomes of requests, by result: sent, failed (the gate did not take it) or dropped (too many wait).",
	}, []string{"result"})
	return &reports{
		to: to, log: log, queue: make(chan client.Outcome, maxWaiting),
		sent: results.WithLabelValues("sent"), failed: results.WithLabelValues("failed"), dropped: results.WithLabelValues("dropped"),
	}
}

// add never waits.
func (r *reports) add(o client.Outcome) {
	if r.to == nil {
		return
	}
	select {
	case r.queue <- o:
	default:
		r.dropped.Inc()
	}
}

func (r *reports) run(ctx context.Context) {
	if r.to == nil {
		<-ctx.Done()
		return
	}
	finish, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		limit, end := context.WithTimeout(finish, drainTime)
		defer end()
		<-limit.Done()
		cancel()
	})
	defer stop()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() { r.send(ctx, finish) })
	}
	wg.Wait()
}

// send sends until ctx ends, and then what waits, until finish ends.
func (r *reports) send(ctx, finish context.Context) {
	for {
		select {
		case o := <-r.queue:
			r.one(finish, o)
			continue
		default:
		}
		select {
		case o := <-r.queue:
			r.one(finish, o)
		case <-ctx.Done():
			if len(r.queue) == 0 {
				return
			}
		}
	}
}

func (r *reports) one(ctx context.Context, o client.Outcome) {
	if ctx.Err() != nil {
		r.dropped.Inc()
		return
	}
	if err := r.to.Outcome(ctx, o); err != nil {
		r.failed.Inc()
		r.log.Debug("the outcome of a request was not taken", "error", err)
		return
	}
	r.sent.Inc()
}
