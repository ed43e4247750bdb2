package bench

import (
	"context"
	_ "embed"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/rules"
)

// path is the whole way from a raw record to a verdict, without Kafka and stores.
type path struct {
	decoder    format.Decoder
	event      event.Event
	enrich     *ingest.Enricher
	hasher     facet.Hasher
	projection facet.Projection
	rules      int
	kinds      []facet.Kind
	writers    []*facet.Writer
	partitions []*engine.Partition
	covered    []int64
	frames     []int64
	scratch    []byte
	out        engine.Output

	offset  int64
	facets  int64
	signals int64
}

//go:embed yardstick.yaml
var yardstick []byte

// yardstickRules returns five rules that never change, so that the figures of two
// versions can be compared.
func yardstickRules() (*rules.Set, error) {
	return rules.Load(fstest.MapFS{"yardstick.yaml": {Data: yardstick}}, detectors.All())
}

func builtInRules() (*rules.Set, error) { return rules.Default(detectors.All()) }

func newPath(load func() (*rules.Set, error)) (*path, error) {
	set, err := load()
	if err != nil {
		return nil, err
	}
	places, err := geo.Open(geo.Config{}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, err
	}
	return newPathOf(set, places.Current())
}

// newPathOf creates a path for rules, with a source of address data.
func newPathOf(set *rules.Set, places ingest.Places) (p *path, err error) {
	p = &path{hasher: facet.NewHasher([16]byte{1}), projection: set.Projection(), rules: len(set.Rules), scratch: make([]byte, 0, 32)}
	if p.enrich, err = ingest.NewEnricher(ingest.Defaults(), places); err != nil {
		return nil, err
	}
	for _, k := range facet.Kinds() {
		if p.projection[k] != nil {
			p.kinds = append(p.kinds, k)
		}
	}
	cfg := engine.Defaults()
	cfg.Sources, cfg.Partitions = 1, pathDestination
	for i := range pathDestination {
		part, err := engine.NewPartition(cfg, set, p.hasher, int32(i), 1)
		if err != nil {
			return nil, err
		}
		p.partitions = append(p.partitions, part)
		p.writers = append(p.writers, facet.NewWriter(1, 1, &p.projection))
	}
	p.covered, p.frames = make([]int64, pathDestination), make([]int64, pathDestination)
	return p, nil
}

// run processes the records completely, with a frame for each destination at the
// end. Their times are every apart; 0: their own times.
func (p *path) run(records [][]byte, every time.Duration) error {
	start := rules.TestStart
	for _, rec := range records {
		e := &p.event
		if err := p.decoder.Decode(rec, e); err != nil {
			return err
		}
		if every > 0 { // the samples' own times would go back with every round
			e.SetNum(event.Time, start+p.offset*every.Microseconds()/1000)
		}
		p.enrich.Complete(e, 0, p.offset, nil)
		for _, k := range p.kinds {
			if ent, ok := facet.EntityOf(k, e, p.scratch); ok {
				p.writers[facet.Partition(p.hasher.Sum(ent), len(p.writers))].Add(ent, 0, p.offset, e)
				p.facets++
			}
		}
		p.offset++
	}
	wm := p.event.Num(event.Time)
	for i, w := range p.writers {
		frame := w.Finish(facet.Section{Owner: 1, From: p.covered[i], To: p.offset, Watermark: wm})
		p.covered[i] = p.offset
		p.out.Reset()
		if err := p.partitions[i].Apply(p.frames[i], frame, &p.out); err != nil {
			return err
		}
		p.frames[i]++
		p.signals += int64(len(p.out.Signals))
	}
	return nil
}

