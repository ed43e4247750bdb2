// Package sim runs both real stages in an in-memory world: a log, consumer groups
// and stores that fail in every way that the real ones may, at moments that follow
// from one seed.
//
// It must run in a testing/synctest bubble. Time there is virtual, and between two
// effects every goroutine waits. So the schedule, and with it the outcome, is a
// function of the seed. It proves nothing about the real clients of Kafka, Redis and
// ClickHouse, which have their own tests.
package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime/pprof"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// errDead is the error that a killed process receives: nothing it does counts.
var errDead = errors.New("sim: the process is dead")

// epoch is the start time of a world. It is not a round number, and late enough for
// events that claim to be old.
var epoch = time.Date(2026, 3, 1, 11, 59, 57, 123_000_000, time.UTC)

// world is everything outside the processes, and the schedule.
//
//	process ─▶ call ─▶ pending ─▶ (the schedule picks one) ─▶ effect ─▶ answer
//
// One goroutine, that of run, picks and performs effects. Processes run only while
// it waits for them to come to rest.
type world struct {
	plan   Plan
	sets   []*rules.Set // rule sets; workers have the first, unless the plan says otherwise
	hasher facet.Hasher
	rng    *rand.Rand
	trace  trace
	counts map[string]int // of observations, for coverage

	arrived chan struct{} // signals that a call came in

	mu      sync.Mutex // guards all fields below; held while effects are performed
	pending []*call
	timers  []timer
	order   int // of timers
	effects int // performed so far
	calm    bool

	load    *load
	sent    int // records of the load
	ordered int // control records of the load
	topics  map[string][]*partition
	groups  map[string]*group
	stalled map[string]time.Time // services that do not answer, with the end of the stall
	events  map[place]eventRow
	said    map[int64]controlRow // control records by offset
	letters map[place]letterRow  // dead letters by source and offset
	signals map[string]string    // texts by id
	shadow  map[string]string    // the same for shadow rules
	scores  map[facet.Entity]scoreRow
	reached map[facet.Entity]score.Position // the newest ever written
	objects map[object][]byte               // stored snapshots
	written map[object][]version            // all snapshots ever written
	books   map[int32][]rulebook            // all under which facet partitions were ever read
	last    map[int32]rulebook              // of the latest owner
	reigns  map[int32][]reign               // commits of detect, in order
	slots   []*slot
	epochs  []*ingest.Epoch      // that workers may be configured with
	decided map[int32][]decision // from the commits of ingest, in order

	switches uint64 // written so far
	losses   int    // number of times that Redis lost everything
	copies   int    // rows that were written again
	problems []string
}

// timer is an action that the world performs by itself at a moment.
type timer struct {
	at    time.Time
	order int
	do    func()

	late *call // the request to be performed late; nil: another action
}

func newWorld(plan Plan, sets []*rules.Set) *world {
	w := &world{
		plan: plan, sets: sets, hasher: facet.NewHasher([16]byte{byte(plan.Seed), byte(plan.Seed >> 8), 7}),
		rng: rand.New(rand.NewPCG(plan.Seed, 2)), counts: map[string]int{}, arrived: make(chan struct{}, 1),
		topics: map[string][]*partition{}, groups: map[string]*group{}, stalled: map[string]time.Time{},
		events: map[place]eventRow{}, said: map[int64]controlRow{}, letters: map[place]letterRow{}, signals: map[string]string{}, shadow: map[string]string{}, scores: map[facet.Entity]scoreRow{}, reached: map[facet.Entity]score.Position{},
		objects: map[object][]byte{}, written: map[object][]version{},
		books: map[int32][]rulebook{}, last: map[int32]rulebook{}, reigns: map[int32][]reign{},
		epochs: newEpochs(sets[0]), decided: map[int32][]decision{},
	}
	for name, n := range map[string]int{topicRaw: plan.Raw, topicFacets: plan.Facets, topicDead: 2, topicSignals: 2, topicControls: 1} {
		for range n {
			w.topics[name] = append(w.topics[name], &partition{})
		}
	}
	w.groups[groupIngest] = newGroup(w, groupIngest, plan.Raw)
	w.groups[groupDetect] = newGroup(w, groupDetect, plan.Facets)
	w.groups[groupControls] = newGroup(w, groupControls, 1)
	w.load = newLoad(plan)
	return w
}

