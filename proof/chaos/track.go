package chaos

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/weirdev/weir/app/stack"
)

// tracker measures how long the pipeline takes to recover from a disturbance: until
// everything that was in the raw topic at that moment has passed both stages, and is
// committed.
type tracker struct {
	stack *stack.Stack

	mu      sync.Mutex
	waiting []*disturbance
	took    map[string][]time.Duration // by fault
	behind  map[string][]time.Duration // by fault: time until the lag was small again, and stayed small
	lags    [2]lagMeter                // of the stages
	worst   time.Duration              // largest lag seen
	raw     int64                      // waiting records at the last look
	facets  int64
	done    int64     // records committed by the stage that is behind
	moved   time.Time // last change of done
}

// disturbance is a fault without recovery so far. Its targets are the ends of the
// logs: the end of the raw topic at the first look after the fault, and the end of
// the facets when the raw target was reached.
type disturbance struct {
	fault       string
	from        time.Time
	raw, facets []int64
	lagging     time.Duration // from the fault to the last look with a lag of smallLag or more
}

const (
	lookEvery = 250 * time.Millisecond
	// smallLag is the lag below which the pipeline counts as live.
	smallLag = 5 * time.Second
)

// lagMeter determines the age of the oldest record that a stage has not committed.
type lagMeter struct{ seen []ending }

// ending holds the ends of a log's partitions at some moment.
type ending struct {
	at   time.Time
	ends []int64
}

// see records a look that began at the given time. Uncommitted records were appended
// at the earliest look that saw them, or up to lookEvery before.
func (m *lagMeter) see(at time.Time, p stack.Position) time.Duration {
	m.seen = append(m.seen, ending{at, ends(p)})
	for len(m.seen) > 0 && reached(p, m.seen[0].ends) {
		m.seen = m.seen[1:]
	}
	if len(m.seen) == 0 {
		return 0
	}
	return at.Sub(m.seen[0].at)
}

// begin starts the clock of a fault.
func (t *tracker) begin(fault string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = append(t.waiting, &disturbance{fault: fault, from: time.Now()})
}

func (t *tracker) left() (raw, facets int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.raw, t.facets
}

// run looks until ctx ends. While the broker is down it sees nothing.
func (t *tracker) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (t *tracker) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	t.mu.Lock()
	known := len(t.waiting) // later ones need ends that are read later
	t.mu.Unlock()
	now := time.Now()
	raw, err := t.stack.Ingested(ctx)
	if err != nil {
		return
	}
	facets, err := t.stack.Detected(ctx)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.raw, t.facets = raw.Left(), facets.Left()
	behind := raw
	if t.raw == 0 {
		behind = facets
	}
	if done := committed(behind); done != t.done {
		t.done, t.moved = done, time.Now()
	}
	// The stages work one after the other, so the lags add up.
	lag := t.lags[0].see(now, raw) + t.lags[1].see(now, facets)
	t.worst = max(t.worst, lag)
	left := t.waiting[:0]
	for i, d := range t.waiting {
		if lag >= smallLag {
			d.lagging = now.Sub(d.from)
		}
		if i >= known || !d.over(raw, facets) {
			left = append(left, d)
			continue
		}
		if t.took == nil {
			t.took, t.behind = map[string][]time.Duration{}, map[string][]time.Duration{}
		}
		t.took[d.fault] = append(t.took[d.fault], time.Since(d.from))
		t.behind[d.fault] = append(t.behind[d.fault], d.lagging)
	}
	clear(t.waiting[len(left):])
	t.waiting = left
}

func (d *disturbance) over(raw, facets stack.Position) bool {
	if d.raw == nil {
		d.raw = ends(raw)
	}
	if d.facets == nil && reached(raw, d.raw) {
		d.facets = ends(facets)
	}
	return d.facets != nil && reached(facets, d.facets)
}

func ends(p stack.Position) []int64 {
	all := make([]int64, len(p.Log))
	for i := range all {
		all[i] = p.Log[i].End
	}
	return all
}

func reached(p stack.Position, target []int64) bool {
	for i, c := range p.Committed {
		if max(c.Offset, 0) < target[i] {
			return false
		}
	}
	return true
}

func committed(p stack.Position) (n int64) {
	for _, c := range p.Committed {
		n += max(c.Offset, 0)
	}
	return n
}

// awaitAll waits until the pipeline has recovered from everything, as long as it
// makes progress: stuck is the maximum time without any.
func (t *tracker) awaitAll(ctx context.Context, stuck time.Duration) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	began := time.Now()
	for {
		t.mu.Lock()
		n, moved := len(t.waiting), t.moved
		t.mu.Unlock()
		if n == 0 || time.Since(began) > stuck && time.Since(moved) > stuck {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// recovery returns the given quantile (0 … 1) of the recovery times, of one fault
// or, if none is named, of all.
func (t *tracker) recovery(fault string, share float64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []time.Duration
	for name, took := range t.took {
		if fault == "" || fault == name {
			all = append(all, took...)
		}
	}
	return quantile(all, share)
}

// live returns the given quantile of the times from a fault until the lag stayed
// below smallLag; 0 if it never reached that. worst is the largest lag.
func (t *tracker) live(fault string, share float64) (took, worst time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return quantile(slices.Clone(t.behind[fault]), share), t.worst
}

// quantile returns the smallest value that at least a share of all does not exceed.
func quantile(all []time.Duration, share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	n := int(share*float64(len(all))+0.999999) - 1
	return all[min(max(n, 0), len(all)-1)]
}
