// Package traffic simulates users of mobile apps, incidents, and campaigns against
// the users, and records the truth about each entity. [app/evaluate] uses it to
// measure which campaigns rules find, and which innocents they accuse.
//
// Time is virtual, and the same configuration produces the same events. The package
// does not know rules or detectors: a campaign does what an attacker would do.
//
// [app/evaluate]: https://pkg.go.dev/github.com/weirdev/weir/app/evaluate
package traffic

import (
	"container/heap"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/weirdev/weir/event"
)

// Config describes a simulated world.
type Config struct {
	Seed     uint64
	Start    int64         // Unix ms; midnight in UTC is midnight for the population
	Duration time.Duration // of the simulation
	Rate     float64       // innocent events per second, on average over a week
	Run      string        // prefix of event ids, to keep runs apart

	Kinds     []string // of campaigns; empty: all of [Kinds]
	Variants  []string // of campaigns; empty: all of [Variants]
	Each      int      // number of campaigns per kind and variant
	Incidents bool     // outages, releases including a broken one, and a marketing push
}

// Defaults returns a day with three campaigns of every kind and variant.
func Defaults() Config {
	return Config{
		Seed: 1, Start: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).UnixMilli(), // a Monday
		Duration: 24 * time.Hour, Rate: 12, Run: "g1", Each: 3, Incidents: true,
	}
}

// Validate returns all errors of c.
func (c Config) Validate() error {
	var errs []error
	if c.Duration < time.Minute || c.Duration > 62*24*time.Hour {
		errs = append(errs, fmt.Errorf("a duration of %v is outside 1m … 62 days", c.Duration))
	}
	if !(c.Rate > 0) || c.Rate > 100_000 {
		errs = append(errs, fmt.Errorf("a rate of %v events a second is outside 0 … 100000", c.Rate))
	}
	if c.Each < 0 || c.Each > 1000 {
		errs = append(errs, fmt.Errorf("%d campaigns of each kind are outside 0 … 1000", c.Each))
	}
	errs = append(errs, known("kind of campaign", c.Kinds, Kinds()), known("variant", c.Variants, Variants()))
	return errors.Join(errs...)
}

// Clean is the campaign index of an event outside all campaigns.
const Clean = -1

// Run generates the traffic of c. It calls emit for each event, in order of time,
// with the index of its campaign in the truth, or [Clean]. The event and its texts
// are valid only during the call. Run ends early with emit's first error.
func Run(c Config, emit func(e *event.Event, campaign int) error) (*Truth, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	w := newWorld(c, emit)
	defer w.stop()
	w.settle()
	w.launch()
	for w.err == nil && len(w.queue) > 0 && w.queue[0].now < w.end {
		a := w.queue[0]
		if next, more := a.resume(); more {
			a.now = next
			heap.Fix(&w.queue, 0)
		} else {
			heap.Pop(&w.queue)
		}
	}
	return w.truth(), w.err
}

// world is the state of the simulation.
type world struct {
	cfg   Config
	end   int64 // Unix ms
	rng   *rand.Rand
	queue queue
	begun uint64 // number of actors so far

	e      event.Event
	emit   func(*event.Event, int) error
	err    error
	events int64

	tenants   []*tenant
	people    []*person
	inCity    []int // number of people per city
	incidents []*incident
	campaigns []*campaign
	bystander []Row // innocent entities that look odd, with the reason
}

func newWorld(c Config, emit func(*event.Event, int) error) *world {
	return &world{cfg: c, end: c.Start + c.Duration.Milliseconds(), rng: random(c.Seed, 0), emit: emit}
}

// random returns a separate random source per purpose, so that choices for one do
// not affect others.
func random(seed, purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, purpose)) }

// actor runs a script: it sends requests, and waits in between.
type actor struct {
	w     *world
	rng   *rand.Rand
	now   int64 // Unix ms
	order uint64
	c     *campaign // the actor's campaign; nil: it is innocent

	pause  func(until int64) bool
	resume func() (int64, bool)
	stop   func()
}

// stopped is the panic value that unwinds a script when the world ends.
type stopped struct{}

// begin starts a script at a given time, with a random source for seed.
func (w *world) begin(at int64, seed uint64, c *campaign, script func(*actor)) {
	w.begun++
	a := &actor{w: w, rng: random(w.cfg.Seed, seed), now: max(at, w.cfg.Start), order: w.begun, c: c}
	a.resume, a.stop = iter.Pull(func(yield func(int64) bool) {
		defer func() {
			if r := recover(); r != nil && r != (stopped{}) {
				panic(r)
			}
		}()
		a.pause = yield
		script(a)
	})
	heap.Push(&w.queue, a)
}

func (w *world) stop() {
	for _, a := range w.queue {
		a.stop()
	}
}

// wait advances time by d.
func (a *actor) wait(d time.Duration) { a.until(a.now + max(0, d.Milliseconds())) }

// until advances time to t (Unix ms).
func (a *actor) until(t int64) {
	if !a.pause(max(t, a.now)) {
		panic(stopped{})
	}
}

// about returns d with a random deviation: with part 0.5, between half of d and one
// and a half times d.
func (a *actor) about(d time.Duration, part float64) time.Duration {
	return time.Duration(float64(d) * (1 - part + 2*part*a.rng.Float64()))
}

// someTime returns an exponentially distributed time around d, but at least least.
func (a *actor) someTime(d, least time.Duration) time.Duration {
	return least + time.Duration(a.rng.ExpFloat64()*float64(d-least))
}

// between returns a random number from least to most.
func (a *actor) between(least, most int) int { return least + a.rng.IntN(most-least+1) }

// pick returns a random element of list.
func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// queue is a heap of actors, ordered by the time of their next step.
type queue []*actor

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].now < q[j].now || q[i].now == q[j].now && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*actor)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}
