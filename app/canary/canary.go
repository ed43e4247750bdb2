package canary

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/retry"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/score"
)

// Log is the part of the Kafka client that a canary uses.
type Log interface {
	kafka.Source
	Produce(ctx context.Context, topic string, ps []kafka.Produce) error
	Partitions(ctx context.Context, topic string) (int, error)
}

// Outcome is the end of an attack.
type Outcome struct {
	Attack *Attack
	Tenant string
	Caught bool
	After  time.Duration // from the time of the event that made the last rule fire, to its signal
	Err    error         // why it could not be played; Caught is false
}

// Config configures a canary. All but Told is required.
type Config struct {
	Events, Signals string // topics
	Every           time.Duration
	Within          time.Duration // after the last event, in which an attack must be found
	Log             Log
	Logger          *slog.Logger
	Name            func() string // names a run: lower-case letters and digits, each time others
	Told            func(Outcome) // is called with the end of each attack; it may be called from several goroutines
}

// Canary plays attacks.
type Canary struct {
	Config
	metrics *metrics
	mu      sync.Mutex
	plays   map[string]*running // by tenant
}

// running is a play that is watched.
type running struct {
	*play
	caught chan time.Duration // has room for one
}

// New registers the metrics of attacks, and starts nothing.
func New(c Config, attacks []Attack, r prometheus.Registerer) *Canary {
	return &Canary{Config: c, metrics: newMetrics(r, attacks), plays: map[string]*running{}}
}

// mostPlays is how many attacks on one detector may be under way: long ones begin less
// often.
const mostPlays = 20

// Run plays each attack that can be played, time and again, until ctx ends or the
// log cannot be read.
func (c *Canary) Run(ctx context.Context, attacks []Attack) error {
	return c.with(ctx, func(ctx context.Context) {
		var all sync.WaitGroup
		for i := range attacks {
			if attacks[i].Why != "" {
				continue
			}
			all.Go(func() {
				var plays sync.WaitGroup
				defer plays.Wait()
				every := max(c.Every, attacks[i].Span/mostPlays)
				for ctx.Err() == nil {
					plays.Go(func() { c.attack(ctx, &attacks[i]) })
					retry.Sleep(ctx, every)
				}
			})
		}
		all.Wait()
	})
}

// Serve is Run beside an admin listener, until ctx ends or one of them fails.
func (c *Canary) Serve(ctx context.Context, admin *telemetry.Admin, attacks []Attack) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return admin.Run(ctx) })
	g.Go(func() error { return c.Run(ctx, attacks) })
	return g.Wait()
}

// Once plays each attack that can be played, at the same time, and returns how each
// ended, in their order.
func (c *Canary) Once(ctx context.Context, attacks []Attack) (all []Outcome, err error) {
	all = make([]Outcome, len(attacks))
	err = c.with(ctx, func(ctx context.Context) {
		var plays sync.WaitGroup
		for i := range attacks {
			all[i] = Outcome{Attack: &attacks[i], Err: errors.New(attacks[i].Why)}
			if attacks[i].Why == "" {
				plays.Go(func() { all[i] = c.attack(ctx, &attacks[i]) })
			}
		}
		plays.Wait()
	})
	return all, err
}

// with watches the log of signals while do runs.
func (c *Canary) with(ctx context.Context, do func(ctx context.Context)) error {
	ranges, err := c.Log.Offsets(ctx, c.Signals)
	if err != nil {
		return fmt.Errorf("topic %s: %w", c.Signals, err)
	}
	running, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	watching, stop := context.WithCancel(running)
	var watchers sync.WaitGroup
	for p, r := range ranges {
		watchers.Go(func() {
			if err := c.watch(watching, int32(p), r.End); err != nil {
				fail(err)
			}
		})
	}
	do(running)
	stop()
	watchers.Wait()
	if ctx.Err() != nil { // it was told to end
		return nil
	}
	return context.Cause(running)
}

