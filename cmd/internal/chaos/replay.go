package chaos

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/weirdev/weir/cmd/internal/stack"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/engine/oracle"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/klog"
	"github.com/weirdev/weir/score"
)

// replayed is what the recorded facet log says: the facets that are in it, each
// once, and the signals and scores that it leads to.
type replayed struct {
	bundles [][]bundle // by raw partition and offset
	signals map[string]string
	found   map[finding]int
	scores  []score.Update
	late    int64
	frames  int64
	// repeated are facets that were written more than once and dropped: they are
	// harmless, and show that there was something to drop.
	repeated int64
}

// replay reads the facet log, as detect would, but from its beginning and
// without stopping, with the engine and with the oracle, which must agree. Two
// partitions are read at a time.
func replay(ctx context.Context, s *stack.Stack, m *calm, t *truth) (*replayed, error) {
	all := make([]*replayed, m.partitions())
	errs := make([]error, m.partitions())
	slots := make(chan struct{}, 2)
	var wg sync.WaitGroup
	for p := range all {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			all[p], errs[p] = replayPartition(ctx, s, m, t, int32(p))
		})
	}
	wg.Wait()
	sum := &replayed{signals: map[string]string{}, found: map[finding]int{}}
	for _, p := range t.parts {
		sum.bundles = append(sum.bundles, make([]bundle, len(p.what)))
	}
	for p, one := range all {
		if errs[p] != nil {
			return nil, fmt.Errorf("replay facet partition %d: %w", p, errs[p])
		}
		sum.add(one)
	}
	return sum, nil
}

func (r *replayed) add(one *replayed) {
	for p := range one.bundles {
		for o, b := range one.bundles[p] {
			if o < len(r.bundles[p]) {
				r.bundles[p][o].n += b.n
				r.bundles[p][o].sum += b.sum
			}
		}
	}
	for id, text := range one.signals {
		r.signals[id] = text
	}
	for f, n := range one.found {
		r.found[f] += n
	}
	r.scores = append(r.scores, one.scores...)
	r.late += one.late
	r.frames += one.frames
	r.repeated += one.repeated
}

// vector is what tells a facet that was written twice: per raw partition the
// highest owner seen, and the offset up to which it is covered.
type vector struct {
	heard bool
	owner uint64
	next  int64
}

// errGap is a range that does not join the one before it.
var errGap = errors.New("covered ranges do not join")

// take says from which offset on the facets of a section are new; none are where
// it is of a former owner.
func (v *vector) take(s facet.Section) (from int64, stale bool, err error) {
	if s.Owner < v.owner {
		return 0, true, nil
	}
	if v.heard && s.From > v.next {
		return 0, false, fmt.Errorf("%w: covered up to %d, goes on at %d", errGap, v.next, s.From)
	}
	if !v.heard {
		v.heard, v.next = true, s.From
	}
	from, v.owner, v.next = v.next, s.Owner, max(v.next, s.To)
	return from, false, nil
}

