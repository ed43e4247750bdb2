package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// place is the position of a raw record.
type place struct {
	partition int32
	offset    int64
}

// eventRow is a row of the events table. Among rows with the same place, the one of
// the highest owner remains.
type eventRow struct {
	owner   uint64
	content string
}

// scoreRow is the score of an entity in Redis.
type scoreRow struct {
	position      score.Position
	expires       int64
	contributions []score.Contribution
}

const (
	storeBatch = 4 // maximum rows in a request
	lastFlush  = 2 * time.Second
)

// store is a process's writer to one store: it collects rows of many partitions and
// writes them in the background, with retries until they are acknowledged.
type store struct {
	p    *process
	name string
	wake chan struct{}

	mu      sync.Mutex
	tracks  []*track
	changed chan struct{} // closed and replaced with each acknowledgement
}

// track holds the rows of one partition.
type track struct {
	s         *store
	partition int32
	waiting   []row
	flying    []row
}

// row is a waiting write. If a key is given, only the latest row with that key is
// written.
type row struct {
	offset int64
	key    string
	again  func() bool // whether it was written before and was lost; nil: never
	later  []row       // rows with the same key that have replaced it; it still counts from its own offset
	write  func()
}

func newStore(p *process, name string) *store {
	return &store{p: p, name: name, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

func (s *store) open(partition int32) *track {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &track{s: s, partition: partition}
	s.tracks = append(s.tracks, t)
	slices.SortStableFunc(s.tracks, func(a, b *track) int { return cmp.Compare(a.partition, b.partition) })
	return t
}

// run writes until ctx ends, and then writes the remaining rows for a while.
func (s *store) run(ctx context.Context) {
	for {
		select {
		case <-s.wake:
			for s.holds() && ctx.Err() == nil && s.flush(context.WithoutCancel(ctx)) {
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			for s.holds() && s.flush(last) {
			}
			return
		}
	}
}

func (s *store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// flush writes one request; false means that another would be pointless. Its rows
// are fixed when it is first performed.
func (s *store) flush(ctx context.Context) bool {
	var rows, left []row
	c := &call{what: "write " + s.name, sink: s.name, mutates: true}
	settle := func() {
		if rows == nil {
			rows = s.take()
			left = slices.Clone(rows)
			c.what += worth(rows)
		}
	}
	c.do = func() bool {
		settle()
		n := len(left)
		if n > 1 && s.p.w.chance(s.p.w.plan.Faults.Torn) {
			n = 1 + s.p.w.rng.IntN(n-1)
		}
		for _, r := range left[:n] {
			r.write()
		}
		left = left[n:]
		return len(left) == 0
	}
	c.again = func() { left = slices.Clone(rows) }
	c.stray = func() {
		settle()
		for _, r := range rows {
			r.write()
		}
	}
	if err := s.p.call(ctx, c); err != nil {
		return false
	}
	s.acknowledge()
	return true
}

// worth describes the rows of a request.
func worth(rows []row) (text string) {
	for _, r := range rows {
		text += " " + strconv.FormatInt(r.offset, 10)
	}
	return text
}

func (s *store) holds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.tracks, func(t *track) bool { return len(t.waiting) > 0 })
}

func (s *store) take() (rows []row) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tracks {
		n := min(len(t.waiting), storeBatch-len(rows))
		t.flying = append(t.flying, t.waiting[:n]...)
		rows = append(rows, t.waiting[:n]...)
		t.waiting = slices.Clone(t.waiting[n:])
	}
	return rows
}

func (s *store) acknowledge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tracks {
		t.flying = nil
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// hasty reports a claim that everything below offset of a partition is stored
// although rows below it are not acknowledged. The latest track of the partition
// decides.
func (p *process) hasty(what string, partition int32, offset int64, stores ...*store) {
	for _, s := range stores {
		var latest *track
		for _, t := range s.tracks {
			if t.partition == partition {
				latest = t
			}
		}
		if latest == nil {
			continue
		}
		for _, r := range slices.Concat(latest.waiting, latest.flying) {
			for _, r := range append([]row{r}, r.later...) {
				if r.offset < offset && (r.again == nil || !r.again()) {
					p.w.problem("%s: %s, before %s has %d", p, what, s.name, r.offset)
				}
			}
		}
	}
}

// add stores a row; it blocks while there is no room.
func (t *track) add(ctx context.Context, r row) error {
	for {
		t.s.mu.Lock()
		if t.replace(r) {
			t.s.mu.Unlock()
			return nil
		}
		if len(t.waiting) < t.s.p.w.plan.StoreRoom {
			t.waiting = append(t.waiting, r)
			t.s.mu.Unlock()
			t.s.poke()
			return nil
		}
		changed := t.s.changed
		t.s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// replace puts r in the place of a waiting row with the same key.
func (t *track) replace(r row) bool {
	i := slices.IndexFunc(t.waiting, func(o row) bool { return r.key != "" && o.key == r.key })
	if i >= 0 {
		t.waiting[i].write, t.waiting[i].later = r.write, append(t.waiting[i].later, r)
	}
	return i >= 0
}

// Stored returns an offset below which every row is acknowledged.
func (t *track) Stored() int64 {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	least := int64(math.MaxInt64)
	for _, rows := range [][]row{t.waiting, t.flying} {
		for _, r := range rows {
			least = min(least, r.offset)
		}
	}
	return least
}

// Drain returns when every row is acknowledged.
func (t *track) Drain(ctx context.Context) error {
	for t.Stored() != math.MaxInt64 {
		t.s.mu.Lock()
		changed := t.s.changed
		t.s.mu.Unlock()
		if t.Stored() == math.MaxInt64 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

type eventTrack struct{ *track }

// Append implements ingest.EventTrack.
func (t eventTrack) Append(ctx context.Context, offset int64, owner uint64, _ int64, e *event.Event) error {
	at, fresh := place{t.partition, offset}, eventRow{owner, contentOf(e)}
	w := t.s.p.w
	return t.add(ctx, row{offset: offset, write: func() {
		old, known := w.events[at]
		if known {
			w.copies++
			if old.owner == owner && old.content != fresh.content {
				w.problem("event %v of owner %d is written as %s and as %s", at, owner, old.content, fresh.content)
			}
		}
		if !known || old.owner <= owner {
			w.events[at] = fresh
		}
	}})
}

// contentOf returns an event's fields as text.
func contentOf(e *event.Event) string {
	var b strings.Builder
	for _, s := range event.Fields() {
		switch {
		case !e.Has(s.Field):
		case s.Kind.Numeric():
			fmt.Fprintf(&b, "%s=%d ", s.Name, e.Num(s.Field))
		default:
			fmt.Fprintf(&b, "%s=%s ", s.Name, e.Text(s.Field))
		}
	}
	return b.String()
}

// letterRow is a row of the table of dead letters.
type letterRow struct {
	owner uint64
	until int64
	text  string
}

// source returns the number of an input's partition: those of the raw topic, then that
// of the controls.
func (w *world) source(controls bool, partition int32) int32 {
	if controls {
		return int32(w.plan.Raw) + partition
	}
	return partition
}

type deadTrack struct{ *track }

// Append implements ingest.DeadTrack.
func (t deadTrack) Append(ctx context.Context, owner uint64, _ int64, l *event.DeadLetter) error {
	at, fresh := place{t.partition, l.Offset}, letterRow{owner, l.Until, l.Reason + "|" + string(l.Value)}
	w := t.s.p.w
	return t.add(ctx, row{offset: l.Offset, write: func() {
		old, known := w.letters[at]
		if known {
			w.copies++
			if old.text != fresh.text || old.until != fresh.until {
				w.problem("dead letter %v is written as %+v and as %+v", at, old, fresh)
			}
		}
		if !known || old.owner <= owner {
			w.letters[at] = fresh
		}
	}})
}

type signalTrack struct {
	*track
	table map[string]string // texts by id
}

// Append implements engine.SignalTrack.
func (t signalTrack) Append(ctx context.Context, offset int64, sig *score.Signal) error {
	w, id, text := t.s.p.w, sig.ID(), signalText(sig)
	return t.add(ctx, row{offset: offset, write: func() {
		if old, known := t.table[id]; known {
			w.copies++
			if old != text && w.plan.Rules < 2 {
				w.problem("signal %s is written as %s and as %s", id, old, text)
			}
		}
		t.table[id] = text
	}})
}

func signalText(sig *score.Signal) string {
	b, err := json.Marshal(sig)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// scoreTrack also reports when Redis has lost this process's writes. That becomes
// known with the next write, or the next heartbeat.
type scoreTrack struct {
	*track
	known int // losses reported to its owner
}

// Forgotten implements engine.ScoreTrack.
func (t *scoreTrack) Forgotten() bool {
	w := t.s.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	news := t.s.p.losses > t.known
	t.known = t.s.p.losses
	return news
}

// Close implements engine.ScoreTrack.
func (t *scoreTrack) Close() {}

// Put implements engine.ScoreTrack, with the rule of sink/redis: an older position
// never replaces a newer one, and an expiry never goes back.
func (t *scoreTrack) Put(ctx context.Context, offset int64, u score.Update) error {
	if err := u.Check(); err != nil {
		return err
	}
	w := t.s.p.w
	u.Contributions = slices.Clone(u.Contributions)
	e := facet.Entity{Kind: u.Entity.Kind, Tenant: strings.Clone(u.Entity.Tenant), Key: strings.Clone(u.Entity.Key)}
	expires := max(score.Expires(u.Contributions), u.Expires)
	key := fmt.Sprintf("%d/%s/%s", e.Kind, e.Tenant, e.Key)
	again := func() bool { return !w.reached[e].Less(u.Position) }
	return t.add(ctx, row{offset: offset, key: key, again: again, write: func() {
		t.s.p.losses = w.losses
		old, known := w.scores[e]
		if known && u.Position.Less(old.position) {
			w.counts["older score refused"]++
			return
		}
		if w.reached[e].Less(u.Position) {
			w.reached[e] = u.Position
		}
		w.scores[e] = scoreRow{u.Position, max(expires, old.expires), u.Contributions}
	}})
}