// call is a request of a process, from the request to the answer.
type call struct {
	p       *process
	who     string // stage and partition, from the labels that the stages set on their goroutines
	what    string
	content uint64 // distinguishes calls with the same wording
	sink    string // the service that must answer; may be stalled
	mutates bool
	ordered bool // not overtaken by requests that its process sends after the answer

	ready func() bool // nil: at once
	until time.Time   // ready from then on, regardless of ready

	do    func() (complete bool) // performs the request, or a part of it
	again func()                 // makes the next do start over
	stray func()                 // performs the request in its original form, out of turn
	err   error                  // set by do

	performed bool // only the answer is outstanding
	orphan    bool // nobody waits for the answer
	answer    chan error
}

// call makes a request and waits for its answer. If ctx ends first, the request may
// still be performed, now or later.
func (p *process) call(ctx context.Context, c *call) error {
	w := p.w
	w.mu.Lock()
	if p.dead {
		w.mu.Unlock()
		return errDead
	}
	c.p, c.who, c.answer = p, caller(ctx), make(chan error, 1)
	w.pending = append(w.pending, c)
	w.mu.Unlock()
	select {
	case w.arrived <- struct{}{}:
	default:
	}
	select {
	case err := <-c.answer:
		return err
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		c.orphan = true
		return ctx.Err()
	}
}

func caller(ctx context.Context) string {
	stage, _ := pprof.Label(ctx, "stage")
	partition, _ := pprof.Label(ctx, "partition")
	return stage + partition
}

// run performs due actions until over returns true, or for longest.
func (w *world) run(longest time.Duration, over func() bool) bool {
	end := time.Now().Add(longest)
	for time.Now().Before(end) {
		synctest.Wait()
		w.mu.Lock()
		if len(w.problems) > 0 || over() {
			w.mu.Unlock()
			return true
		}
		rest := w.advance()
		w.mu.Unlock()
		w.wait(rest)
	}
	return false
}

// advance performs one due action, and returns how long the world then rests; a
// negative time means until something happens.
func (w *world) advance() time.Duration {
	w.bury()
	w.supervise()
	now := time.Now()
	if w.gateways(now) || w.operators(now) || w.timer(now) {
		return 0
	}
	c, next := w.pick(now)
	if c == nil {
		return -max(next.Sub(now), time.Microsecond)
	}
	w.step(c)
	switch w.rng.IntN(8) {
	case 0:
		return time.Duration(w.rng.IntN(4000)) * time.Microsecond
	case 1, 2:
		return time.Duration(w.rng.IntN(500)) * time.Microsecond
	}
	return 0
}

func (w *world) wait(rest time.Duration) {
	if rest > 0 {
		time.Sleep(rest)
	} else if rest < 0 {
		t := time.NewTimer(-rest)
		select {
		case <-w.arrived:
		case <-t.C:
		}
		t.Stop()
	}
}

// after schedules an action of the world. w.mu is held.
func (w *world) after(d time.Duration, do func()) {
	w.order++
	w.timers = append(w.timers, timer{at: time.Now().Add(d), order: w.order, do: do})
}

func earlier(a, b timer) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.order, b.order)) }

// timer performs the first due action.
func (w *world) timer(now time.Time) bool {
	if len(w.timers) == 0 {
		return false
	}
	first := slices.MinFunc(w.timers, earlier)
	if first.at.After(now) {
		return false
	}
	w.timers = slices.DeleteFunc(w.timers, func(t timer) bool { return t.order == first.order })
	first.do()
	return true
}

// bury decides on requests that nobody waits for: some are performed later.
func (w *world) bury() {
	w.sort()
	w.pending = slices.DeleteFunc(w.pending, func(c *call) bool {
		if c.orphan && c.mutates && !c.performed && w.chance(w.plan.Faults.Orphan) {
			w.astray(c)
		}
		return c.orphan
	})
}

