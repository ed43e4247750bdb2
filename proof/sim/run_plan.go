package sim

import (
	"fmt"
	"time"

	"github.com/weirdev/weir/rules"
)

// Outcome is the result of a run.
type Outcome struct {
	Problems []string
	Trace    string         // the last events of the run
	Counts   map[string]int // of faults and observations
	Effects  int            // number of effects of processes
	Signals  []string       // of entities that stay in one raw partition, without positions
	Scores   []string       // likewise
}

// settling is how long the world may take to come to rest after the last fault.
const settling = 2 * time.Minute

// rest is the minimum time for the last process to take everything over, and to
// rewrite everything that Redis has lost.
const rest = 2 * time.Second

// Run runs a plan to its end and judges it. sets are the rules that workers may
// have; they read the same fields. It must be called in a bubble of
// testing/synctest.
func Run(plan Plan, sets []*rules.Set) Outcome {
	time.Sleep(time.Until(epoch))
	w := newWorld(plan, sets)
	if !w.work() {
		w.mu.Lock()
		w.problem("the world does not come to rest: %s", w.unrest())
		w.mu.Unlock()
	}
	if len(w.problems) > 0 {
		w.abandon()
	}
	v := verdict{world: w}
	if len(w.problems) == 0 {
		v.judge()
	}
	return Outcome{
		Problems: w.problems, Trace: w.trace.String(), Counts: w.counts, Effects: w.effects, Signals: v.plainSignals, Scores: v.plainScores,
	}
}

// work lets the workers run: first amid faults, then until everything is read, then
// detect alone, so that the facet log has an end. It reports whether every phase
// came to an end.
func (w *world) work() bool {
	w.locked(func() {
		for n := range w.plan.Workers {
			s := &slot{number: n + 1}
			w.slots = append(w.slots, s)
			w.start(s)
		}
		w.misfortune()
	})
	troubled := epoch.Add(w.plan.Span + w.plan.Span/2)
	w.run(time.Hour, func() bool {
		return !time.Now().Before(troubled) && w.sent == len(w.load.records) && w.ordered == len(w.load.controls)
	})
	w.locked(func() { w.calm = true })
	read := func() bool {
		return w.committed(groupIngest, topicRaw) && w.committed(groupControls, topicControls) && len(w.timers) == 0
	}
	if !w.run(settling, read) || !w.end() {
		return false
	}
	w.locked(func() {
		s := &slot{number: len(w.slots) + 1, detect: true}
		w.slots = append(w.slots, s)
		w.start(s)
	})
	done := w.rested()
	if w.plan.LastFlush {
		w.locked(w.flush)
		done = done && w.rested()
	}
	return done && w.end()
}

// rested waits until detect has finished.
func (w *world) rested() bool {
	least := time.Now().Add(rest)
	return w.run(settling, func() bool { return time.Now().After(least) && w.committed(groupDetect, topicFacets) })
}

// end ends every process, and everything in progress.
func (w *world) end() bool {
	w.locked(w.halt)
	return w.run(settling, func() bool { return w.halted() && len(w.timers) == 0 })
}

// abandon ends every process at once.
func (w *world) abandon() {
	w.locked(func() {
		for _, s := range w.slots {
			s.stopping = true
			if s.current != nil && !s.current.dead {
				w.kill(s.current)
			}
		}
	})
	for !w.halted() {
		time.Sleep(time.Second)
	}
}

func (w *world) locked(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// committed reports whether a group has committed an entire topic.
func (w *world) committed(name, topic string) bool {
	for i, p := range w.topics[topic] {
		if max(w.groups[name].commits[i].Offset, 0) < p.end() {
			return false
		}
	}
	return true
}

// unrest describes the unfinished work.
func (w *world) unrest() (text string) {
	for _, g := range []struct{ name, topic string }{{groupIngest, topicRaw}, {groupControls, topicControls}, {groupDetect, topicFacets}} {
		for i, p := range w.topics[g.topic] {
			text += fmt.Sprintf("%s/%d committed %d of %d; ", g.topic, i, w.groups[g.name].commits[i].Offset, p.end())
		}
	}
	for _, c := range w.pending {
		text += fmt.Sprintf("%s waits: %s; ", c.p, c.what)
	}
	return text
}
