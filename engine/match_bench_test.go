package engine

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

// routeRules is a set of rules about one route each, as many as are asked for.
func routeRules(t testing.TB, n int) *rules.Set {
	t.Helper()
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, `
  - id: route-%d
    title: x
    entity: account
    when: status == 401 && route == "/route-%d"
    counting: {window: 10m, tiers: [{at: 5, weight: 50}]}
    signal: {category: bot, reason: x, half_life: 1h}
    phase: observe
`, i, i)
	}
	set, err := rules.Load(fstest.MapFS{"r.yaml": {Data: []byte(b.String())}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// BenchmarkApply is the cost of a facet that one rule of many is about.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 4, 20, 100} {
		b.Run(fmt.Sprintf("of %d rules", n), func(b *testing.B) {
			set := routeRules(b, n)
			cfg := testConfig()
			cfg.Sources = 1
			p, err := NewPartition(cfg, set, testHasher(), 5, 9)
			if err != nil {
				b.Fatal(err)
			}
			projection := set.Projection()
			w := facet.NewWriter(1, 9, &projection)
			var (
				e    event.Event
				out  Output
				next int64
			)
			e.SetText(event.Account, "ann")
			e.SetNum(event.Status, 401)
			e.SetText(event.Route, fmt.Sprintf("/route-%d", n/2))
			ent, _ := facet.EntityOf(facet.Account, &e, nil)
			b.ReportAllocs()
			for b.Loop() {
				const batch = 100
				for i := range int64(batch) {
					e.SetNum(event.Time, rules.TestStart+next+i)
					w.Add(ent, 0, next+i, &e)
				}
				frame := w.Finish(facet.Section{Owner: 1, From: next, To: next + batch, Watermark: rules.TestStart + next})
				if err := p.Apply(next, frame, &out); err != nil {
					b.Fatal(err)
				}
				next += batch
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(next), "ns/facet")
		})
	}
}
