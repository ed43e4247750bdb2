package chaos

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing/fstest"
	"time"

	"github.com/weirdev/weir/decision"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// rulesets holds the workers' initial rules, and others that switch records set
// during the run.
type rulesets struct {
	all    []*rules.Set // the first is that of the workers
	number uint64       // of the last switch record
	turns  [2]int       // by lane: switches so far

	switched map[versionKey]versionRow // the row of rule_versions that each switch has
}

// hasty shortens timers of minutes so that they become due during a run.
var hasty = edits{
	"signature_mismatch.yaml": {"window: 3h\n      cohorts: [build, app_version, os]", "window: 1m\n      cohorts: [build, app_version, os]\n      wait: 10s\n      usual: 1m"},
}

// others changes how scores decay and act, and what a rule waits for.
var others = edits{
	"credential_stuffing.yaml": {"half_life: 30m", "half_life: 20m"},
	"login_brute_force.yaml":   {"cooldown: 5m", "cooldown: 3m"},
	"object_enumeration.yaml":  {"phase: soft", "phase: observe"},
}

// without names a file whose rules are removed by a switch.
const without = "scraping_breadth.yaml"

// edits are changes of files, by file name: the old text and its replacement.
type edits map[string][2]string

// of returns the changed files of a set of rules.
func (e edits) of(set *rules.Set) (fstest.MapFS, error) {
	bundle, err := set.Bundle()
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
		files[f.Name] = &fstest.MapFile{Data: data}
	}
	for name, edit := range e {
		f := files[name]
		if f == nil || !bytes.Contains(f.Data, []byte(edit[0])) {
			return nil, fmt.Errorf("%s has no %q to change", name, edit[0])
		}
		f.Data = bytes.ReplaceAll(f.Data, []byte(edit[0]), []byte(edit[1]))
	}
	return files, nil
}

// writeRules writes the built-in rules, as used in a run, into a directory.
func writeRules(dir string) error {
	set, err := rules.Default(detectors.All())
	if err != nil {
		return err
	}
	files, err := hasty.of(set)
	if err != nil {
		return err
	}
	return os.CopyFS(dir, files)
}

func newRulesets(base *rules.Set) (*rulesets, error) {
	files, err := others.of(base)
	if err != nil {
		return nil, err
	}
	delete(files, without)
	other, err := rules.Load(files, detectors.All())
	if err != nil {
		return nil, fmt.Errorf("the rules that are switched to: %w", err)
	}
	return &rulesets{all: []*rules.Set{base, other}, switched: map[versionKey]versionRow{}}, nil
}

// switchesAt notes the row that a switch has, and returns its time, Unix ms.
func (s *rulesets) switchesAt(now time.Time, lane facet.Lane, set *rules.Set) int64 {
	k := versionKey{kind: decision.Rules, version: set.Version, program: "weir rules push", instance: fmt.Sprintf("push %d", s.number), time: now.UnixMilli()}
	if lane == facet.Shadow {
		k.kind = "shadow_rules"
	}
	s.switched[k] = rowOf(set)
	return k.time
}

// followsLog reports whether a rule's firings may differ from those in an
// undisturbed run: if a switch changes it, or if it sets timers or reads verdicts.
// The results of those depend on how sources are interleaved in the facet log.
func (s *rulesets) followsLog(id string) bool {
	r, other := s.all[0].Rule(id), s.all[1].Rule(id)
	if r == nil || other == nil || r.Spec.Canonical() != other.Spec.Canonical() {
		return true
	}
	keeps := r.Spec.Keeps()
	return keeps.Ahead > 0 || keeps.Cohort.Verdicts > 0
}

// switchRules writes a switch record to every facet partition.
func (f *faults) switchRules(lane facet.Lane) func(context.Context, *rand.Rand) error {
	return func(ctx context.Context, _ *rand.Rand) error {
		s := f.r.rulesets
		s.number++
		s.turns[lane]++
		set := s.all[s.turns[lane]%len(s.all)] // first the other rules, then the initial ones again
		bundle, err := set.Bundle()
		if err != nil {
			return err
		}
		stack := f.r.cluster.stack
		frame := facet.AppendSwitch(nil, &facet.Switch{
			Incarnation: uint64(stack.Config.Stream.Incarnation), Number: s.number, Lane: lane, Version: set.Version, Time: s.switchesAt(time.Now(), lane, set), Who: "chaos", Source: "weir chaos", Bundle: bundle,
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