// astray schedules a late execution of a request in its original form.
func (w *world) astray(c *call) {
	w.counts["stray"]++
	d := time.Duration(w.rng.IntN(2500)) * time.Millisecond
	w.after(d, func() {
		w.note("late: %s of %s", c.what, c.p)
		c.stray()
	})
	w.timers[len(w.timers)-1].late = c
}

// hasten lets late requests arrive, and frozen processes wake, at the most harmful
// moment: while another process writes the same things.
func (w *world) hasten(c *call) {
	rival := func(o *call) bool { return o.p != c.p && o.sink == c.sink && o.who == c.who }
	soon := func() time.Duration { return time.Duration(w.rng.IntN(1000)) * time.Microsecond }
	for i := range w.timers {
		if t := &w.timers[i]; t.late != nil && rival(t.late) && w.rng.IntN(2) == 0 {
			t.at = time.Now().Add(soon())
		}
	}
	for _, o := range w.pending {
		if o.p.frozen && rival(o) && w.rng.IntN(2) == 0 {
			w.after(soon(), func() { w.wake(o.p) })
		}
	}
}

func (w *world) sort() {
	slices.SortStableFunc(w.pending, func(a, b *call) int {
		return cmp.Or(cmp.Compare(a.p.id, b.p.id), cmp.Compare(a.who, b.who), cmp.Compare(a.what, b.what), cmp.Compare(a.content, b.content))
	})
}

// pick chooses a call that can be performed; if there is none, it returns when to
// look again.
func (w *world) pick(now time.Time) (*call, time.Time) {
	next := now.Add(time.Second)
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	if w.sent < len(w.load.records) {
		sooner(w.load.records[w.sent].at)
	}
	if w.ordered < len(w.load.controls) {
		sooner(w.load.controls[w.ordered].at)
	}
	for _, t := range w.timers {
		sooner(t.at)
	}
	var ready []*call
	for _, c := range w.pending {
		switch {
		case c.p.frozen:
		case w.stalled[c.sink].After(now):
			sooner(w.stalled[c.sink])
		case c.ready == nil || c.performed || c.ready() || !c.until.After(now):
			ready = append(ready, c)
		default:
			sooner(c.until)
		}
	}
	if len(ready) == 0 {
		return nil, next
	}
	return ready[w.rng.IntN(len(ready))], next
}

// step performs a call, with its faults.
func (w *world) step(c *call) {
	if c.performed {
		w.answer(c)
		return
	}
	if !c.mutates {
		c.do()
		w.answer(c)
		return
	}
	w.effects++
	f := w.plan.Faults
	doomed := slices.Contains(w.plan.CrashAt, w.effects)
	if doomed && !w.plan.CrashAfter || w.chance(f.Crash) {
		w.note("%s: crash before: %s", c.p, c.what)
		w.kill(c.p)
		return
	}
	if !c.ordered && w.chance(f.Stray) {
		w.astray(c)
	}
	w.hasten(c)
	complete := c.do()
	w.note("%s: %s%s", c.p, c.what, outcome(complete, c.err))
	switch {
	case doomed || w.chance(f.Crash):
		w.note("%s: crash after that", c.p)
		w.kill(c.p)
	case !complete:
		w.counts["torn"]++
	case w.chance(f.AnswerLost):
		w.counts["answer lost"]++
		c.again()
	case w.chance(f.SlowAnswer):
		c.performed = true
	default:
		w.answer(c)
	}
}

func outcome(complete bool, err error) string {
	switch {
	case err != nil:
		return ": " + err.Error()
	case !complete:
		return " (in part)"
	}
	return ""
}

func (w *world) answer(c *call) {
	w.pending = slices.DeleteFunc(w.pending, func(o *call) bool { return o == c })
	c.answer <- c.err
}

// chance is true in n of 1000 cases, and never in a calm world.
func (w *world) chance(n int) bool { return n > 0 && !w.calm && w.rng.IntN(1000) < n }

// problem reports that something forbidden has happened.
func (w *world) problem(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.note("PROBLEM: %s", text)
	w.problems = append(w.problems, text)
}

func (w *world) note(format string, args ...any) {
	w.trace.add(time.Since(epoch), format, args)
}

// sum identifies bytes in traces, and distinguishes calls.
func sum(parts ...[]byte) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		_, _ = h.Write(p)
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}
