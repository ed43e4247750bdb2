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
	costFrame  = 500 // events that are applied at once
)

// costTraffic is a day of invented traffic, with every campaign once.
func costTraffic() traffic.Config {
	c := traffic.Defaults()
	c.Rate, c.Each = 1, 1
	return c
}

// Costs measures what the built-in rules of each detector cost on a day of invented
// traffic, and prints a table: a line for each detector whose rules run alone, one for
// no rules at all and one for all of them.
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
	shown, err := showings(set, records)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s, %s/%s; CPU time; %d events of invented traffic, %d rules\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, len(records), len(set.Rules))
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
	return nil
}

// detectorsOf are the detectors that any rule names.
func detectorsOf(set *rules.Set) (names []string) {
	for _, r := range set.Rules {
		names = append(names, r.Detector)
	}
	slices.SortFunc(names, strings.Compare)
	return slices.Compact(names)
}

// showings is how often each rule is shown an event: it has an entity of the rule's
// kind, and the condition holds.
func showings(set *rules.Set, records [][]byte) (shown []int, err error) {
	p, err := newPathOf(set, traffic.NewPlaces())
	if err != nil {
		return nil, err
	}
	shown = make([]int, len(set.Rules))
	for i, rec := range records {
		if err := p.decoder.Decode(rec, &p.event); err != nil {
			return nil, err
		}
		p.enrich.Complete(&p.event, 0, int64(i), nil)
		for j, r := range set.Rules {
			if _, ok := facet.EntityOf(r.Entity, &p.event, p.scratch); ok && r.When(&p.event) {
				shown[j]++
			}
		}
	}
	return shown, nil
}

// cost is what some rules cost.
type cost struct {
	each     time.Duration // CPU time of an event, from decoding to the verdict
	facets   float64       // of an event
	entities int
	bytes    int // that hold what is remembered
}

// costOf takes the records all the way, in several rounds that each begin with nothing
// remembered. The best counts: neighbours on a shared machine only ever add to it.
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

// errorOf is an error, or that of a context which has ended.
func errorOf(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return ctx.Err()
}
