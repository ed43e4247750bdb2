package engine

import (
	"fmt"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

// What rules make of each facet is shown as it is, and changes nothing.
func TestATraceShowsWhatRulesMakeOfFacets(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(`rules:
  - id: failures
    title: x
    entity: account
    when: auth != ""
    counting: {window: 1m, count: auth == "failure", tiers: [{at: 2, weight: 30}]}
    signal: {category: bot, reason: x, half_life: 10m}
    phase: soft
`)}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Defaults()
	cfg.Sources, cfg.Partitions = 1, 1
	var dumps [2]string
	for traced := range 2 {
		p, err := NewPartition(cfg, set, facet.NewHasher([16]byte{}), 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if traced == 1 {
			p.Trace(func(t Trace) {
				x := t.Explain()
				got = append(got, fmt.Sprintf("%s %s %d kept=%v late=%v counts=%v fired=%v %d of %d, held back %d",
					t.Rule.ID, t.Entity.Key, t.Offset, t.Kept, t.Late, t.Counts, t.Fired, x.Demands[0].Have, x.Demands[0].Need, len(x.HeldBack)))
			})
		}
		projection := set.Projection()
		w := facet.NewWriter(1, 1, &projection)
		var out Output
		for i, f := range []struct {
			account, auth string
			time          int64
		}{{"a", "failure", 1000}, {"a", "success", 2000}, {"a", "failure", 3000}, {"a", "failure", 4000}, {"b", "", 500_000}, {"a", "failure", 5000}, {"c", "failure", 5000}} {
			e := new(event.Event)
			e.SetText(event.Account, f.account)
			if f.auth != "" {
				e.SetText(event.Auth, f.auth)
			}
			e.SetNum(event.Time, f.time)
			entity, _ := facet.EntityOf(facet.Account, e, nil)
			w.Add(entity, 0, int64(i), e)
			if err := p.Apply(int64(i), w.Finish(facet.Section{Owner: 1, From: int64(i), To: int64(i) + 1, Watermark: f.time}), &out); err != nil {
				t.Fatal(err)
			}
			for _, s := range out.Signals {
				dumps[traced] += s.ID()
			}
		}
		want := []string{
			"failures a 0 kept=true late=false counts=true fired=false 1 of 2, held back 0",
			"failures a 1 kept=true late=false counts=false fired=false 1 of 2, held back 0",
			"failures a 2 kept=true late=false counts=true fired=true 2 of 2, held back 1",
			"failures a 3 kept=true late=false counts=true fired=false 3 of 2, held back 1",
			"failures a 5 kept=true late=true counts=false fired=false 3 of 2, held back 1",
			"failures c 6 kept=false late=true counts=false fired=false 0 of 2, held back 0",
		}
		if traced == 1 && !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	}
	if dumps[0] != dumps[1] || dumps[0] == "" {
		t.Errorf("%q traced, %q not", dumps[1], dumps[0])
	}
}
