package dryrun

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/rules"
)

const excepting = `rules:
  - id: two-failures
    title: two failures
    entity: account
    when: auth == "failure"
    sliding_window: {window: 1m, tiers: [{at: 2, weight: 30}]}
    signal: {category: account_takeover, reason: two_failures, half_life: 10m}
    phase: soft
    exceptions:
      - {when: status == 403, owner: ann, reason: the gateway's own, expires: 2027-01-01}
      - {when: client_ip in cidr("203.0.113.0/24"), owner: bob, reason: our tests, expires: 2027-01-01}
      - {when: "true", owner: bob, reason: it was over long ago, expires: 2025-12-31}
    tests:
      - name: is found
        events: [{at: 0s, every: 1s, repeat: 2, set: {account: ann, auth: failure}}]
        expect: [{entity: ann, weight: 30}]
      - name: is excepted
        events: [{at: 0s, every: 1s, repeat: 2, set: {account: ann, auth: failure, status: 403}}]
        expect: []
      - name: is hidden by one of two events
        events:
          - {at: 0s, set: {account: ann, auth: failure}}
          - {at: 1s, set: {account: ann, auth: failure, client_ip: 203.0.113.9}}
        expect: [{entity: ann, weight: 30}]
      - name: would not be found anyway
        events: [{at: 0s, set: {account: ann, auth: failure}}]
        expect: [{entity: ann, weight: 30}]
`

func TestATestSaysWhichExceptionHidesWhatItExpects(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(excepting)}}, detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	results, err := RunTests(set, set.Cases())
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{
		nil, nil,
		{"ann: no signal, want one of weight 30", "the exception in line 11 (our tests, for bob) hides it"},
		{"ann: no signal, want one of weight 30"},
	} {
		if got := results[i].Problems; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", results[i].Test.Name, got, want)
		}
	}
}
