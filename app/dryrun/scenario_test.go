package dryrun

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/rules"
)

// groupRule tells the accounts that an address tried.
const groupRule = `rules:
  - id: many-accounts
    title: many accounts
    entity: ip
    when: auth == "failure"
    sliding_window: {window: 10m, distinct: account, tiers: [{at: 3, weight: 60}]}
    members: {entity: account, weight: 20}
    signal: {category: account_takeover, reason: tried_many, half_life: 10m}
    phase: soft
  - id: two-failures
    title: two failures
    entity: account
    when: account_tried && status == 401
    sliding_window: {window: 1m, tiers: [{at: 2, weight: 30}]}
    signal: {category: account_takeover, reason: two_failures, half_life: 10m}
    phase: soft
`

const scenarios = `scenarios:
  - name: an address tries accounts, of which one has failed before
    events:
      - {at: 0s, set: {ip: 198.51.100.1, account: u1, auth: failure, status: 401}}
      - {at: 10s, every: 10s, repeat: 3, set: {ip: 203.0.113.9, account: "u{n}", auth: failure, status: 401}}
    expect:
      - {entity: "ip:203.0.113.9", signals: [{rule: many-accounts, weight: 60, times: 1}], score: 60, reasons: [tried_many]}
      - entity: account:u1
        signals: [{rule: many-accounts, weight: 20, group: "ip:203.0.113.9"}, {rule: two-failures, weight: 30}]
        score: 43
        reasons: [two_failures, tried_many]
      - {entity: "account:u2", signals: [{rule: many-accounts, weight: 20}], score: 20}
      - {entity: "account:u3", signals: [{rule: many-accounts, weight: 20}]}
  - name: what arrives late is in no window
    rules: [two-failures]
    events:
      - {at: 1s, delay: 5m, set: {account: ann, auth: failure, status: 401}}
      - {at: 0s, set: {account: ann, auth: failure, status: 401}}
      - {at: 4m, set: {account: bob, auth: failure, status: 401}}
    expect: []
  - name: what the gateway cannot have written
    events: [{at: 0s, set: {account: ann, tenant: "a\tb"}}]
    expect: []
`

func loaded(t testing.TB) (*rules.Set, []rules.Case) {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(groupRule)}}, detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	cases, err := rules.LoadTests(fstest.MapFS{"s.yaml": {Data: []byte(scenarios)}}, set)
	if err != nil {
		t.Fatal(err)
	}
	return set, cases
}

func TestScenariosGoThroughBothStages(t *testing.T) {
	set, cases := loaded(t)
	results, err := RunTests(set, cases)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results[:2] {
		for _, p := range r.Problems {
			t.Errorf("%s: %s", r.Test.Name, p)
		}
	}
	if p := results[2].Problems; len(p) != 1 || !strings.HasPrefix(p[0], "line 22: ingest does not read the event at 0s: it ") || !strings.Contains(p[0], "(tenant)") {
		t.Errorf("an event that is none: %q", p)
	}
	wrong := *cases[0].Test
	wrong.Expect = slices.Clone(wrong.Expect[1:])
	results, err = RunTests(set, []rules.Case{{File: "s.yaml", Test: &wrong}})
	if err != nil || len(results[0].Problems) != 1 || results[0].Problems[0] != "ip:203.0.113.9: many-accounts: 1 signal of weight up to 60, want none" {
		t.Errorf("somebody who is not expected: %+v, %v", results, err)
	}
}

// What comes out does not depend on how many facet partitions entities are spread
// over.
func TestPartitionsDecideNothing(t *testing.T) {
	set, _ := loaded(t)
	var first string
	for _, n := range []int{1, 2, 5} {
		o := Defaults(set)
		o.Partitions = n
		r, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			record := fmt.Sprintf(`{"id":"%d","time":"2026-01-01T00:00:%02dZ","ip":"203.0.113.9","account":"u%d","auth":"failure","status":401}`, i, i, i%4)
			if o, e, refusal, err := r.Record([]byte(record)); o != ingest.Accepted || e == nil || refusal != nil || err != nil {
				t.Fatal(o, refusal, err)
			}
		}
		var got []string
		for _, s := range r.Signals {
			got = append(got, fmt.Sprint(s.Entity, s.Group, s.Rule, s.Weight, s.Time, s.SourceOffset, s.Evidence))
		}
		for e, s := range r.outcome().Scores {
			got = append(got, fmt.Sprint(e, s, len(r.Score(r.Signals[0].Entity))))
		}
		slices.Sort(got)
		text := strings.Join(got, "\n")
		if n == 1 {
			first = text
		}
		if text != first || len(r.Signals) < 6 {
			t.Errorf("%d partitions:\n%s\nand one:\n%s", n, text, first)
		}
	}
}

// Records that a gateway sent again, or that our own decision refused, count for
// nothing.
func TestWhatFeedsNoRule(t *testing.T) {
	set, _ := loaded(t)
	r, err := New(Defaults(set))
	if err != nil {
		t.Fatal(err)
	}
	record := `{"id":"a","time":"2026-01-01T00:00:00Z","account":"u","auth":"failure","status":401}`
	for _, c := range []struct {
		record string
		want   ingest.Outcome
	}{
		{record, ingest.Accepted}, {record, ingest.Repeated}, {"{", ingest.Dead},
		{strings.Replace(record, `"a"`, `"b","decision":"d","decision_action":"deny"`, 1), ingest.Refused},
	} {
		got, _, refusal, err := r.Record([]byte(c.record))
		if got != c.want || (refusal != nil) != (c.want == ingest.Dead) || err != nil {
			t.Errorf("%s: %v, %v, %v, want %v", c.record, got, refusal, err, c.want)
		}
	}
	if len(r.Signals) != 0 || len(r.Scored()) != 0 {
		t.Errorf("signals %+v", r.Signals)
	}
}

// TestRecordsThatGoTogether come to the same as records one by one, and what comes of
// them can be shown instead of kept.
func TestRecordsThatGoTogether(t *testing.T) {
	set, _ := loaded(t)
	record := func(i int) []byte {
		return fmt.Appendf(nil, `{"id":"%d","time":"2026-01-01T00:00:%02dZ","ip":"203.0.113.9","account":"u%d","auth":"failure","status":401}`, i, i, i%4)
	}
	alone, err := New(Defaults(set))
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	o := Defaults(set)
	o.Partitions = 4
	o.Output = func(out *engine.Output) {
		for _, s := range out.Signals {
			shown = append(shown, s.Rule+" "+s.Entity.Key)
		}
	}
	together, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if _, _, refusal, err := alone.Record(record(i)); refusal != nil || err != nil {
			t.Fatal(refusal, err)
		}
		if what, _, _ := together.Take(record(i)); what != ingest.Accepted {
			t.Fatal(what)
		}
		if i%7 == 0 {
			if err := together.Apply(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := together.Pass(together.Latest() + 60_000); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, s := range alone.Signals {
		kept = append(kept, s.Rule+" "+s.Entity.Key)
	}
	slices.Sort(kept)
	slices.Sort(shown)
	if len(kept) == 0 || !slices.Equal(kept, shown) {
		t.Errorf("one by one %v, together %v", kept, shown)
	}
	if len(together.Signals) != 0 || together.Watermark() != together.Latest()+60_000 {
		t.Errorf("%d signals were kept, the watermark is %d", len(together.Signals), together.Watermark())
	}
	if n, bytes := together.State(); n != 5 || bytes <= 0 {
		t.Errorf("%d entities in %d bytes", n, bytes)
	}
}
