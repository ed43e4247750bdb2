package dryrun

import (
	"testing"
	"testing/fstest"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/rules"
)

// TestDefaultRules runs the tests that stand in the built-in rules.
func TestDefaultRules(t *testing.T) {
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	results, err := RunTests(set, set.Cases())
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]int{}
	for _, r := range results {
		tested[r.Test.Rule]++
		t.Run(r.Test.Rule+"/"+r.Test.Name, func(t *testing.T) {
			for _, p := range r.Problems {
				t.Error(p)
			}
		})
	}
	for _, r := range set.Rules {
		if tested[r.ID] < 4 {
			t.Errorf("%s has %d tests", r.ID, tested[r.ID])
		}
	}
}

// TestRunTestsFails makes sure that a test that is wrong is seen to be.
func TestRunTestsFails(t *testing.T) {
	set, err := rules.Load(fstest.MapFS{"a.yaml": {Data: []byte(`rules:
  - id: two-failures
    title: two failures
    description: two failures within a minute
    entity: account
    when: auth == "failure"
    sliding_window: {window: 1m, tiers: [{at: 2, weight: 30}], cooldown: 1m}
    signal: {category: account_takeover, reason: two_failures, half_life: 10m}
    phase: soft
    references: [https://example.org/]
    false_positives: [none]
    tests:
      - name: right
        events: [{at: 0s, every: 1s, repeat: 2, set: {account: ann, auth: failure}}]
        expect: [{entity: ann, weight: 30}]
      - name: wrong weight
        events: [{at: 0s, every: 1s, repeat: 2, set: {account: ann, auth: failure}}]
        expect: [{entity: ann, weight: 31}]
      - name: not to be expected
        events: [{at: 0s, every: 61s, repeat: 2, set: {account: ann, auth: failure}}]
        expect: [{entity: ann, weight: 30}]
      - name: not expected
        events: [{at: 0s, every: 1s, repeat: 2, set: {account: ann, auth: failure}}]
        expect: []
`)}}, detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	results, err := RunTests(set, set.Cases())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if passed := len(r.Problems) == 0; passed != (r.Test.Name == "right") {
			t.Errorf("%s: problems %q", r.Test.Name, r.Problems)
		}
	}
	if len(results) != 4 {
		t.Errorf("%d results", len(results))
	}
}
