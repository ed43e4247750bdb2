package demo

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/geo/geowriter"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/population"
)

// campaignDelay is how long traffic is innocent before the attack begins.
const campaignDelay = 10 * time.Second

// step is how often the generator produces what has happened since.
const step = 50 * time.Millisecond

// runTraffic runs invented people, and an attack on them.
func (d *demo) runTraffic(ctx context.Context) (v Verdict, err error) {
	topics := app.TopicDefaults()
	stream := app.StreamConfig{Name: "weir", Incarnation: 1}
	start := time.Now()
	people := population.New(population.Config{
		Seed: d.opts.Seed, People: d.opts.People, Rate: d.opts.Rate, Start: start.UnixMilli(),
		Run: fmt.Sprintf("demo-%d", start.UnixMilli()),
	})
	if err := d.invent(people); err != nil {
		return v, err
	}
	guarded, err := d.start(ctx, stream, topics)
	if err != nil {
		return v, err
	}
	if err := d.stack.StartGate(); err != nil {
		return v, err
	}
	d.say("weir-gate runs; its log is %s", d.stack.LogFile(d.stack.Gate))
	ask := newAsker("http://" + d.stack.Config.Gate.Listen)
	if err := d.await(guarded, ask); err != nil {
		return v, err
	}
	w := newWatch(d, people, ask)
	defer w.close()
	if err := d.flow(guarded, people, topics.EventPartitions, w); err != nil {
		return v, err
	}
	d.say("traffic has stopped; waiting until the last event is through")
	// The user may have ended the traffic with Ctrl-C, which ended ctx.
	d.unguard()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if err := d.settle(ctx); err != nil {
		return v, err
	}
	w.askAll(ctx)
	w.judgeInnocents(ctx)
	v.Complaints = d.stopped(ctx)
	d.stack.Stop()
	return d.summarise(ctx, v, people, w)
}

// settle waits until what was sent is through, or cannot get there.
func (d *demo) settle(ctx context.Context) error {
	guarded, cancel := d.stack.Guard(ctx)
	defer cancel()
	err := d.stack.Settle(guarded, time.Minute)
	if guarded.Err() != nil {
		return context.Cause(guarded)
	}
	if err != nil {
		return d.stack.Explain(err)
	}
	return nil
}

// invent writes the geographic databases of the invented networks, unless the
// user brought real ones.
func (d *demo) invent(people *population.Population) error {
	if d.opts.Settings.Geo != (geo.Config{}) {
		return nil
	}
	base := d.opts.Data
	if base == "" {
		var err error
		if base, err = os.MkdirTemp("", "weir-demo-geo-"); err != nil {
			return err
		}
		d.temporary = append(d.temporary, base)
	}
	dir := filepath.Join(base, "geo")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("-data: the directory cannot be made: %w; name another one, which this user may write", err)
	}
	var err error
	d.opts.Settings.Geo, err = geowriter.Write(dir, people.Networks())
	return err
}

// await waits until the gate answers.
func (d *demo) await(ctx context.Context, ask *asker) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask.alive(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if why := reason(ctx); why != nil && !errors.Is(why, context.DeadlineExceeded) {
				return why
			}
			return fmt.Errorf("the gate does not answer: %w", err)
		}
	}
}

// flow produces traffic in real time until the time is up or ctx ends.
func (d *demo) flow(ctx context.Context, people *population.Population, partitions int, w *watch) error {
	begin := time.Now()
	people.Launch(population.Campaign{
		Kind: "credential_stuffing", Start: begin.Add(campaignDelay).UnixMilli(), Duration: 20 * time.Minute, Addresses: 8, Rate: 32,
	})
	d.say("%d people use the app; an attack begins in %v\n", d.opts.People, campaignDelay)
	var end <-chan time.Time
	if d.opts.For > 0 {
		t := time.NewTimer(d.opts.For)
		defer t.Stop()
		end = t.C
	}
	tick := time.NewTicker(step)
	defer tick.Stop()
	gateway := newGateway(d, partitions)
	for {
		select {
		case now := <-tick.C:
			people.Until(now.UnixMilli(), gateway.add)
			if err := gateway.flush(context.WithoutCancel(ctx)); err != nil {
				return fmt.Errorf("produce traffic: %w", err)
			}
			w.turn(ctx, now)
		case <-end:
			return nil
		case <-ctx.Done():
			return reason(ctx)
		}
	}
}

// gateway produces events as a gateway does: the partition from a hash of the
// id, the same bytes if it had to send them again.
type gateway struct {
	d     *demo
	parts []kafka.Produce
	sent  int64
}

func newGateway(d *demo, partitions int) *gateway {
	g := &gateway{d: d}
	for p := range partitions {
		g.parts = append(g.parts, kafka.Produce{Partition: int32(p)})
	}
	return g
}

func (g *gateway) add(e *event.Event, _ int) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.Text(event.ID)))
	p := &g.parts[h.Sum32()%uint32(len(g.parts))]
	p.Records = append(p.Records, kafka.Outgoing{Key: []byte(strings.Clone(e.Text(event.ID))), Value: e.AppendJSON(nil)})
}

func (g *gateway) flush(ctx context.Context) error {
	var full []kafka.Produce
	for _, p := range g.parts {
		if len(p.Records) > 0 {
			full = append(full, p)
		}
	}
	if len(full) == 0 {
		return nil
	}
	err := g.d.stack.Kafka.Produce(ctx, g.d.stack.Config.Stream.Topic("events"), full)
	for i := range g.parts {
		g.sent += int64(len(g.parts[i].Records))
		g.parts[i].Records = g.parts[i].Records[:0]
	}
	return err
}
