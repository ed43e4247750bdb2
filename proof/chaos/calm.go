package chaos

import (
	"fmt"
	"strings"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// calm is detection without any disturbance: one reader, every record once, in this
// process. The real path must have the same findings.
type calm struct {
	set        *rules.Set
	hasher     facet.Hasher
	projection facet.Projection
	always     facet.Projection // of it, the fields that all rules of the run read
	kinds      []facet.Kind
	parts      []*engine.Partition
	next       []int64                // offsets of the facet partitions
	loopback   []engine.LoopbackFrame // to be applied
	sources    []*calmPartition
	out        engine.Output
	found      map[finding]int
}

// calmPartition is the part of the load read from one raw partition.
type calmPartition struct {
	writers   []*facet.Writer
	owner     uint64
	from      int64
	next      int64
	watermark int64
}

// finding is a signal without its position in the facet log, which differs from run
// to run.
type finding struct {
	rule   string
	entity facet.Entity
	tier   int
	time   int64
}

// comparable reports whether every run has the same findings about an entity.
func comparable(e facet.Entity) bool {
	return !strings.HasPrefix(e.Key, latePrefix) && !strings.HasPrefix(e.Key, saidPrefix) && !strings.HasPrefix(e.Key, lateNet)
}

func findingOf(s *score.Signal) finding { return finding{s.Rule, s.Entity, s.Tier, s.Time} }

func newCalm(c app.Config, all *rulesets, sources, partitions int) (m *calm, err error) {
	set := all.all[0]
	m = &calm{set: set, projection: set.Projection(), always: all.always(), found: map[finding]int{}, next: make([]int64, partitions)}
	if m.hasher, err = c.Stream.Hasher(); err != nil {
		return nil, err
	}
	for _, k := range facet.Kinds() {
		if m.projection[k] != nil {
			m.kinds = append(m.kinds, k)
		}
	}
	for p := range partitions {
		part, err := newPartition(c, set, m.hasher, sources, partitions, int32(p))
		if err != nil {
			return nil, err
		}
		m.parts = append(m.parts, part)
	}
	for range sources {
		s := &calmPartition{owner: 1, watermark: facet.NoWatermark}
		for range partitions {
			s.writers = append(s.writers, facet.NewWriter(1, uint64(c.Stream.Incarnation), &m.projection))
		}
		m.sources = append(m.sources, s)
	}
	return m, nil
}

func newPartition(c app.Config, set *rules.Set, h facet.Hasher, sources, partitions int, id int32) (*engine.Partition, error) {
	cfg := c.Detect.Config
	cfg.Sources, cfg.Partitions = sources, partitions
	return engine.NewPartition(cfg, set, h, id, uint64(c.Stream.Incarnation))
}

func (m *calm) partitions() int { return len(m.parts) }

func (m *calm) add(source, to int32, ent facet.Entity, offset int64, e *event.Event) {
	m.sources[source].writers[to].Add(ent, 0, offset, e)
}

// read marks the records of a source up to offset as added.
func (m *calm) read(source int32, offset, time int64) {
	s := m.sources[source]
	s.next, s.watermark = offset+1, max(s.watermark, time)
}

// flush applies the added records.
func (m *calm) flush() error {
	for i, s := range m.sources {
		for to := range s.writers {
			if err := m.apply(int32(to), m.frame(i, to)); err != nil {
				return err
			}
		}
		s.from = s.next
	}
	for _, l := range m.loopback {
		if err := m.apply(l.To, l.Frame); err != nil {
			return err
		}
	}
	m.loopback = m.loopback[:0]
	return nil
}

func (m *calm) apply(to int32, frame []byte) error {
	m.out.Reset()
	if err := m.parts[to].Apply(m.next[to], frame, &m.out); err != nil {
		return fmt.Errorf("undisturbed run: facet partition %d: %w", to, err)
	}
	m.next[to]++
	m.loopback = append(m.loopback, m.out.Loopback...)
	for j := range m.out.Signals {
		if sig := &m.out.Signals[j]; comparable(sig.Entity) {
			m.found[findingOf(sig)]++
		}
	}
	return nil
}

// frame returns the added records of a source for a facet partition.
func (m *calm) frame(source, to int) []byte {
	s := m.sources[source]
	return s.writers[to].Finish(facet.Section{Source: int32(source), Owner: s.owner, From: s.from, To: s.next, Watermark: s.watermark})
}
