// Package chaos proves Weir's promise on real processes. It sends a load that is a
// function of a seed, meanwhile kills and stops the processes that do the work, and
// then compares the contents of the stores with the expectation from the seed.
//
//	load ─▶ Kafka ─▶ weir-worker ×n ─┬─▶ proxy ─▶ ClickHouse
//	          ▲           ▲          └─▶ proxy ─▶ Redis ◀── weir-gate
//	          └── faults ─┴── faults ─────┴── faults
//
// Processes are killed, not the machine. Pages held by the kernel survive, so this
// proves nothing about a loss of power.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/weirdev/weir/app"
)

// Options holds the user's settings.
type Options struct {
	For     time.Duration // how long load and faults last
	Seed    uint64
	Kafka   string // embedded or apache
	Workers int
	Rate    float64 // records per second
	Data    string  // directory for all data; empty: a temporary one
	JSON    bool    // end with one JSON object
}

// Defaults suits two cores: more than a million events and forty kills, in about
// five minutes.
func Defaults() Options {
	return Options{For: 4 * time.Minute, Seed: 1, Kafka: "embedded", Workers: 3, Rate: 4400}
}

// Validate reports errors in o.
func (o Options) Validate() error {
	switch {
	case o.For < time.Second || o.For > 24*time.Hour:
		return fmt.Errorf("-for %v: 1s to 24h are possible", o.For)
	case o.Kafka != "embedded" && o.Kafka != "apache":
		return fmt.Errorf("-kafka %q: embedded or apache", o.Kafka)
	case o.Workers < 1 || o.Workers > mostWorkers:
		return fmt.Errorf("-workers %d: 1 to %d are possible", o.Workers, mostWorkers)
	case o.Rate < 10 || o.Rate > 100_000:
		return fmt.Errorf("-rate %v: 10 to 100000 records a second are possible", o.Rate)
	}
	return nil
}

// run is one run.
type run struct {
	opts     Options
	log      *slog.Logger
	plan     plan
	cluster  *cluster
	sender   *sender
	track    *tracker
	faults   *faults
	rulesets *rulesets
	began    time.Time
	started  time.Time // start of the load
	last     []int     // ids of the worker processes that stopped at the end

	facetPartitions int

	mu  sync.Mutex // guards out
	out io.Writer
}

func (r *run) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, format+"\n", args...)
}

// event prints something that happens to the system, with the time.
func (r *run) event(format string, args ...any) {
	r.say("%7.1f s  "+format, append([]any{time.Since(r.started).Seconds()}, args...)...)
}

// Run runs chaos and writes its observations to out. If ctx ends, the faults end
// early, and the verdict covers the part that ran.
func Run(ctx context.Context, opts Options, out io.Writer, log *slog.Logger) (report Report, err error) {
	r := &run{opts: opts, out: out, log: log, began: time.Now(), started: time.Now(), facetPartitions: app.TopicDefaults().FacetPartitions}
	if err := r.open(ctx); err != nil {
		return report, errors.Join(err, r.close())
	}
	defer func() { err = errors.Join(err, r.close()) }()
	r.disturb(ctx)
	ctx = context.WithoutCancel(ctx)
	if err := r.settle(ctx); err != nil {
		r.cluster.temporary = false // it is needed to find the cause
		return report, err
	}
	verdict, err := r.verify(ctx)
	if err != nil {
		return report, err
	}
	report = r.report(verdict)
	return report, report.write(out, opts.JSON)
}

// open starts everything.
func (r *run) open(ctx context.Context) (err error) {
	topics := app.TopicDefaults()
	r.say("seed %d: starting Kafka (%s), Redis, ClickHouse, %d workers and a gate, each a process of its own", r.opts.Seed, r.opts.Kafka, r.opts.Workers)
	if r.cluster, err = startCluster(ctx, r.opts, topics, r.log); err != nil {
		return err
	}
	r.say("everything is in %s; %s", r.cluster.stack.Dir, r.cluster)
	r.plan = plan{Seed: r.opts.Seed, Start: time.Now().UnixMilli(), Rate: r.opts.Rate, Partitions: topics.EventPartitions, For: r.opts.For}
	r.sender = newSender(r.plan, r.cluster.stack)
	r.track = &tracker{stack: r.cluster.stack}
	set, err := app.LoadRules(r.cluster.stack.Config.Rules)
	if err != nil {
		return err
	}
	if r.rulesets, err = newRulesets(set); err != nil {
		return err
	}
	r.faults = newFaults(r)
	return nil
}

// disturb sends the load and injects faults, for the configured time or until ctx
// ends, and then repairs everything.
func (r *run) disturb(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.For)
	defer cancel()
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	var wg, watch sync.WaitGroup
	r.started = time.Now()
	wg.Go(func() {
		if err := r.sender.run(ctx); err != nil {
			r.event("the load ends early: %v", err)
			cancel()
		}
	})
	watch.Go(func() { r.track.run(watching) })
	watch.Go(func() { r.watch(watching) })
	r.faults.run(ctx)
	wg.Wait()
	r.event("%d records are sent; everything runs again, and what is left is worked off", r.sender.acknowledged())
	r.track.begin(settled)
	r.track.awaitAll(watching, stuckTime)
	stopWatching()
	watch.Wait()
}

const (
	settled    = "settled" // named like a fault: recovered when everything sent is through
	stuckTime  = 45 * time.Second
	settleTime = time.Minute
	showEvery  = 5 * time.Second
)

// watch prints the progress of all stages.
func (r *run) watch(ctx context.Context) {
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		raw, facets := r.track.left()
		r.event("sent %d   waiting: %d records, %d frames   workers %d   kills %d, stops %d, outages %d",
			r.sender.acknowledged(), raw, facets, r.cluster.running(), r.faults.count("kill"), r.faults.count("stop"), r.faults.outages())
	}
}

// settle waits until everything has passed both stages, and stops workers and gate
// in order.
func (r *run) settle(ctx context.Context) error {
	if err := r.cluster.stack.Settle(ctx, settleTime); err != nil {
		return fmt.Errorf("not everything comes through: %w; see the workers' logs in %s", err, r.cluster.stack.Dir)
	}
	ready, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var err error
	if r.last, err = r.cluster.ready(ready); err != nil {
		return err
	}
	r.event("everything is through; workers stop, and the verifier reads")
	r.cluster.stopWorkers()
	return nil
}

func (r *run) close() error {
	if r.cluster == nil {
		return nil
	}
	return r.cluster.close()
}
