package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"github.com/go-faster/city"

	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/proof/oracle"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// replayed is the content of the recorded facet log: its facets, each once, and the
// signals and scores that follow from it.
type replayed struct {
	bundles  [][]bundle        // by raw partition and offset
	signals  map[string]string // texts, by id
	shadow   map[string]string // the same for shadow rules
	said     map[int64]string  // control records that count, by offset
	held     int64             // signals that a label held back
	found    map[finding]int
	looped   map[wire][]string // loop-back that follows from the log
	heard    map[wire][]string // loop-back found in it, each frame once; both encoded as the first of a chain
	last     map[wire]facet.Step
	members  int64 // group members that were notified
	verdicts int64 // on cohorts, as read
	timed    int64 // signals of rules that set timers
	scores   []score.Update
	late     int64
	switches int64
	switched map[versionKey]versionRow // the row of rule_versions that each switch has
	needs    [2]facet.Projection       // by lane: fields that the rules in force read
	number   [2]uint64                 // by lane: of the last switch
	frames   int64
	// repeated counts facets that were written more than once and dropped. They are
	// harmless, and show that there was something to drop.
	repeated int64
}

// wire is a loop-back connection between facet partitions.
type wire struct{ from, to int32 }

func newReplayed(t *truth) *replayed {
	r := &replayed{signals: map[string]string{}, shadow: map[string]string{}, said: map[int64]string{}, found: map[finding]int{}, looped: map[wire][]string{}, heard: map[wire][]string{}, last: map[wire]facet.Step{},
		switched: map[versionKey]versionRow{}}
	for _, p := range t.parts {
		r.bundles = append(r.bundles, make([]bundle, len(p.what)))
	}
	return r
}

// replay reads the facet log as detect would, but from its beginning and without
// stopping, with the engine and with the oracle, which must agree. It reads two
// partitions at a time.
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
	sum := newReplayed(t)
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
	maps.Copy(r.signals, one.signals)
	maps.Copy(r.shadow, one.shadow)
	maps.Copy(r.said, one.said)
	r.held += one.held
	for f, n := range one.found {
		r.found[f] += n
	}
	maps.Copy(r.looped, one.looped)
	maps.Copy(r.heard, one.heard)
	r.scores = append(r.scores, one.scores...)
	r.late += one.late
	r.members += one.members
	r.verdicts += one.verdicts
	r.timed += one.timed
	r.frames += one.frames
	r.repeated += one.repeated
	r.switches += one.switches
	maps.Copy(r.switched, one.switched)
}

// vector detects facets that were written twice: per raw partition it holds the
// highest owner seen, and the offset up to which it is covered.
type vector struct {
	heard bool
	owner uint64
	next  int64
}

// errGap is the error for a range that does not join the previous one.
var errGap = errors.New("covered ranges do not join")

