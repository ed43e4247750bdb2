package engine

import (
	"fmt"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// TestResult is the outcome of one test.
type TestResult struct {
	rules.Case
	Skipped  string   // why it was not run; "": it was
	Problems []string // what is not as it should be
}

// RunTests runs tests of the rules of a set, in their order. Each test has a
// partition of its own and takes the way that live events take: facets, frames,
// detectors. A test of a rule that the set does not have is skipped.
func RunTests(set *rules.Set, tests []rules.Case) ([]TestResult, error) {
	results := make([]TestResult, 0, len(tests))
	for _, c := range tests {
		r := set.Rule(c.Rule)
		if r == nil {
			results = append(results, TestResult{Case: c, Skipped: "there is no rule " + c.Rule})
			continue
		}
		fired, err := runTest(set, r, c.Test)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", c.Rule, c.Test.Name, err)
		}
		problems := c.Test.Verdict(fired)
		if len(problems) > 0 {
			why, err := hidden(set, r, c.Test)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", c.Rule, c.Test.Name, err)
			}
			if why != "" {
				problems = append(problems, why)
			}
		}
		results = append(results, TestResult{Case: c, Problems: problems})
	}
	return results, nil
}

// runTest returns the signals that rule r gave.
func runTest(set *rules.Set, r *rules.Rule, t *rules.Test) (fired []rules.Fired, err error) {
	cfg := Defaults()
	cfg.Sources, cfg.Partitions = 1, 1
	p, err := NewPartition(cfg, set, facet.NewHasher([16]byte{}), 0, 1)
	if err != nil {
		return nil, err
	}
	projection := set.Projection()
	w := facet.NewWriter(1, 1, &projection)
	scratch := make([]byte, 0, 32)
	var out Output
	for i, step := range t.Expand() {
		offset := int64(i)
		for _, k := range facet.Kinds() {
			if projection[k] == nil || step.Event.Refused() {
				continue // as ingest does
			}
			if e, ok := facet.EntityOf(k, step.Event, scratch); ok {
				w.Add(e, 0, offset, step.Event)
			}
		}
		frame := w.Finish(facet.Section{Owner: 1, From: offset, To: offset + 1, Watermark: rules.TestStart + step.At.Milliseconds()})
		out.Reset()
		if err := p.Apply(offset, frame, &out); err != nil {
			return nil, err
		}
		for _, s := range out.Signals {
			if s.Rule == r.ID && s.Entity.Kind == r.Entity {
				fired = append(fired, rules.Fired{Entity: s.Entity.Key, Weight: s.Weight})
			}
		}
	}
	return fired, nil
}
