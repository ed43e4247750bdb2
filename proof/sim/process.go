package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// slot is the place of a worker. When one dies, another takes its place.
type slot struct {
	number   int
	started  int // processes so far
	current  *process
	detect   bool // runs detect alone
	stopping bool // no further process is to be started
	starting bool
}

// process is one life of a worker: the equivalent of weir-worker, with the world's
// clients and stores.
type process struct {
	w       *world
	id      int
	name    string
	slot    *slot
	stop    context.CancelFunc
	ended   chan struct{}
	failure error // why it ended; read it only after the end

	// The fields below are guarded by w.mu.
	dead   bool
	frozen bool
	off    time.Duration // error of its clock
	epoch  int           // its configured epoch
	rules  int           // rules of detect, fixed for the life of the process
	losses int           // losses of Redis known to this process

	mu    sync.Mutex
	rooms map[*kafka.Batch]*room
	found map[int32]found    // by facet partition: the last snapshot read
	books map[int32]rulebook // by facet partition

	events, controls, letters, signals, shadow, scores *store
}

func (p *process) String() string { return p.name }

func (p *process) now() time.Time {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return time.Now().Add(p.off)
}

// anyOff draws the error of a clock.
func (w *world) anyOff() time.Duration {
	n := int64(w.plan.ClockOff)
	if n == 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(2*n) - n)
}

// ahead returns how far the clock is ahead of the brokers', if that can be known and
// matters.
func (p *process) ahead() time.Duration {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if !p.w.plan.Appended || p.off.Abs() < 2*time.Second {
		return 0
	}
	return p.off
}

// start starts the next life of a slot. w.mu is held.
func (w *world) start(s *slot) {
	s.started++
	p := &process{
		w: w, id: s.number*1000 + s.started, name: fmt.Sprintf("w%d.%d", s.number, s.started), slot: s,
		ended: make(chan struct{}), rooms: map[*kafka.Batch]*room{},
		found: map[int32]found{}, books: map[int32]rulebook{},
	}
	p.off, p.epoch, p.rules = w.anyOff(), w.anyEpoch(), w.anyRules()
	p.events, p.controls, p.letters, p.signals, p.shadow, p.scores = newStore(p, "table events"), newStore(p, "table labels"), newStore(p, "table dead_letters"), newStore(p, "table signals"), newStore(p, "table shadow_signals"), newStore(p, "redis")
	p.losses = w.losses
	s.current, s.starting = p, false
	w.note("%s starts under epoch %d and rules %d, its clock is off by %v", p, p.epoch, p.rules, p.off)
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() {
		defer close(p.ended)
		p.failure = p.run(ctx, !s.detect)
	}()
}

