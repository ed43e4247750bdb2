package bench

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const (
	costRounds = 3
	costFrame  = 500 // events per frame
)

// costTraffic configures a day of simulated traffic with every campaign once.
func costTraffic() traffic.Config {
	c := traffic.Defaults()
	c.Rate, c.Each = 1, 1
	return c
}

// Costs measures the built-in rules of each detector on a day of simulated traffic. It
// prints a table with one line for no rules, one for the rules of each detector alone,
// and one for all of them.
func Costs(ctx context.Context, out io.Writer) error { return costs(ctx, out, costTraffic()) }

func costs(ctx context.Context, out io.Writer, c traffic.Config) error {
	set, err := builtInRules()
	if err != nil {
		return err
	}
	var records [][]byte
	if _, err = traffic.Run(c, func(e *event.Event, _ int) error {
		records = append(records, e.AppendJSON(nil))
		return ctx.Err()
	}); err != nil {
		return err
	}
	shown, idle, err := showings(set, records)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, %s/%s; CPU time; %d events of simulated traffic, %d rules\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, len(records), len(set.Rules))
	fmt.Fprintf(out, "%-20s %5s %9s %9s %9s %9s %9s %11s\n", "rules of", "rules", "facets", "shown", "ns", "ns", "entities", "bytes")
	fmt.Fprintf(out, "%-20s %5s %9s %9s %9s %9s %9s %11s\n", "", "", "an event", "an event", "an event", "a showing", "", "an entity")
	none, err := costOf(ctx, &rules.Set{Version: set.Version}, records)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%-20s %5d %9.1f %9.1f %9d\n", "none: only decoding", 0, 0.0, 0.0, none.each.Nanoseconds())
	for _, name := range append(detectorsOf(set), "") {
		some := &rules.Set{Version: set.Version}
		n := 0
		for i, r := range set.Rules {
			if name == "" || r.Detector == name {
				some.Rules = append(some.Rules, r)
				n += shown[i]
			}
		}
		m, err := costOf(ctx, some, records)
		if err != nil {
			return err
		}
		if name == "" {
			name = "all"
		}
		each := (m.each - none.each).Nanoseconds()
		fmt.Fprintf(out, "%-20s %5d %9.1f %9.1f %9d %9d %9d %11d\n", name, len(some.Rules), m.facets, float64(n)/float64(len(records)),
			each, each*int64(len(records))/int64(max(n, 1)), m.entities, m.bytes/max(m.entities, 1))
	}
	fmt.Fprintf(out, "\nof the facets an event, %.1f match no rule\n", float64(idle)/float64(len(records)))
	return nil
}

// detectorsOf returns the detectors of a set of rules, sorted.
func detectorsOf(set *rules.Set) (names []string) {
	for _, r := range set.Rules {
		names = append(names, r.Detector)
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}

// showings counts, for each rule, the events that it is shown: those with an entity of
// the rule's kind for which the condition holds. idle counts the facets that no rule is
// shown.
func showings(set *rules.Set, records [][]byte) (shown []int, idle int, err error) {
	p, err := newPathOf(set, traffic.NewPlaces())
	if err != nil {
		return nil, 0, err
	}
	shown = make([]int, len(set.Rules))
	for i, rec := range records {
		if err := p.decoder.Decode(rec, &p.event); err != nil {
			return nil, 0, err
		}
		p.enrich.Complete(&p.event, 0, int64(i), nil)
		for _, k := range p.kinds {
			if _, ok := facet.EntityOf(k, &p.event, p.scratch); !ok {
				continue
			}
			matches := false
			for j, r := range set.Rules {
				if r.Entity == k && r.When(&p.event) {
					shown[j]++
					matches = true
				}
			}
			if !matches {
				idle++
			}
		}
	}
	return shown, idle, nil
}

// cost is the cost of some rules.
type cost struct {
	each     time.Duration // CPU time per event, from decoding to the verdict
	facets   float64       // per event
	entities int
	bytes    int // of state
}

// costOf runs the records through the whole path in several rounds, each from an empty
// state, and returns the best: other programs on a shared machine only ever add time.
func costOf(ctx context.Context, set *rules.Set, records [][]byte) (c cost, err error) {
	for range costRounds {
		p, err := newPathOf(set, traffic.NewPlaces())
		if err != nil {
			return c, err
		}
		runtime.GC()
		start := cpuTime()
		for some := range slices.Chunk(records, costFrame) {
			if err := errorOf(ctx, p.run(some, 0)); err != nil {
				return c, err
			}
		}
		if each := (cpuTime() - start) / time.Duration(len(records)); c.each == 0 || each < c.each {
			c.each = each
		}
		c.facets, c.entities, c.bytes = float64(p.facets)/float64(len(records)), 0, 0
		for _, part := range p.partitions {
			c.entities += part.Entities()
			c.bytes += part.Used()
		}
	}
	return c, nil
}

// errorOf returns err, or else the context's error if it has ended.
func errorOf(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return ctx.Err()
}
