package demo

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/geo/geowriter"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/population"
	"github.com/weirdev/weir/rules"
)

// step is the interval at which the generator produces events.
const step = 50 * time.Millisecond

// The history is written before the worker starts, so that rules can learn what is
// usual. It is longer than a pane of the signature rule's window, 18 minutes, and shorter
// than historyLate, which replaces the default of ingest.max_late.
const (
	historyLength = 20 * time.Minute
	historyLate   = 30 * time.Minute
	historyRate   = 30 // events a second
)

// lateness replaces the default of detect.lateness. On one machine events are not late,
// and detectors that put events in order decide sooner.
const lateness = 5 * time.Second

// runTraffic runs invented people, and attacks on them.
func (d *demo) runTraffic(ctx context.Context) (v Verdict, err error) {
	topics := app.TopicDefaults()
	if s := &d.opts.Settings.Detect; s.Lateness == engine.Defaults().Lateness {
		s.Lateness = lateness
	}
	if s := &d.opts.Settings.Ingest; s.MaxLate == ingest.Defaults().MaxLate {
		s.MaxLate = historyLate
	}
	set, err := app.LoadRules(d.opts.Settings.Rules)
	if err != nil {
		return v, &app.Misconfigured{Err: err}
	}
	stream := app.StreamConfig{Name: "weir", Incarnation: 1}
	start := time.Now()
	places, err := d.findPlaces(set)
	if err != nil {
		return v, err
	}
	people := population.New(population.Config{
		Seed: d.opts.Seed, People: d.opts.People, Rate: historyRate, Start: start.Add(-historyLength).UnixMilli(),
		Run: fmt.Sprintf("demo-%d", start.UnixMilli()), Mark: strconv.FormatInt(start.Unix()%(36*36*36*36), 36), Places: places,
	})
	if err := d.invent(people); err != nil {
		return v, err
	}
	g := newGateway(d, topics.EventPartitions)
	w := &watch{d: d, people: people, rules: set}
	guarded, err := d.start(ctx, stream, topics, func(ctx context.Context) error {
		return d.writeHistory(ctx, people, g, w)
	})
	if err != nil {
		return v, err
	}
	if err := d.stack.StartGate(); err != nil {
		return v, err
	}
	d.say("weir-gate runs; its log is %s", d.stack.LogFile(d.stack.Gate))
	if err := d.look(map[string]string{"weir-worker": d.stack.Config.Admin.Listen, "weir-gate": d.stack.GateAdmin}); err != nil {
		return v, err
	}
	ask := newAsker("http://" + d.stack.Config.Gate.Listen)
	if err := d.await(guarded, ask); err != nil {
		return v, err
	}
	if w.front, err = startFront(guarded, d.stack.Config.Gate.Listen, d.log); err != nil {
		d.say("nginx is here, but cannot stand in front: %v", err)
	} else if w.front != nil {
		d.say("nginx stands in front of a small API, and asks the gate")
	}
	d.say("look at it while it runs: weir console -config %s", filepath.Join(d.stack.Dir, "weir.yaml"))
	w.open(ask)
	defer w.close()
	if err := d.flow(guarded, people, g, w); err != nil {
		return v, err
	}
	w.stopped = time.Now()
	d.say("traffic has stopped; waiting until the last event is through")
	// The user may have ended the traffic with Ctrl-C, which ended ctx.
	d.unguard()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if err := d.settle(ctx); err != nil {
		return v, err
	}
	w.last(ctx)
	v.Complaints = append(d.stopped(ctx), missed(w.campaigns, w.stopped)...)
	d.stack.Stop()
	if err := d.explain(ctx, w, g.kept); err != nil {
		return v, fmt.Errorf("explain what was caught: %w", err)
	}
	d.printCauses(w.campaigns)
	return d.summarise(ctx, v, people, w)
}