func replayPartition(ctx context.Context, s *stack.Stack, m *calm, t *truth, id int32) (*replayed, error) {
	log, err := openLog(ctx, s.Kafka, s.Config.Stream.Topic("facets"), id)
	if err != nil {
		return nil, err
	}
	judge, err := newPartition(s.Config, m.set, m.hasher, len(t.parts), id)
	if err != nil {
		return nil, err
	}
	r := &replayed{signals: map[string]string{}, found: map[finding]int{}}
	for _, p := range t.parts {
		r.bundles = append(r.bundles, make([]bundle, len(p.what)))
	}
	vectors := make([]vector, len(t.parts))
	cfg := s.Config.Detect.Config
	cfg.Sources = len(t.parts)
	second := oracle.New(m.set, cfg, m.hasher, id, uint64(s.Config.Stream.Incarnation))
	var (
		reader facet.Reader
		out    engine.Output
		b      []byte
	)
	err = log.each(ctx, func(rec *klog.Record) error {
		r.frames++
		if b, err = r.unpack(&reader, rec.Value, vectors, m, id, b); err != nil {
			return fmt.Errorf("frame at %d: %w", rec.Offset, err)
		}
		out.Reset()
		if err := judge.Apply(rec.Offset, rec.Value, &out); err != nil {
			return fmt.Errorf("apply frame at %d: %w", rec.Offset, err)
		}
		signals, err := second.Apply(rec.Offset, rec.Value)
		if err != nil {
			return fmt.Errorf("the oracle applies frame at %d: %w", rec.Offset, err)
		}
		if err := agree(out.Signals, signals); err != nil {
			return fmt.Errorf("frame at %d: %w", rec.Offset, err)
		}
		for i := range signals {
			sig := &signals[i]
			r.signals[sig.ID()] = signalText(sig)
			if comparable(sig.Entity) {
				r.found[findingOf(sig)]++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.scores = second.Scores()
	var live []score.Update
	for u := range judge.Live {
		live = append(live, u)
	}
	if a, b := scoreTexts(live), scoreTexts(r.scores); !slices.Equal(a, b) {
		return nil, fmt.Errorf("%w: %d scores are live, and %d by the oracle", errJudges, len(a), len(b))
	}
	r.late = judge.Ledger().Total().Late
	return r, nil
}

// errJudges is a replay of the engine that differs from the oracle's, so that
// nobody can say what the stores should hold.
var errJudges = errors.New("the engine and the oracle do not agree")

func agree(a, b []score.Signal) error {
	if len(a) != len(b) {
		return fmt.Errorf("%w: %d signals, and %d", errJudges, len(a), len(b))
	}
	for i := range a {
		if x, y := signalText(&a[i]), signalText(&b[i]); x != y {
			return fmt.Errorf("%w: %q, and %q", errJudges, x, y)
		}
	}
	return nil
}

func scoreTexts(list []score.Update) (all []string) {
	for _, u := range list {
		all = append(all, fmt.Sprintf("%v %+v %+v", u.Entity, u.Position, u.Contributions))
	}
	slices.Sort(all)
	return all
}

// unpack adds the facets of a frame that are new.
func (r *replayed) unpack(reader *facet.Reader, frame []byte, vectors []vector, m *calm, id int32, b []byte) ([]byte, error) {
	if err := reader.Reset(frame); err != nil {
		return b, err
	}
	for {
		s, ok, err := reader.Section()
		if err != nil || !ok {
			return b, err
		}
		if int(s.Source) >= len(vectors) {
			return b, fmt.Errorf("raw partition %d does not exist", s.Source)
		}
		from, stale, err := vectors[s.Source].take(s)
		if err != nil {
			return b, fmt.Errorf("raw partition %d: %w", s.Source, err)
		}
		var f facet.Facet
		for {
			ok, err := reader.Facet(&f)
			if err != nil {
				return b, err
			}
			if !ok {
				break
			}
			if stale || f.Offset < from {
				r.repeated++
				continue
			}
			var digest uint64
			f.Fields.SetNum(event.Time, f.Time)
			b, digest = facetDigest(b, id, s.Source, f.Offset, f.Ordinal, f.Entity, &f.Fields, m.projection[f.Entity.Kind])
			all := r.bundles[s.Source]
			if f.Offset >= int64(len(all)) {
				return b, fmt.Errorf("a facet of raw record %d-%d, which does not exist", s.Source, f.Offset)
			}
			all[f.Offset].add(digest)
		}
	}
}

// signalText is a row of the table signals as text, as [signalSQL] makes it.
func signalText(s *score.Signal) string {
	evidence := []byte{'{'}
	for i, n := range s.Evidence {
		if i > 0 {
			evidence = append(evidence, ',')
		}
		evidence = fmt.Appendf(event.AppendText(evidence, n.Name), ":%d", n.Value)
	}
	late := 0
	if s.Late {
		late = 1
	}
	const u = separator
	return fmt.Sprintf("%d"+u+"%d"+u+"%d"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%d"+u+"%d"+u+"%d"+u+"%s}"+u+"%d"+u+"%d"+u+"%d"+u+"%d",
		s.Position.Partition, s.Position.Offset, s.Position.Index, s.Rule, s.RulesVersion, s.Entity.Tenant, s.Entity.Kind, s.Entity.Key,
		s.Category, s.Reason, s.Phase, s.Tier, s.Weight, int64(s.HalfLife.Seconds()), evidence, s.Time, s.Source, s.SourceOffset, late)
}

// signalSQL selects id and text of signals.
const signalSQL = `SELECT
    concat(toString(incarnation), '-', toString(facet_partition), '-', toString(facet_offset), '-', toString(facet_index), '-', rule),
    concatWithSeparator('\x1f', toString(facet_partition), toString(facet_offset), toString(facet_index), rule, rules_version, tenant,
        entity_kind, entity, category, reason, phase, toString(tier), toString(weight), toString(half_life_s), evidence,
        toString(toUnixTimestamp64Milli(time)), toString(src_partition), toString(src_offset), toString(late))
FROM %s.signals FINAL WHERE stream = {stream:String}`

// digest sums up rows whatever their order, as sum and xor of their digests
// would in SQL.
type digest struct {
	Rows int64
	Sum  uint64
	Xor  uint64
}

func (d *digest) add(row uint64) { d.Rows++; d.Sum += row; d.Xor ^= row }

func (d digest) String() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], d.Sum)
	binary.BigEndian.PutUint64(b[8:], d.Xor)
	return fmt.Sprintf("%d:%x", d.Rows, b)
}
