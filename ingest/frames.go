package ingest

import (
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
)

// frames gathers the facets of one raw partition for all facet partitions. To each
// destination it writes sections in order, with one produce in flight, whose
// covered ranges join without a gap.
type frames struct {
	source  int32
	owner   uint64
	shared  Shared
	kinds   []facet.Kind
	to      []*facet.Writer
	covered []int64 // per destination: the next raw offset to cover
	scratch []byte
	batch   []kafka.Produce

	controls  bool // the source is that of controls
	announced bool // every destination has a cover of this owner
}

func newFrames(source int32, owner uint64, from int64, destinations int, e *Epoch, s Shared, controls bool) *frames {
	f := &frames{source: source, owner: owner, shared: s, controls: controls, to: make([]*facet.Writer, destinations), scratch: make([]byte, 0, 32)}
	for range destinations {
		f.covered = append(f.covered, from)
	}
	f.under(e)
	return f
}

// under sets the epoch of the following frames. Nothing may be gathered. The count
// of facets sent by the owner continues.
func (f *frames) under(e *Epoch) {
	f.kinds = f.kinds[:0]
	for _, k := range facet.Kinds() {
		if e.projection[k] != nil {
			f.kinds = append(f.kinds, k)
		}
	}
	for i, was := range f.to {
		if f.controls {
			f.to[i] = facet.NewControlWriter(f.shared.Incarnation)
		} else {
			f.to[i] = facet.NewWriter(e.number, f.shared.Incarnation, &e.projection)
		}
		if was != nil {
			f.to[i].Sent = was.Sent
		}
	}
}

// add emits the facets of e, in the order of kinds.
func (f *frames) add(offset int64, e *event.Event) (facets int64) {
	for _, k := range f.kinds {
		ent, ok := facet.EntityOf(k, e, f.scratch)
		if !ok {
			continue
		}
		to := facet.Partition(f.shared.Hasher.Sum(ent), len(f.to))
		f.to[to].Add(ent, 0, offset, e)
		facets++
	}
	return facets
}

// addControl emits the facet of a control record of time t, Unix ms.
func (f *frames) addControl(offset, t int64, e facet.Entity, c *facet.Control) {
	f.to[facet.Partition(f.shared.Hasher.Sum(e), len(f.to))].AddControl(e, offset, t, c)
}

// bytes returns the amount gathered for all destinations.
func (f *frames) bytes() (n int) {
	for _, w := range f.to {
		n += w.Len()
	}
	return n
}

// finish makes one record for each destination with facets or, with all, for every
// destination; each covers up to (not including) next. A source of controls covers
// nothing twice, because it says nothing about time and may be silent for weeks. The
// result is valid until the next finish.
func (f *frames) finish(next int64, wm watermark, all bool) []kafka.Produce {
	f.batch = f.batch[:0]
	for i, w := range f.to {
		if w.Facets() == 0 && (!all || f.controls && f.announced && f.covered[i] == next) {
			continue
		}
		frame := w.Finish(facet.Section{
			Source: f.source, Owner: f.owner, From: f.covered[i], To: next, Watermark: wm.section(),
		})
		f.covered[i] = next
		f.batch = append(f.batch, kafka.Produce{Partition: int32(i), Records: []kafka.Outgoing{{Value: frame}}})
	}
	f.announced = f.announced || all
	return f.batch
}
