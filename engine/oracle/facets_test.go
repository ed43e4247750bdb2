package oracle

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const facetPartitions = 3

// everyKind is a set with a rule about each kind of entity.
func everyKind() *rules.Set {
	set := &rules.Set{Version: "test"}
	for i, k := range facet.Kinds() {
		fields := []event.Field{event.Status, event.Account, event.Rooted, event.Latitude}[:i%5]
		slices.Sort(fields)
		set.Rules = append(set.Rules, &rules.Rule{ID: k.String(), Entity: k, Fields: fields})
	}
	return set
}

// drawEvent draws a complete event.
func drawEvent(t *rapid.T) *event.Event {
	e := new(event.Event)
	e.SetNum(event.Time, start+rapid.Int64Range(0, 1000).Draw(t, "time"))
	for _, s := range event.Fields() {
		switch {
		case s.Field == event.Decision && rapid.IntRange(0, 9).Draw(t, "refused") > 0:
		case s.Field == event.Time || !rapid.Bool().Draw(t, s.Name):
		case s.Kind.Numeric():
			e.SetNum(s.Field, rapid.Int64Range(0, 3).Draw(t, "number"))
		default:
			e.SetText(s.Field, rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "text"))
		}
	}
	return e
}

// recorder writes facets as ingest does.
type recorder struct {
	to      [facetPartitions]*facet.Writer
	covered [facetPartitions]int64
	kinds   []facet.Kind
}

func newRecorder(set *rules.Set) *recorder {
	r := new(recorder)
	projection := set.Projection()
	for i := range r.to {
		r.to[i] = facet.NewWriter(1, incarnation, &projection)
	}
	for _, k := range facet.Kinds() {
		if projection[k] != nil {
			r.kinds = append(r.kinds, k)
		}
	}
	return r
}

func (r *recorder) add(offset int64, e *event.Event) {
	for _, k := range r.kinds {
		if ent, ok := facet.EntityOf(k, e, make([]byte, 0, 32)); ok && !e.Has(event.Decision) {
			r.to[facet.Partition(hasher.Sum(ent), facetPartitions)].Add(ent, 0, offset, e)
		}
	}
}

// finish covers up to next everywhere.
func (r *recorder) finish(owner uint64, next int64) (frames [facetPartitions][]byte) {
	for i, w := range r.to {
		frames[i] = slices.Clone(w.Finish(facet.Section{Source: 1, Owner: owner, From: r.covered[i], To: next}))
		r.covered[i] = next
	}
	return frames
}

func read(t *rapid.T, log *Recorded, frames [facetPartitions][]byte) {
	for i, frame := range frames {
		if err := log.Read(int32(i), frame); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsRecordedIsWhatTheRawLogAsksFor(t *testing.T) {
	set := everyKind()
	rapid.Check(t, func(t *rapid.T) {
		log, rec := NewRecorded(1, hasher, facetPartitions), newRecorder(set)
		again := newRecorder(set)
		var want []Facet
		for offset := range rapid.Int64Range(1, 20).Draw(t, "events") {
			e := drawEvent(t)
			want = append(want, Facets(set, 1, offset, e)...)
			rec.add(offset, e)
			again.add(offset, e)
			if rapid.Bool().Draw(t, "cut") {
				read(t, log, rec.finish(1, offset+1))
			}
			if rapid.IntRange(0, 3).Draw(t, "take over") == 0 {
				read(t, log, rec.finish(1, offset+1))
				read(t, log, again.finish(uint64(rapid.IntRange(0, 1).Draw(t, "owner")), offset+1)) // all of it once more
			}
		}
		read(t, log, rec.finish(1, 20))
		if lost, invented := log.Compare(want); len(lost)+len(invented) > 0 {
			t.Fatalf("lost %+v\ninvented %+v", lost, invented)
		}
		i := rapid.IntRange(0, len(want)).Draw(t, "which")
		if i == len(want) {
			return
		}
		if lost, invented := log.Compare(append(slices.Clone(want), want[i])); len(lost) != 1 || len(invented) > 0 {
			t.Fatalf("one was lost, found %+v %+v", lost, invented)
		}
		if lost, invented := log.Compare(slices.Delete(want, i, i+1)); len(lost) > 0 || len(invented) != 1 {
			t.Fatalf("one was invented, found %+v %+v", lost, invented)
		}
	})
}

func TestARecordedLogThatCannotBeIsRefused(t *testing.T) {
	set := everyKind()
	var e event.Event
	e.SetText(event.Account, "a")
	rec := newRecorder(set)
	rec.add(0, &e)
	frames := rec.finish(1, 1)
	home := int(facet.Partition(hasher.Sum(facet.Entity{Kind: facet.Account, Key: "a"}), facetPartitions))
	log := NewRecorded(1, hasher, facetPartitions)
	if err := log.Read(int32((home+1)%facetPartitions), frames[home]); err == nil {
		t.Error("a facet in another partition than its entity's was taken")
	}
	log = NewRecorded(1, hasher, facetPartitions)
	rec.finish(1, 2) // lost
	var err error
	for _, f := range [][]byte{frames[0], rec.finish(1, 3)[0]} {
		err = errors.Join(err, log.Read(0, f))
	}
	if !errors.Is(err, engine.ErrGap) {
		t.Errorf("a gap: %v", err)
	}
	if err := log.Read(0, []byte("no frame")); !errors.Is(err, facet.ErrFrame) {
		t.Errorf("no frame: %v", err)
	}
}
