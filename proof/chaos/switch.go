package chaos

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing/fstest"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// rulesets are the rules that workers start with, and others that switch records
// bring amid the run.
type rulesets struct {
	all    []*rules.Set // the first is the workers'
	number uint64       // of the last switch record
	turns  [2]int       // by lane: switches so far
}

// edits change how scores decay and act, and what a rule waits for.
var edits = map[string][2]string{
	"credential_stuffing.yaml": {"half_life: 30m", "half_life: 20m"},
	"login_brute_force.yaml":   {"cooldown: 5m", "cooldown: 3m"},
	"object_enumeration.yaml":  {"phase: soft", "phase: observe"},
}

// without is a file whose rules are not there after a switch.
const without = "scraping_breadth.yaml"

func newRulesets(base *rules.Set) (*rulesets, error) {
	bundle, err := base.Bundle()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(bytes.NewReader(bundle), int64(len(bundle)))
	if err != nil {
		return nil, err
	}
	files := fstest.MapFS{}
	for _, f := range z.File {
		data, err := fs.ReadFile(z, f.Name)
		if err != nil {
			return nil, err
		}
		if e, ok := edits[f.Name]; ok && !bytes.Contains(data, []byte(e[0])) {
			return nil, fmt.Errorf("%s has no %q to change", f.Name, e[0])
		} else if ok {
			data = bytes.ReplaceAll(data, []byte(e[0]), []byte(e[1]))
		}
		if f.Name != without {
			files[f.Name] = &fstest.MapFile{Data: data}
		}
	}
	other, err := rules.Load(files, detectors.All())
	if err != nil {
		return nil, fmt.Errorf("the rules that are switched to: %w", err)
	}
	return &rulesets{all: []*rules.Set{base, other}}, nil
}

// findsOther reports whether a rule may fire elsewhere under the other rules, so that
// an undisturbed run says nothing of it.
func (s *rulesets) findsOther(id string) bool {
	r, other := s.all[0].Rule(id), s.all[1].Rule(id)
	return r == nil || other == nil || r.Spec.Canonical() != other.Spec.Canonical()
}

// switchRules writes a switch record to every facet partition.
func (f *faults) switchRules(lane facet.Lane) func(context.Context, *rand.Rand) error {
	return func(ctx context.Context, _ *rand.Rand) error {
		s := f.r.rulesets
		s.number++
		s.turns[lane]++
		set := s.all[s.turns[lane]%len(s.all)] // first the others, then the first ones back
		bundle, err := set.Bundle()
		if err != nil {
			return err
		}
		stack := f.r.cluster.stack
		frame := facet.AppendSwitch(nil, &facet.Switch{
			Incarnation: uint64(stack.Config.Stream.Incarnation), Number: s.number, Lane: lane, Version: set.Version, Bundle: bundle,
		})
		var all []kafka.Produce
		for p := range f.r.facetPartitions {
			all = append(all, kafka.Produce{Partition: int32(p), Records: []kafka.Outgoing{{Value: frame}}})
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTime)
		defer cancel()
		return stack.Kafka.Produce(ctx, stack.Config.Stream.Topic("facets"), all)
	}
}