// watch reads the signals of a partition.
func (c *Canary) watch(ctx context.Context, partition int32, next int64) error {
	in := kafka.Follower{Log: c.Log, Topic: c.Signals, Partition: partition, Next: next, Logger: c.Logger.With("topic", c.Signals, "partition", partition)}
	for ctx.Err() == nil {
		read, err := in.Fetch(ctx, ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if !read {
			continue
		}
		for i := range in.Batch.Records {
			var s score.Signal
			if json.Unmarshal(in.Batch.Records[i].Value, &s) == nil {
				c.see(&s)
			}
		}
		in.Next = max(in.Next, in.Batch.Next)
	}
	return nil
}

func (c *Canary) see(s *score.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.plays[s.Entity.Tenant]; p != nil && p.see(s) {
		p.caught <- max(time.Since(time.UnixMilli(s.Time)), 0)
	}
}

// attack plays one attack, and waits until it is found, or its time is over.
func (c *Canary) attack(ctx context.Context, a *Attack) Outcome {
	p := &running{play: a.play(c.Name(), time.Now()), caught: make(chan time.Duration, 1)}
	c.mu.Lock()
	c.plays[p.tenant] = p
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.plays, p.tenant)
		c.mu.Unlock()
	}()
	o := Outcome{Attack: a, Tenant: p.tenant}
	o.After, o.Caught, o.Err = c.wait(ctx, p)
	if ctx.Err() != nil {
		o.Err = context.Cause(ctx)
		return o
	}
	c.tell(o)
	return o
}

func (c *Canary) wait(ctx context.Context, p *running) (after time.Duration, caught bool, err error) {
	if err := c.send(ctx, p.play); err != nil {
		return 0, false, err
	}
	late := time.NewTimer(c.Within)
	defer late.Stop()
	select {
	case after = <-p.caught:
		return after, true, nil
	case <-late.C:
		return 0, false, nil
	case <-ctx.Done():
		return 0, false, context.Cause(ctx)
	}
}

// sendTime limits writing a record to Kafka.
const sendTime = 30 * time.Second

// send writes the records when their time has come, all to one partition, so that
// their order stays.
func (c *Canary) send(ctx context.Context, p *play) error {
	n, err := c.Log.Partitions(ctx, c.Events)
	if err != nil {
		return fmt.Errorf("topic %s: %w", c.Events, err)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.tenant)) // never fails
	to := int32(h.Sum32() % uint32(n))
	for i := 0; i < len(p.records); {
		if !retry.Sleep(ctx, max(time.Until(p.records[i].at), 0)) {
			return context.Cause(ctx)
		}
		var batch []kafka.Outgoing
		for now := time.Now(); i < len(p.records) && !p.records[i].at.After(now); i++ {
			batch = append(batch, kafka.Outgoing{Key: p.records[i].key, Value: p.records[i].value})
		}
		if err := c.produce(ctx, to, batch); err != nil {
			return fmt.Errorf("write to %s: %w", c.Events, err)
		}
	}
	return nil
}

func (c *Canary) produce(ctx context.Context, to int32, batch []kafka.Outgoing) error {
	if len(batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	return c.Log.Produce(ctx, c.Events, []kafka.Produce{{Partition: to, Records: batch}})
}

// tell counts the end of an attack.
func (c *Canary) tell(o Outcome) {
	d := o.Attack.Detector
	log := c.Logger.With("detector", d, "rule", o.Attack.Rule, "tenant", o.Tenant)
	switch {
	case o.Err != nil:
		c.metrics.attacks.WithLabelValues(d, "failed").Inc()
		log.Error("an attack could not be played", "error", o.Err)
	case !o.Caught:
		c.metrics.attacks.WithLabelValues(d, "missed").Inc()
		log.Error("an attack was not found in its time", "within", c.Within)
	default:
		c.metrics.attacks.WithLabelValues(d, "caught").Inc()
		c.metrics.seconds.WithLabelValues(d).Observe(o.After.Seconds())
		c.metrics.last.WithLabelValues(d).SetToCurrentTime()
		log.Debug("an attack was found", "after", o.After)
	}
	if c.Told != nil {
		c.Told(o)
	}
}

type metrics struct {
	attacks *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	last    *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer, attacks []Attack) *metrics {
	f := promauto.With(r)
	m := &metrics{
		attacks: f.NewCounterVec(prometheus.CounterOpts{Name: "weir_canary_attacks_total", Help: "Attacks that have ended, by detector and outcome: caught; missed, because their time was over; failed, because they could not be played."}, []string{"detector", "outcome"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{Name: "weir_canary_catch_seconds", Help: "Time from an event of an attack to the signal that it causes, by detector.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}, []string{"detector"}),
		last: f.NewGaugeVec(prometheus.GaugeOpts{Name: "weir_canary_last_caught_timestamp_seconds", Help: "When an attack was caught last, Unix seconds, by detector; 0 if none was."}, []string{"detector"}),
	}
	for _, a := range attacks {
		if a.Why == "" {
			m.last.WithLabelValues(a.Detector)
			for _, outcome := range []string{"caught", "missed", "failed"} {
				m.attacks.WithLabelValues(a.Detector, outcome)
			}
		}
	}
	return m
}
