package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// contest is a stream in which several people push at once, and workers follow as they
// like, die and come back. A seed decides the order of everything.
type contest struct {
	t    *testing.T
	rand *rand.Rand

	rules   [][]byte
	facets  [3][]placed
	ingest  [2]owned  // by raw partition
	detect  [3]commit // by facet partition
	workers [2]*Follower
	own     *rules.Set
	fields  [2]promise // of the workers' present epochs

	turns   chan chan bool // of pushers that wait for their turn; false: it dies
	pushers atomic.Int32   // that are not through
	safe    bool           // nobody dies any more
	deaths  int
}

// placed is a record of a facet partition: a switch record, or what a facet holds.
type placed struct {
	frame  []byte // nil: a facet
	fields facet.Projection
}

// owned is a raw partition: its owner, the fields of its facets, and its commit.
type owned struct {
	worker    int
	fields    facet.Projection
	committed int64
}

type promise struct {
	fields facet.Projection
	pushed int64
}

type commit struct {
	offset int
	live   uint64
	shadow uint64
}

// view is the stream as one pusher or worker sees it.
type view struct {
	*contest
	gated bool // a pusher, which waits for its turn before each request
	dead  bool
	until int // records of the topic of rules that it sees; -1: all
}

// turn waits until it is this pusher's turn, which may never come.
func (v *view) turn() error {
	if !v.gated {
		return nil
	}
	if v.dead {
		return errDied
	}
	mine := make(chan bool)
	v.turns <- mine
	if !<-mine {
		v.dead = true
		return errDied
	}
	return nil
}

func (v *view) seen() int {
	if v.until < 0 {
		return len(v.rules)
	}
	return min(v.until, len(v.rules))
}

func (v *view) Fetch(_ context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	if err := v.turn(); err != nil {
		return err
	}
	serve(b, v.rules[:v.seen()], offset)
	return nil
}

// Produce writes one record a turn, and now and then one of them twice.
func (v *view) Produce(_ context.Context, topic string, ps []kafka.Produce) error {
	for _, p := range ps {
		for _, r := range p.Records {
			if err := v.turn(); err != nil {
				return err
			}
			for range 1 + v.rand.IntN(5)/4 {
				if topic == "rules" {
					v.rules = append(v.rules, r.Value)
				} else {
					v.facets[p.Partition] = append(v.facets[p.Partition], placed{frame: r.Value})
				}
			}
		}
	}
	return nil
}

func (v *view) Offsets(_ context.Context, topic string) (all []kafka.OffsetRange, err error) {
	if err := v.turn(); err != nil {
		return nil, err
	}
	if topic == "rules" {
		return []kafka.OffsetRange{{End: int64(v.seen())}}, nil
	}
	for _, log := range v.facets {
		all = append(all, kafka.OffsetRange{End: int64(len(log))})
	}
	return all, nil
}

func (v *view) Committed(_ context.Context, group, _ string) (all []kafka.Commit, err error) {
	if err := v.turn(); err != nil {
		return nil, err
	}
	if group == "ingest" {
		for i, o := range v.ingest {
			all = append(all, kafka.Commit{Partition: int32(i), Metadata: ingest.Progress{Version: 1, Pushed: o.committed}.String()})
		}
		return all, nil
	}
	for i, c := range v.detect {
		all = append(all, kafka.Commit{Partition: int32(i), Offset: int64(c.offset), Metadata: engine.Progress{Version: 1, Rules: c.live, Shadow: c.shadow}.String()})
	}
	return all, nil
}

