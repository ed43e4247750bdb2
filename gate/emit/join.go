package emit

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// join holds events until their outcome is known, or they have waited long enough.
// All wait equally long, so they leave in the order in which they came.
type join struct {
	box     *outbox
	wait    time.Duration
	limit   int // of the bytes that wait
	metrics joinMetrics

	mu         sync.Mutex
	ended      bool
	order      *list.List // of *waiting, the oldest first
	bytes      int
	byDecision map[string]*waiting
	byRequest  map[string]*waiting

	// Where events are made of logs, which requests have one already. nil: not where.
	untold *memory // decided on, and sent without an outcome
	logged *memory // made of a log

	wake chan struct{} // the first one has come
}

// waiting is an event that waits. Its JSON lacks the closing brace.
type waiting struct {
	record
	decision, request string
	known             Outcome
	until             time.Time
	at                *list.Element
}

func newJoin(box *outbox, wait time.Duration, limit int, m joinMetrics) *join {
	return &join{
		box: box, wait: wait, limit: limit, metrics: m, order: list.New(),
		byDecision: map[string]*waiting{}, byRequest: map[string]*waiting{}, wake: make(chan struct{}, 1),
	}
}

// add lets an event wait, whose room in the outbox is reserved. An earlier event
// with the same request id waits on, and can only be joined by its decision.
func (j *join) add(w *waiting) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.logged.take(w.request) { // Envoy did not wait for this decision, and has told already how the request ended
		j.metrics.unknown.Inc()
		j.box.release(w.bytes)
		return
	}
	if j.wait <= 0 || j.ended {
		j.metrics.missing.Inc()
		j.untold.add(w.request)
		j.send(w)
		return
	}
	w.until = time.Now().Add(j.wait)
	w.at = j.order.PushBack(w)
	j.bytes += w.bytes
	j.byDecision[w.decision] = w
	if w.request != "" {
		j.byRequest[w.request] = w
	}
	if j.order.Len() == 1 {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
	for j.bytes > j.limit {
		j.metrics.early.Inc()
		j.give(j.oldest())
	}
}

// oldest returns the event that has waited longest; nil if none waits.
func (j *join) oldest() *waiting {
	if e := j.order.Front(); e != nil {
		return e.Value.(*waiting)
	}
	return nil
}

// outcome completes an event and sends it. It reports false if none waits for the
// outcome.
func (j *join) outcome(o Outcome) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.complete(o) {
		j.metrics.unknown.Inc()
		return false
	}
	return true
}

// isNew completes the event of a request that a log tells of. It reports whether
// there is none, and one is to be made. A request without an id could be any.
func (j *join) isNew(o Outcome) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.complete(o):
		return false
	case j.logged == nil, o.DecisionID != "", o.RequestID == "", j.ended, j.untold.take(o.RequestID):
		j.metrics.unknown.Inc()
		return false
	}
	j.metrics.logged.Inc()
	j.logged.add(o.RequestID)
	return true
}

// complete completes an event and sends it. It reports false if none waits for the
// outcome. The caller holds j.mu.
func (j *join) complete(o Outcome) bool {
	w := j.byDecision[o.DecisionID]
	if o.DecisionID == "" {
		w = j.byRequest[o.RequestID]
	}
	if w == nil {
		return false
	}
	j.metrics.joined.Inc()
	w.known.add(o)
	j.leave(w)
	return true
}

// give sends an event whose outcome is not known.
func (j *join) give(w *waiting) {
	j.untold.add(w.request)
	j.leave(w)
}

// leave sends an event that waits.
func (j *join) leave(w *waiting) {
	j.order.Remove(w.at)
	j.bytes -= w.bytes
	delete(j.byDecision, w.decision)
	if j.byRequest[w.request] == w {
		delete(j.byRequest, w.request)
	}
	j.send(w)
}

func (j *join) send(w *waiting) {
	w.Value = append(w.known.appendFields(w.Value), '}')
	j.box.put(w.record)
}

// expire sends the events whose time has come, and returns how long the next one
// waits; 0 if none does.
func (j *join) expire(now time.Time) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	for w := j.oldest(); w != nil; w = j.oldest() {
		if left := w.until.Sub(now); left > 0 {
			return left
		}
		j.metrics.missing.Inc()
		j.give(w)
	}
	return 0
}

// run sends events in time until ctx ends, then all that wait. No event waits after
// that.
func (j *join) run(ctx context.Context) {
	defer j.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if next := j.expire(time.Now()); next > 0 {
			timer.Reset(next)
		}
		select {
		case <-timer.C:
		case <-j.wake:
		case <-ctx.Done():
		}
	}
}

func (j *join) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = true
	for w := j.oldest(); w != nil; w = j.oldest() {
		j.metrics.early.Inc()
		j.leave(w)
	}
}