// wholePath measures decode → facets → frames → windows → verdict: with the rules of
// the yardstick, with all built-in rules, and with few and many built-in rules of all
// detectors. plain is the time of encoding/json for decoding the same records.
func wholePath(ctx context.Context, r *report, plain time.Duration) error {
	five, err := onePath(ctx, r, yardstickRules)
	if err != nil {
		return err
	}
	r.note("in the time that encoding/json takes to decode one event, %.1f are through", float64(plain)/float64(five.each))
	share, rate := float64(five.alone)/float64(five.each), float64(time.Second)/float64(five.each)
	r.line("of the rate of decoding the same records alone", fmt.Sprintf("%.2f", share), fmt.Sprintf("%.2f", decodeShare), share >= decodeShare)
	r.line("events a CPU second", fmt.Sprintf("%.0f", rate), fmt.Sprintf("%.0f", pathRate), rate >= pathRate)

	all, err := onePath(ctx, r, builtInRules)
	if err != nil {
		return err
	}
	share = float64(five.each) / float64(all.each)
	r.line("of the rate with five rules", fmt.Sprintf("%.2f", share), fmt.Sprintf("%.2f", builtInShare), share >= builtInShare)
	r.line("allocations an event", fmt.Sprint(all.allocations), "0", all.allocations == 0)

	one, err := onePath(ctx, r, oneRuleEach)
	if err != nil {
		return err
	}
	r.note("one rule of each detector: %.2f of the rate with five rules", float64(five.each)/float64(one.each))
	many, err := onePath(ctx, r, func() (*rules.Set, error) { return byTurns(manyRules) })
	if err != nil {
		return err
	}
	share = float64(one.each) / float64(many.each)
	r.line("of the rate with one rule of each detector", fmt.Sprintf("%.2f", share), fmt.Sprintf("%.2f", manyShare), share >= manyShare)
	return nil
}

// oneRuleEach returns the first built-in rule of each detector.
func oneRuleEach() (*rules.Set, error) { return byTurns(0) }

// byTurns returns n built-in rules, one of each detector in turn as long as it has
// more; at least one of each.
func byTurns(n int) (*rules.Set, error) {
	set, err := builtInRules()
	if err != nil {
		return nil, err
	}
	of := map[string][]*rules.Rule{}
	for _, r := range set.Rules {
		of[r.Detector] = append(of[r.Detector], r)
	}
	some := &rules.Set{Version: set.Version}
	for turn := 0; turn == 0 || len(some.Rules) < n && turn < len(set.Rules); turn++ {
		for _, name := range detectorsOf(set) {
			if turn < len(of[name]) && (turn == 0 || len(some.Rules) < n) {
				some.Rules = append(some.Rules, of[name][turn])
			}
		}
	}
	slices.SortFunc(some.Rules, func(a, b *rules.Rule) int { return strings.Compare(a.ID, b.ID) })
	return some, nil
}

// pathTime is the time of one event.
type pathTime struct {
	each        time.Duration // the whole path
	alone       time.Duration // decoding only
	allocations uint64        // an event; those for signals and growing state are few, and rounded off
}

func onePath(ctx context.Context, r *report, load func() (*rules.Set, error)) (t pathTime, err error) {
	p, err := newPath(load)
	if err != nil {
		return t, err
	}
	records, _ := samples(pathKeys)
	work := func() error {
		for at := 0; at < len(records); at += 500 {
			if err := p.run(records[at:at+500], 100*time.Microsecond); err != nil {
				return err
			}
		}
		return nil
	}
	if t.each, err = measure(ctx, len(records), work); err != nil {
		return t, err
	}
	n, err := allocations(work)
	if err != nil {
		return t, err
	}
	t.allocations = n / uint64(len(records))
	t.alone, err = measure(ctx, len(records), func() error {
		for _, rec := range records {
			if err := p.decoder.Decode(rec, &p.event); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	entities := 0
	for _, part := range p.partitions {
		entities += part.Entities()
	}
	fmt.Fprintf(r.out, "\ndecode → facets → windows → verdict, %d rules, %d keys of each kind\n", p.rules, pathKeys)
	r.note("%v an event, %.1f facets an event, %d entities, %d signals", t.each, float64(p.facets)/float64(p.offset), entities, p.signals)
	return t, nil
}