// start starts a worker, or starts it again.
func (c *contest) start(worker int) {
	f := NewFollower(&view{contest: c, until: -1}, "rules", 1, c.own, slog.New(slog.DiscardHandler))
	f.Use = func(_ context.Context, p facet.Projection, pushed int64) error {
		c.fields[worker] = promise{p, pushed}
		return nil
	}
	if err := f.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	p, pushed, err := f.Fields(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.workers[worker], c.fields[worker] = f, promise{p, pushed}
}

// read has a worker read some of what it has not.
func (c *contest) read(worker int) {
	f := c.workers[worker]
	f.Log = &view{contest: c, until: int(f.history.Next) + c.rand.IntN(3)}
	if err := f.Catch(c.t.Context(), f.used+1); err != nil && f.history.Next > f.used {
		c.t.Fatal(err)
	}
}

// take lets a worker take a raw partition over: it reads as far as the commit promises.
func (c *contest) take(partition, worker int) {
	o, f := &c.ingest[partition], c.workers[worker]
	if c.fields[worker].pushed < o.committed {
		f.Log = &view{contest: c, until: int(o.committed)}
		if err := f.Catch(c.t.Context(), o.committed); err != nil {
			c.t.Fatal(err)
		}
	}
	o.worker = worker
	c.follow(partition)
}

// follow commits the epoch of the owner, and uses it.
func (c *contest) follow(partition int) {
	o := &c.ingest[partition]
	p := c.fields[o.worker]
	o.committed, o.fields = max(o.committed, p.pushed), p.fields
}

// step lets something happen that no pusher does.
func (c *contest) step() {
	worker, raw, to := c.rand.IntN(len(c.workers)), c.rand.IntN(len(c.ingest)), c.rand.IntN(len(c.facets))
	switch c.rand.IntN(8) {
	case 0:
		if c.rand.IntN(4) == 0 { // it dies, and another may take its partitions before it is back
			c.start(worker)
		}
	case 1:
		c.take(raw, worker)
	case 2, 3:
		c.read(worker)
	case 4:
		c.follow(raw)
	case 5, 6:
		c.facets[to] = append(c.facets[to], placed{fields: c.ingest[raw].fields})
	case 7:
		d := &c.detect[to]
		d.offset += c.rand.IntN(len(c.facets[to]) - d.offset + 1)
		d.live, d.shadow = c.switched(to, d.offset)
	}
}

// switched returns the numbers in force before an offset of a facet partition.
func (c *contest) switched(partition, offset int) (live, shadow uint64) {
	var frames [][]byte
	for _, r := range c.facets[partition][:offset] {
		if r.frame != nil {
			frames = append(frames, r.frame)
		}
	}
	l, s := effective(frames)
	return l.Number, s.Number
}

// push pushes some things, one after the other, until it dies.
func (c *contest) push(all []*rules.Set, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	p := c.pusher()
	for range 2 {
		q := Request{Lane: facet.Lane(r.IntN(2)), Rules: all[r.IntN(len(all))], Who: fmt.Sprint(seed)}
		if q.Lane == facet.Shadow && r.IntN(4) == 0 {
			q.Rules = nil
		}
		h, err := p.History(c.t.Context())
		if err != nil {
			return
		}
		if back, err := h.Back(q.Lane); err == nil && back.Version != "" && r.IntN(3) == 0 {
			if q.Rules, err = c.own.Open(back.Bundle); err != nil {
				c.t.Error(err)
			}
		}
		switch _, err := p.Push(c.t.Context(), q); {
		case errors.Is(err, errDied):
			return
		case err != nil && !errors.Is(err, ErrNothing) && !strings.Contains(err.Error(), "meanwhile (push "):
			c.t.Error(err)
		}
	}
}

func (c *contest) pusher() *Pusher {
	return &Pusher{
		Log: &view{contest: c, gated: true, until: -1}, Now: time.Now, Every: 100 * time.Millisecond, Tell: func(string) {},
		Stream: Stream{Rules: "rules", Events: "events", Facets: "facets", Ingest: "ingest", Detect: "detect", Incarnation: 1},
	}
}

// begin starts something that pushes.
func (c *contest) begin(push func()) {
	c.pushers.Add(1)
	go func() {
		defer c.pushers.Add(-1)
		push()
	}()
}

// run gives turns to pushers, in any order, until all are through.
func (c *contest) run() {
	var waiting []chan bool
	for c.pushers.Load() > 0 {
		synctest.Wait()
		for len(c.turns) > 0 {
			waiting = append(waiting, <-c.turns)
		}
		c.step()
		if len(waiting) == 0 {
			time.Sleep(100 * time.Millisecond) // they wait for workers
			continue
		}
		i := c.rand.IntN(len(waiting))
		alive := c.safe || c.rand.IntN(25) > 0
		if !alive {
			c.deaths++
		}
		waiting[i] <- alive
		waiting = slices.Delete(waiting, i, i+1)
	}
}

// judge checks that no facet lacks a field that the rules in force at its place read, in
// either lane, and returns the versions in force at the end, by lane and partition.
func (c *contest) judge(all []*rules.Set) (ends [2][]string) {
	projections := map[string]facet.Projection{"": {}}
	for _, set := range all {
		projections[set.Version] = set.Projection()
	}
	for i, log := range c.facets {
		versions, numbers := [2]string{c.own.Version, ""}, [2]uint64{}
		for at, r := range log {
			if r.frame != nil {
				s, err := facet.ReadSwitch(r.frame)
				if err != nil {
					c.t.Fatal(err)
				}
				if s.Number > numbers[s.Lane] {
					versions[s.Lane], numbers[s.Lane] = s.Version, s.Number
				}
				continue
			}
			for _, v := range versions {
				for kind, fields := range projections[v] {
					for _, f := range fields {
						if !slices.Contains(r.fields[kind], f) {
							c.t.Errorf("facet partition %d at %d: rules %s read %v of kind %v, which is missing", i, at, v, f, facet.Kind(kind))
						}
					}
				}
			}
		}
		for lane, v := range versions {
			ends[lane] = append(ends[lane], v)
		}
	}
	return ends
}

// TestWhateverTheOrder: people push at once and die at any request, records come twice,
// workers follow late, die, and take partitions over. No facet lacks a field that rules in
// force read, and the last push that ends brings every partition to the same rules.
func TestWhateverTheOrder(t *testing.T) {
	own := set(t, "session", "auth")
	all := []*rules.Set{own, set(t, "ip", "auth"), set(t, "ip", "method"), set(t, "net", "auth"), set(t, "account", "user_agent")}
	last := Request{Rules: set(t, "device", "auth")}
	all = append(all, last.Rules)
	pushes, deaths := 0, 0
	for seed := range uint64(15) {
		synctest.Test(t, func(t *testing.T) {
			c := &contest{t: t, rand: rand.New(rand.NewPCG(seed, 0)), own: own, turns: make(chan chan bool, 8)}
			for i := range c.workers {
				c.start(i)
			}
			for i := range c.ingest {
				c.take(i, i%len(c.workers))
			}
			for i := range uint64(3) {
				c.begin(func() { c.push(all, 10*seed+i) })
			}
			c.run()
			c.safe = true
			c.begin(func() {
				for _, last.Lane = range []facet.Lane{facet.Live, facet.Shadow} {
					if _, err := c.pusher().Push(t.Context(), last); err != nil {
						t.Error(err)
					}
				}
			})
			c.run()
			w := &world{rules: c.rules, mortal: -1}
			for lane, versions := range c.judge(all) {
				h := w.history(t)
				if len(slices.Compact(versions)) > 1 || versions[0] != last.Rules.Version || h.InForce(facet.Lane(lane)).Version != versions[0] {
					t.Errorf("in lane %d, partitions end with %v", lane, versions)
				}
			}
			deaths += c.deaths
			pushes += len(w.history(t).Pushes)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
	t.Logf("%d pushes, %d deaths", pushes, deaths)
}
