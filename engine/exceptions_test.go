package engine

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

const excepting = `rules:
  - id: two-failures
    title: two failures
    entity: account
    when: auth == "failure"
    counting: {window: 1m, tiers: [{at: 2, weight: 30}]}
    signal: {category: account_takeover, reason: two_failures, half_life: 10m}
    phase: soft
    exceptions:
      - {when: status == 403, owner: ann, reason: the gateway's own, expires: 2027-01-01}
      - {when: client_ip in cidr("203.0.113.0/24"), owner: bob, reason: our tests, expires: 2027-01-01}
      - {when: "true", owner: bob, reason: it was over long ago, expires: 2025-12-31}
`

func exceptingSet(t *testing.T) *rules.Set {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(excepting)}}, testrules.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// What is excepted makes no record, and is counted.
func TestExceptedEventsReachNoDetector(t *testing.T) {
	set := exceptingSet(t)
	cfg := Defaults()
	cfg.Sources, cfg.Partitions = 1, 1
	p, err := NewPartition(cfg, set, facet.NewHasher([16]byte{}), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	projection := set.Projection()
	w := facet.NewWriter(1, 1, &projection)
	var out Output
	for i := range int64(10) {
		e := new(event.Event)
		e.SetText(event.Account, "ann")
		e.SetText(event.Auth, "failure")
		e.SetText(event.ClientIP, "203.0.113.9")
		e.SetNum(event.Status, 401+2*(i%2)) // every other one is of the first exception
		e.SetNum(event.Time, rules.TestStart+i)
		entity, _ := facet.EntityOf(facet.Account, e, nil)
		w.Add(entity, 0, i, e)
		if err := p.Apply(i, w.Finish(facet.Section{Owner: 1, From: i, To: i + 1, Watermark: rules.TestStart + i}), &out); err != nil {
			t.Fatal(err)
		}
	}
	if len(out.Signals) != 0 || p.Entities() != 0 {
		t.Errorf("%d signals and %d entities of excepted events", len(out.Signals), p.Entities())
	}
	m := newStageMetrics(prometheus.NewRegistry())
	m.state(0, p)
	m.state(0, p) // counts nothing twice
	err = testutil.CollectAndCompare(m.excepted, strings.NewReader(`
# HELP weir_detect_exception_hits_total Facets that a rule did not see because of an exception, by rule and number of the exception, from 1.
# TYPE weir_detect_exception_hits_total counter
weir_detect_exception_hits_total{exception="1",rule="two-failures"} 5
weir_detect_exception_hits_total{exception="2",rule="two-failures"} 5
`))
	if err != nil {
		t.Error(err)
	}
}
