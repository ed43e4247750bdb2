package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/rules"
)

// tallying is a detector that counts the events of an entity and of its cohorts by
// build and by network, and fires at none.
type tallying struct{}

func (tallying) Fields() []event.Field { return []event.Field{event.Build, event.ASN} }
func (tallying) State() string         { return "" }
func (tallying) Canonical() string     { return "" }
func (tallying) Keeps() rules.Keeps {
	return rules.Keeps{Reach: time.Hour, Bytes: 8, Cohort: rules.KeepsOfCohort{Reach: time.Hour, Bytes: 8}}
}
func (d tallying) Detector(detectors.Environment) detectors.Detector { return d }

func (tallying) Apply(c *detectors.Context, _ *detectors.Firing) bool {
	for _, s := range []detectors.Slot{c.Own, c.Cohort(event.Build), c.Cohort(event.ASN)} {
		if s != nil {
			b := s.Resize(8)
			le.PutUint64(b, le.Uint64(b)+1)
		}
	}
	return c.Cohort(event.Object) != nil // by which there are none
}

func (tallying) Fit(payload []byte) ([]byte, bool) { return payload, len(payload) == 8 }
func (tallying) FitCohort(_ event.Field, payload []byte) ([]byte, bool) {
	return payload, len(payload) == 8
}
func (tallying) Explain([]byte, int64) detectors.Explanation { return detectors.Explanation{} }

// comparing is a partition with the rule, and a function that applies an event of
// each of 50 accounts, of one build.
func comparing(t testing.TB, maxCohorts int) (p *Partition, apply func(build string)) {
	t.Helper()
	set := oneRule(t, tallying{})
	cfg := Defaults()
	cfg.MaxCohorts, cfg.Sources, cfg.Partitions = maxCohorts, 1, 1
	var err error
	if p, err = NewPartition(cfg, set, testHasher(), 0, 1); err != nil {
		t.Fatal(err)
	}
	projection := set.Projection()
	w := facet.NewWriter(1, 1, &projection)
	var out Output
	var names [50]string
	for i := range names {
		names[i] = fmt.Sprint("user-", i)
	}
	offset, e := int64(0), new(event.Event)
	return p, func(build string) {
		t.Helper()
		from := offset
		for _, name := range names {
			e.Reset()
			e.SetNum(event.Time, rules.TestStart+offset)
			e.SetNum(event.Status, 200)
			e.SetText(event.Build, build)
			e.SetNum(event.ASN, 64496)
			w.Add(facet.Entity{Kind: facet.Account, Key: name}, 0, offset, e)
			offset++
		}
		frame := w.Finish(facet.Section{Owner: 1, From: from, To: offset, Watermark: rules.TestStart + offset})
		if err := p.Apply(offset, frame, &out); err != nil || len(out.Signals) > 0 {
			t.Fatalf("%d signals, %v", len(out.Signals), err)
		}
	}
}

func (p *Partition) cohortCount(by event.Field, value string) uint64 {
	rec, found := p.findCohort(&p.lane, p.cohortKey(by, "", value), by, "", 0, 0, true)
	if !found {
		return 0
	}
	return le.Uint64(rec.Slot(p.rules.Rules[0].Slot))
}

func TestCohortsAreCountedAndBounded(t *testing.T) {
	p, apply := comparing(t, 10)
	for i := range 30 {
		apply(fmt.Sprint("made-up-", i))
		apply("real")
	}
	if n := p.cohortCount(event.Build, "real"); n != 30*50 {
		t.Errorf("%d events of the build, want %d", n, 30*50)
	}
	if n := p.cohortCount(event.ASN, "64496"); n != 60*50 {
		t.Errorf("%d events of the network, want %d", n, 60*50)
	}
	if n := p.Cohorts(); n != 11 || p.Entities() != 50 {
		t.Errorf("%d cohorts and %d entities, want 11 and 50", n, p.Entities())
	}
	b := snapshotOf(t, p, 1)
	again, _, err := RestorePartition(p.cfg, p.rules, testHasher(), 0, 1, b)
	if err != nil || again.Digest() != p.Digest() || again.cohortCount(event.Build, "real") != 30*50 {
		t.Errorf("what is restored is another state: %v", err)
	}
}

func TestCohortsCostNoAllocation(t *testing.T) {
	_, apply := comparing(t, 10)
	apply("real")
	if n := testing.AllocsPerRun(50, func() { apply("real") }); n > 0 && !testkit.Raced {
		t.Errorf("%v allocations", n)
	}
}