// run is the worker: the stages stop first and drain into the stores, which stop
// after them.
func (p *process) run(ctx context.Context, both bool) error {
	var stores sync.WaitGroup
	storing, stopStores := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStores()
	for _, s := range []*store{p.events, p.controls, p.letters, p.signals, p.shadow, p.scores} {
		stores.Go(func() { s.run(storing) })
	}
	stages, stageCtx := errgroup.WithContext(ctx)
	if both {
		in, err := p.ingest()
		if err != nil {
			return err
		}
		stages.Go(func() error { return in.Run(stageCtx) })
	}
	detect, err := p.detect()
	if err != nil {
		return err
	}
	stages.Go(func() error { return detect.Run(stageCtx) })
	err = stages.Wait()
	stopStores()
	stores.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (p *process) ingest() (*ingest.Stage, error) {
	cfg := ingest.Defaults()
	cfg.Linger, cfg.CommitInterval, cfg.DrainTimeout = p.w.plan.Linger, p.w.plan.IngestCommit, p.w.plan.Drain
	topics := ingest.Topics{Events: topicRaw, Facets: topicFacets, Dead: topicDead, Group: groupIngest}
	if !p.w.plan.History {
		topics.Controls, topics.ControlsGroup = topicControls, groupControls
	}
	return ingest.New(cfg, topics,
		ingest.Shared{Incarnation: 1, Hasher: p.w.hasher, History: p.w.plan.History},
		ingest.Dependencies{
			Log: p, Epochs: p, Logger: slog.New(handler{p: p}), Now: p.now, ClockAhead: p.ahead,
			OpenEvents:   func(n int32) ingest.EventTrack { return eventTrack{p.events.open(n)} },
			OpenControls: func() ingest.ControlTrack { return controlTrack{p.controls.open(0)} },
			OpenDead: func(controls bool, n int32) ingest.DeadTrack {
				return deadTrack{p.letters.open(p.w.source(controls, n))}
			},
		})
}

func (p *process) detect() (*engine.Stage, error) {
	cfg := engine.StageConfig{Config: p.w.engine(), CommitInterval: p.w.plan.DetectCommit, DrainTimeout: p.w.plan.Drain,
		SnapshotInterval: time.Second, SnapshotKeep: 3}
	var store engine.SnapshotStore
	if p.w.plan.Snapshots {
		store = snapshots{p}
	}
	return engine.NewStage(cfg,
		engine.Topics{Events: topicRaw, Facets: topicFacets, Signals: topicSignals, Group: groupDetect},
		engine.Dependencies{
			Log: p, Rules: p.w.sets[p.rules], Hasher: p.w.hasher, Incarnation: 1, Logger: slog.New(handler{p: p}), Snapshots: store,
			Sinks: []engine.SinkOpener{
				{Name: "signals", Open: func(n int32) engine.Sink {
					p.begin(n)
					return engine.SignalSink(signalTrack{p.signals.open(n), p.w.signals})
				}},
				{Name: "shadow signals", Open: func(n int32) engine.Sink { return engine.ShadowSink(signalTrack{p.shadow.open(n), p.w.shadow}) }},
				{Name: "scores", Open: func(n int32) engine.Sink { return engine.ScoreSink(p.openScores(n)) }},
			},
		})
}

// openScores creates a track that is notified of losses from now on.
func (p *process) openScores(partition int32) *scoreTrack {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return &scoreTrack{p.scores.open(partition), p.losses}
}

func (w *world) engine() engine.Config {
	return engine.Config{Lateness: w.plan.Lateness, MaxEntities: 1000, MaxCohorts: 1000}
}

// kill ends a process at once. w.mu is held.
func (w *world) kill(p *process) {
	w.counts["crash"]++
	p.dead = true
	p.stop()
	for _, c := range w.pending {
		if c.p == p {
			c.orphan = true
			c.answer <- errDead
		}
	}
	for _, name := range []string{groupIngest, groupControls, groupDetect} {
		w.groups[name].silent(p)
	}
}

// freeze stops a process for a while; the others consider it dead.
func (w *world) freeze(p *process, d time.Duration) {
	w.counts["freeze"]++
	w.note("%s is frozen for %v", p, d)
	p.frozen = true
	for _, name := range []string{groupIngest, groupControls, groupDetect} {
		w.groups[name].silent(p)
	}
	w.after(d, func() { w.wake(p) })
}

func (w *world) wake(p *process) {
	if p.frozen {
		p.frozen = false
		w.note("%s wakes up", p)
	}
}

// rouse sometimes wakes frozen processes at the moment when others take over from
// them.
func (w *world) rouse() {
	for _, s := range w.slots {
		if p := s.current; p != nil && p.frozen && w.rng.IntN(2) == 0 {
			w.after(time.Duration(w.rng.IntN(8000))*time.Microsecond, func() { w.wake(p) })
		}
	}
}

// supervise restarts processes that have ended.
func (w *world) supervise() {
	for _, s := range w.slots {
		if s.current == nil || s.stopping || s.starting || !s.current.dead && !over(s.current) {
			continue
		}
		if s.current.dead {
			w.note("%s is dead", s.current)
		} else if err := s.current.failure; err != nil {
			w.note("%s has ended: %v", s.current, err)
			w.counts["exit"]++
		}
		s.starting = true
		w.after(50*time.Millisecond+time.Duration(w.rng.IntN(900))*time.Millisecond, func() {
			if !s.stopping {
				w.start(s)
			}
		})
	}
}

func over(p *process) bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// halt makes every process drain and end. w.mu is held.
func (w *world) halt() {
	for _, s := range w.slots {
		s.stopping = true
		if s.current != nil {
			s.current.stop()
		}
	}
}

func (w *world) halted() bool {
	return !slices.ContainsFunc(w.slots, func(s *slot) bool { return s.current != nil && !over(s.current) })
}

// living returns the processes that faults can hit.
func (w *world) living() (all []*process) {
	for _, s := range w.slots {
		if p := s.current; p != nil && !p.dead && !p.frozen && !over(p) {
			all = append(all, p)
		}
	}
	return all
}

var _ kafka.Reader = (*process)(nil) // and therefore kafka.Log, for detect