// take returns the offset from which the facets of a section are new; none are if it
// is from a former owner.
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
	judge, err := newPartition(s.Config, m.set, m.hasher, len(t.parts), m.partitions(), id)
	if err != nil {
		return nil, err
	}
	r := newReplayed(t)
	vectors := make([]vector, len(t.parts)+1) // the last is that of control records
	cfg := s.Config.Detect.Config
	cfg.Sources, cfg.Partitions = len(t.parts), m.partitions()
	second := oracle.New(m.set, cfg, m.hasher, id, uint64(s.Config.Stream.Incarnation))
	second.Forget() // rules change within the log
	var (
		reader facet.Reader
		out    engine.Output
		b      []byte
	)
	err = log.each(ctx, func(rec *kafka.Record) error {
		r.frames++
		if facet.IsLoopback(rec.Value) {
			err = r.hear(rec.Value, id)
		} else if facet.IsSwitch(rec.Value) {
			err = r.takeSwitch(rec.Value)
		} else {
			b, err = r.unpack(&reader, rec.Value, vectors, m, id, b)
		}
		if err != nil {
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
		if err := errors.Join(agree(out.Signals, signals), agree(out.Shadow, second.Shadow()), agreeOnLoopback(out.Loopback, second.Told())); err != nil {
			return fmt.Errorf("frame at %d: %w", rec.Offset, err)
		}
		for i := range out.Shadow {
			r.shadow[out.Shadow[i].ID()] = signalText(&out.Shadow[i])
		}
		for _, l := range out.Loopback {
			r.looped[wire{id, l.To}] = append(r.looped[wire{id, l.To}], string(l.Frame))
		}
		for i := range signals {
			sig := &signals[i]
			r.signals[sig.ID()] = signalText(sig)
			if n := len(sig.Evidence); n > 0 && sig.Evidence[n-1].Name == "false_positive" {
				r.held++
			}
			if rule := m.set.Rule(sig.Rule); rule != nil && rule.Spec.Keeps().Ahead > 0 {
				r.timed++
			}
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
	total := judge.Ledger().Total()
	r.late, r.members, r.verdicts = total.Late, total.Heard, total.Noted
	return r, nil
}

func (r *replayed) takeSwitch(frame []byte) error {
	s, err := facet.ReadSwitch(frame)
	if err != nil {
		return err
	}
	if r.switches++; s.Number <= r.number[s.Lane] {
		return nil // a push that was begun again
	}
	r.number[s.Lane], r.needs[s.Lane] = s.Number, facet.Projection{}
	row := versionRow{text: city.CH64(nil)}
	if s.Version != "" {
		set, err := rules.OpenBundle(s.Bundle, detectors.All())
		if err != nil {
			return err
		}
		r.needs[s.Lane], row = set.Projection(), rowOf(set)
	}
	r.switched[keyOf(&s)] = row
	return nil
}

// errField is the error for a facet without a field that rules in force read, and that
// every event of the load has.
var errField = errors.New("the facet has no id, and rules that read it are in force")

func (r *replayed) checkFields(f *facet.Facet) error {
	for _, p := range r.needs {
		if slices.Contains(p[f.Entity.Kind], event.ID) && !f.Fields.Has(event.ID) {
			return fmt.Errorf("raw record %d-%d: %w", f.Source, f.Offset, errField)
		}
	}
	return nil
}

// errJudges is the error if the replays of the engine and of the oracle differ. Then
// the expected contents of the stores are unknown.
var errJudges = errors.New("the engine and the oracle do not agree")

func agree(a, b []score.Signal) error {
	text := func(list []score.Signal, i int) string {
		if i < len(list) {
			return signalText(&list[i])
		}
		return "nothing more"
	}
	for i := range max(len(a), len(b)) {
		if x, y := text(a, i), text(b, i); x != y {
			return fmt.Errorf("%w: %q, and %q", errJudges, x, y)
		}
	}
	return nil
}

func agreeOnLoopback(frames []engine.LoopbackFrame, want []oracle.Told) error {
	got, err := toldBy(frames)
	if err == nil && !reflect.DeepEqual(got, want) {
		err = fmt.Errorf("%w: %d members of groups are told %+v, and %d %+v", errJudges, len(got), got, len(want), want)
	}
	return err
}

// toldBy returns the content of loop-back frames.
func toldBy(frames []engine.LoopbackFrame) (all []oracle.Told, err error) {
	for _, l := range frames {
		_, _, findings, err := facet.ReadLoopback(l.Frame)
		if err != nil {
			return nil, err
		}
		for _, f := range findings {
			for _, m := range f.Members {
				all = append(all, oracle.Told{To: l.To, Member: m, Finding: f.Finding})
			}
		}
	}
	return all, nil
}

// hear records a loop-back frame, unless it is already present.
func (r *replayed) hear(frame []byte, id int32) error {
	var l facet.LoopbackReader
	if err := l.Reset(frame); err != nil {
		return err
	}
	w := wire{l.From, id}
	if l.Step.Compare(r.last[w]) > 0 {
		first := bytes.Clone(frame)
		facet.Chain(first, facet.Step{})
		r.last[w], r.heard[w] = l.Step, append(r.heard[w], string(first))
		return nil
	}
	members, err := toldBy([]engine.LoopbackFrame{{To: id, Frame: frame}})
	r.repeated += int64(len(members))
	return err
}

func scoreTexts(list []score.Update) (all []string) {
	for _, u := range list {
		all = append(all, fmt.Sprintf("%v %+v %+v", u.Entity, u.Position, u.Contributions))
	}
	slices.Sort(all)
	return all
}

// unpack adds the new facets of a frame.
func (r *replayed) unpack(reader *facet.Reader, frame []byte, vectors []vector, m *calm, id int32, b []byte) ([]byte, error) {
	if err := reader.Reset(frame); err != nil {
		return b, err
	}
	for {
		s, ok, err := reader.Section()
		if err != nil || !ok {
			return b, err
		}
		if int(s.Source) >= len(vectors) || reader.Controls != (int(s.Source) == len(vectors)-1) {
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
			if reader.Controls {
				r.said[f.Offset] += saidText(f.Entity, f.Time, f.Control)
				continue
			}
			if err := r.checkFields(&f); err != nil {
				return b, err
			}
			var digest uint64
			f.Fields.SetNum(event.Time, f.Time)
			b, digest = facetDigest(b, id, s.Source, f.Offset, f.Ordinal, f.Entity, &f.Fields, m.always[f.Entity.Kind])
			all := r.bundles[s.Source]
			if f.Offset >= int64(len(all)) {
				return b, fmt.Errorf("a facet of raw record %d-%d, which does not exist", s.Source, f.Offset)
			}
			all[f.Offset].add(digest)
		}
	}
}

// signalText returns a row of the signals table as text, in the format of
// [signalSQL].
func signalText(s *score.Signal) string {
	evidence := facet.AppendEvidence(nil, s.Evidence)
	const u = separator
	return fmt.Sprintf("%d"+u+"%d"+u+"%d"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%s"+u+"%d"+u+"%d"+u+"%d"+u+"%d"+u+"%d"+u+"%s"+u+"%s"+u+"%d"+u+"%d"+u+"%d"+u+"%d",
		s.Position.Partition, s.Position.Offset, s.Position.Index, s.Rule, s.RulesVersion, s.Entity.Tenant, s.Entity.Kind, s.Entity.Key, groupKind(s), s.Group.Key,
		s.Category, s.Reason, s.Phase, s.Tier, s.Weight, int64(s.HalfLife.Seconds()),
		bit(s.Lowers), bit(s.Clears), s.Asks, evidence, s.Time, s.Source, s.SourceOffset, bit(s.Late))
}

func bit(on bool) int {
	if on {
		return 1
	}
	return 0
}

func groupKind(s *score.Signal) string {
	if s.Group.Kind == 0 {
		return ""
	}
	return s.Group.Kind.String()
}

// signalSQL selects id and text of signals from a table of a database.
const signalSQL = `SELECT
    concat(toString(incarnation), '-', toString(facet_partition), '-', toString(facet_offset), '-', toString(facet_index), '-', rule),
    concatWithSeparator('\x1f', toString(facet_partition), toString(facet_offset), toString(facet_index), rule, rules_version, tenant,
        entity_kind, entity, group_kind, group_key, category, reason, phase, toString(tier), toString(weight), toString(half_life_s),
        toString(lowers), toString(clears), asks, evidence,
        toString(toUnixTimestamp64Milli(time)), toString(src_partition), toString(src_offset), toString(late))
FROM %s.%s FINAL WHERE stream = {stream:String}`

// digest summarises rows independently of their order, like the sum and xor of their
// digests in SQL.
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
