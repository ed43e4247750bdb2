package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/weirdev/weir/engine"
)

// object identifies a snapshot by its facet partition and the next offset.
type object struct {
	partition int32
	next      int64
}

func (o object) String() string { return fmt.Sprintf("%d/%d", o.partition, o.next) }

func byName(a, b object) int {
	return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.next, b.next))
}

// snapshots is the world's snapshot store as seen by one process.
type snapshots struct{ p *process }

var errNoObject = errors.New("sim: no such object")

// List implements engine.SnapshotStore.
func (s snapshots) List(ctx context.Context, partition int32) (list []int64, err error) {
	w := s.p.w
	err = s.p.call(ctx, &call{what: fmt.Sprintf("list snapshots of %d", partition), do: func() bool {
		for o := range w.objects {
			if o.partition == partition {
				list = append(list, o.next)
			}
		}
		slices.SortFunc(list, func(a, b int64) int { return cmp.Compare(b, a) })
		return true
	}})
	s.p.recovered(partition, nil, nil)
	return list, err
}

// Read implements engine.SnapshotStore.
func (s snapshots) Read(ctx context.Context, partition int32, next int64) (b []byte, err error) {
	o := object{partition, next}
	c := &call{what: fmt.Sprintf("read snapshot %v", o)}
	c.do = func() bool {
		held, ok := s.p.w.objects[o]
		if b = bytes.Clone(held); !ok {
			c.err = errNoObject
		}
		return true
	}
	if err = s.p.call(ctx, c); err == nil {
		s.p.recovered(partition, &o, b)
	}
	return b, err
}

// Write implements engine.SnapshotStore.
func (s snapshots) Write(ctx context.Context, partition int32, next int64, snapshot []byte) error {
	w, o := s.p.w, object{partition, next}
	what, under := fmt.Sprintf("write snapshot %v", o), s.p.book(partition)
	return s.change(ctx, what, func() error {
		if !s.p.dead {
			s.p.hasty(what, partition, next, s.p.signals, s.p.shadow, s.p.scores)
		}
		w.keepVersion(o, version{snapshot, under})
		held, ok := w.objects[o]
		if ok && !bytes.Equal(held, snapshot) {
			return engine.ErrSnapshotDiffers
		}
		w.objects[o] = bytes.Clone(snapshot)
		return nil
	})
}

// Discard implements engine.SnapshotStore.
func (s snapshots) Discard(ctx context.Context, partition int32, next int64) error {
	o := object{partition, next}
	s.p.recovered(partition, nil, nil)
	return s.change(ctx, fmt.Sprintf("discard snapshot %v", o), func() error {
		s.p.w.counts["snapshot discarded"]++
		delete(s.p.w.objects, o)
		return nil
	})
}

// Delete implements engine.SnapshotStore.
func (s snapshots) Delete(ctx context.Context, partition int32, next int64) error {
	o := object{partition, next}
	return s.change(ctx, fmt.Sprintf("delete snapshot %v", o), func() error {
		delete(s.p.w.objects, o)
		return nil
	})
}

func (s snapshots) change(ctx context.Context, what string, do func() error) error {
	c := &call{what: what, sink: "snapshots", mutates: true, again: func() {}}
	c.do = func() bool {
		c.err = do()
		return true
	}
	c.stray = func() { _ = do() }
	return s.p.call(ctx, c)
}

// spoil loses or damages a snapshot.
func (w *world) spoil() {
	all := slices.SortedFunc(maps.Keys(w.objects), byName)
	if len(all) == 0 {
		return
	}
	o := all[w.rng.IntN(len(all))]
	b := w.objects[o]
	switch n := w.rng.IntN(3); {
	case n == 0 || len(b) == 0:
		w.note("snapshot %v is lost", o)
		delete(w.objects, o)
	case n == 1:
		w.note("snapshot %v is cut short", o)
		w.objects[o] = b[:w.rng.IntN(len(b))]
	default:
		w.note("a bit of snapshot %v is flipped", o)
		b[w.rng.IntN(len(b))] ^= 1 << w.rng.IntN(8)
	}
}

// retention deletes the beginning of a facet partition, as far as the oldest of
// several snapshots allows.
func (w *world) retention() {
	n := int32(w.rng.IntN(w.plan.Facets))
	var kept []int64
	for _, o := range slices.SortedFunc(maps.Keys(w.objects), byName) {
		if o.partition == n {
			kept = append(kept, o.next)
		}
	}
	if len(kept) < 2 {
		return
	}
	log := w.topics[topicFacets][n]
	log.start = max(log.start, kept[0])
	w.note("facets/%d begins at %d", n, log.start)
}