// writeHistory writes the traffic before the demonstration, and launches the campaigns
// that begin in it. If there is data of an earlier run, that is the history.
func (d *demo) writeHistory(ctx context.Context, people *population.Population, g *gateway, w *watch) error {
	now := time.Now()
	ends, err := d.stack.Kafka.Offsets(ctx, d.stack.Config.Stream.Topic("events"))
	if err != nil {
		return err
	}
	again := slices.ContainsFunc(ends, func(e kafka.OffsetRange) bool { return e.End > 0 })
	w.launchEarlier(now, again)
	if again {
		people.Skip(now.UnixMilli())
		return nil
	}
	d.say("writing a history of %v, from which rules learn what is usual", historyLength)
	const chunk = 10_000 // ms
	for t := now.Add(-historyLength).UnixMilli() + chunk; ; t += chunk {
		people.Until(min(t, now.UnixMilli()), g.add)
		if err := g.flush(ctx); err != nil {
			return fmt.Errorf("produce the history: %w", err)
		}
		if t >= now.UnixMilli() {
			d.earlier = g.sent
			return nil
		}
	}
}

// settle waits until everything that was sent is through, or can no longer get
// there.
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

// findPlaces chooses where people live in the configured databases. It returns nil if
// there are none, or if they do not suffice; then the map is invented, too.
func (d *demo) findPlaces(set *rules.Set) (*population.Places, error) {
	if d.opts.Settings.Geo == (geo.Config{}) {
		return nil, nil
	}
	db, err := geo.Open(d.opts.Settings.Geo, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, nil // the check of the configuration reports the error
	}
	places, around, err := drawPlaces(db.Current(), set, d.opts.Seed)
	if errors.Is(err, errAtlas) {
		d.say("%v; the demonstration uses its own map", err)
		d.opts.Settings.Geo = geo.Config{}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d.say("people live around %s; addresses are chosen at random and stand for no real user", around)
	return places, nil
}

// invent writes the geographic databases of the invented networks, unless people live
// in real ones.
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

// flow produces traffic in real time until the time is over or ctx ends.
func (d *demo) flow(ctx context.Context, people *population.Population, g *gateway, w *watch) error {
	people.SetRate(d.opts.Rate)
	w.begin = time.Now()
	w.launch(w.begin, func(a attack) bool { return a.starts >= 0 })
	d.say("%d people use the app; %d attacks are launched, the last in %v\n", d.opts.People, len(w.campaigns), attacks()[len(attacks())-1].starts)
	var end <-chan time.Time
	if d.opts.For > 0 {
		t := time.NewTimer(d.opts.For)
		defer t.Stop()
		end = t.C
	}
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			people.Until(now.UnixMilli(), g.add)
			if err := g.flush(context.WithoutCancel(ctx)); err != nil {
				return fmt.Errorf("produce traffic: %w", err)
			}
			w.turn(ctx, now)
			g.keeps = g.keeps && !w.settled(now)
		case <-end:
			return nil
		case <-ctx.Done():
			return reason(ctx)
		}
	}
}

// gateway produces events as a gateway does: it chooses the partition by a hash of
// the id, and repeats the same bytes if it has to send an event again.
type gateway struct {
	d     *demo
	parts []kafka.Produce
	sent  int64
	keeps bool     // still keeping records for explanations
	kept  [][]byte // in order of sending
	size  int      // bytes of kept
}

func newGateway(d *demo, partitions int) *gateway {
	g := &gateway{d: d, keeps: true}
	for p := range partitions {
		g.parts = append(g.parts, kafka.Produce{Partition: int32(p)})
	}
	return g
}

func (g *gateway) add(e *event.Event, _ int) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.Text(event.ID)))
	p := &g.parts[h.Sum32()%uint32(len(g.parts))]
	record := e.AppendJSON(nil)
	p.Records = append(p.Records, kafka.Outgoing{Key: []byte(strings.Clone(e.Text(event.ID))), Value: record})
	if g.keeps = g.keeps && g.size+len(record) <= mostKept; g.keeps {
		g.kept, g.size = append(g.kept, record), g.size+len(record)
	}
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
