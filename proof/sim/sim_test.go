package sim

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/proof/oracle"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/proof/testrules"
	"github.com/weirdev/weir/rules"
)

var (
	oneSeed = flag.Uint64("sim.seed", 0, "run this seed alone")
	seeds   = flag.Int("sim.seeds", 300, "how many seeds to run")
	first   = flag.Uint64("sim.first", 1, "the first of them")
)

// simRules fire often on few events.
const simRules = `rules:
  - id: failures
    title: failures of an account
    description: failures of an account
    entity: account
    when: auth == "failure"
    counting: {window: 2s, tiers: [{at: 3, weight: 30}, {at: 6, weight: 60}], cooldown: 1s}
    signal: {category: account_takeover, reason: failures, half_life: 1m}
    phase: soft
    references: [https://example.org/]
    false_positives: [none]
  - id: breadth
    title: accounts that one address tries
    description: accounts that one address tries
    entity: ip
    when: auth in ["success", "failure"]
    counting: {window: 3s, count: auth == "failure", distinct: account, min_share: 20, tiers: [{at: 2, weight: 40}, {at: 3, weight: 80}], cooldown: 1s}
    members: {entity: account, weight: 25}
    signal: {category: account_takeover, reason: breadth, half_life: 2m}
    phase: enforce
    references: [https://example.org/]
    false_positives: [none]
  - id: visits
    title: visits from one address
    description: visits from one address
    entity: ip
    when: auth == "success"
    counting: {window: 4s, tiers: [{at: 4, weight: 20}], cooldown: 2s}
    signal: {category: bot, reason: visits, half_life: 30s}
    phase: observe
    references: [https://example.org/]
    false_positives: [none]
  - id: proven
    title: an account that signs in speaks for itself
    description: an account that signs in speaks for itself
    entity: account
    when: auth == "success"
    counting: {window: 2s, tiers: [{at: 2, weight: 35}], cooldown: 500ms}
    signal: {category: account_takeover, reason: proven, half_life: 1m, effect: lowers}
    phase: soft
    references: [https://example.org/]
    false_positives: [none]
`

// interleaved are rules whose signals depend on how the sources are interleaved in
// the facet log: usual behaviour is defined by earlier events, and a timer is due
// when all sources have passed it.
const interleaved = `  - id: given-up
    title: failures that end without a success
    description: failures that end without a success
    entity: account
    when: auth in ["success", "failure"]
    absence: {starts: auth == "failure", ends: auth == "success", within: 700ms, again: 1, weight: 45}
    members: {entity: ip, weight: 15}
    signal: {category: account_takeover, reason: given_up, half_life: 1m, asks: [revoke]}
    phase: soft
    references: [https://example.org/]
    false_positives: [none]
  - id: outlier
    title: an account that fails more often than others
    description: an account that fails more often than others
    entity: account
    when: auth in ["success", "failure"]
    outlier: {fails: auth == "failure", by: app_version, stretch: 2s, usual: 3s, every: 300ms, times: 1, weight: 55}
    signal: {category: account_takeover, reason: outlier, half_life: 1m}
    phase: soft
    references: [https://example.org/]
    false_positives: [none]
`

// edits turn the rules into other sets: the old text and its replacement.
var edits = [ruleSets - 1][][2]string{
	{
		{"{at: 3, weight: 30}, {at: 6, weight: 60}], cooldown: 1s", "{at: 4, weight: 60}], cooldown: 20s"},
		{"{at: 2, weight: 40}, {at: 3, weight: 80}], cooldown: 1s", "{at: 3, weight: 80}], cooldown: 20s"},
		{"half_life: 30s", "half_life: 5s"},
	}, {
		{"{at: 3, weight: 30}, {at: 6, weight: 60}], cooldown: 1s", "{at: 2, weight: 35}, {at: 3, weight: 50}, {at: 9, weight: 70}], cooldown: 20s"},
		{"window: 3s", "window: 6s"},
		{"min_share: 20, ", ""},
		{"window: 4s, tiers: [{at: 4, weight: 20}]", "window: 2s, tiers: [{at: 2, weight: 10}, {at: 5, weight: 30}]"},
		{"tiers: [{at: 2, weight: 35}], cooldown: 500ms", "tiers: [{at: 1, weight: 15}, {at: 3, weight: 50}], cooldown: 1s"},
	},
}

// interleavedEdits are the edits of the interleaved rules.
var interleavedEdits = [ruleSets - 1][][2]string{
	{{"within: 700ms, again: 1", "within: 400ms"}, {"every: 300ms, times: 1", "every: 100ms, times: 2"}},
	{{"again: 1, weight: 45", "again: 2, moves: 1, weight: 40"}, {"usual: 3s", "usual: 1s"}},
}

func loadRules(t testing.TB) []*rules.Set { return loadAllRules(t).plain }

// allRules are the rule sets of simulations without and with the interleaved rules.
type allRules struct{ plain, interleaved []*rules.Set }

func loadAllRules(t testing.TB) (all allRules) {
	text, more := simRules, interleaved
	for n := range ruleSets {
		if n > 0 {
			text, more = edited(t, simRules, edits[n-1]), edited(t, interleaved, interleavedEdits[n-1])
		}
		all.plain, all.interleaved = append(all.plain, loadSet(t, text)), append(all.interleaved, loadSet(t, text+more))
	}
	return all
}

func (a allRules) of(p Plan) []*rules.Set {
	if p.Interleaved {
		return a.interleaved
	}
	return a.plain
}

func loadSet(t testing.TB, text string) *rules.Set {
	t.Helper()
	set, err := rules.Load(fstest.MapFS{"sim.yaml": {Data: []byte(text)}}, append(testrules.Kinds(), oracle.ProofKinds()...))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func edited(t testing.TB, text string, edits [][2]string) string {
	t.Helper()
	for _, e := range edits {
		if strings.Count(text, e[0]) != 1 {
			t.Fatalf("%q does not stand there once", e[0])
		}
		text = strings.Replace(text, e[0], e[1], 1)
	}
	return text
}

func run(t *testing.T, plan Plan, sets []*rules.Set) (o Outcome) {
	synctest.Test(t, func(*testing.T) { o = Run(plan, sets) })
	return o
}

// report describes a failure, and how to reproduce it.
func report(t *testing.T, o Outcome, again string) {
	t.Helper()
	if len(o.Problems) == 0 {
		return
	}
	for _, p := range o.Problems[:min(len(o.Problems), 5)] {
		t.Errorf("%s", p)
	}
	t.Errorf("%d problems; again with\n\tgo test ./proof/sim %s\nthe last of what happened:\n%s", len(o.Problems), again, o.Trace)
}

// runSeed runs a seed's plan. If entities stay in one raw partition, it also runs it
// without disturbance: both must detect the same.
func runSeed(t *testing.T, seed uint64, all allRules) Outcome {
	plan := NewPlan(seed)
	sets := all.of(plan)
	o := run(t, plan, sets)
	if plan.Pinned && plan.Rules < 2 && !plan.Interleaved && len(o.Problems) == 0 {
		calm := run(t, plan.Undisturbed(), sets)
		o.Problems = append(o.Problems, calm.Problems...)
		if !slices.Equal(o.Signals, calm.Signals) {
			o.Problems = append(o.Problems, fmt.Sprintf("signals differ from those of an undisturbed run:\n%q\n%q", o.Signals, calm.Signals))
		}
		if !slices.Equal(o.Scores, calm.Scores) {
			o.Problems = append(o.Problems, fmt.Sprintf("scores differ from those of an undisturbed run:\n%q\n%q", o.Scores, calm.Scores))
		}
	}
	report(t, o, fmt.Sprintf("-run 'TestSim$' -sim.seed=%d", seed))
	return o
}

func TestSim(t *testing.T) {
	all := loadAllRules(t)
	if *oneSeed != 0 {
		runSeed(t, *oneSeed, all)
		return
	}
	counts, started := map[string]int{}, time.Now()
	n := share(*seeds)
	for i := range n {
		o := runSeed(t, *first+uint64(i), all)
		for k, n := range o.Counts {
			counts[k] += n
		}
		counts["effect"] += o.Effects
		if t.Failed() {
			return
		}
	}
	if n >= 100 {
		for _, what := range happens {
			if counts[what] == 0 {
				t.Errorf("in %d seeds there was never: %s", n, what)
			}
		}
	}
	t.Logf("%d seeds in %v: %v", n, time.Since(started).Round(time.Millisecond), counts)
}

// happens lists what must have occurred over many seeds. Otherwise a fault might
// exist only in the plans.
var happens = []string{
	"answer lost", "clock", "crash", "duplicate", "effect", "epoch", "epoch change", "epoch loaded", "fenced", "flush", "freeze", "late", "loop-back", "loop-back again", "older score refused", "other rules", "outdated", "rebalance",
	"restart", "retention", "signal", "skipped", "snapshot", "snapshot discarded", "spoil", "stall", "stray", "rule given-up", "rule outlier", "rule proven", "switch", "torn", "verdict", "watched", "control",
}

// share returns a tenth of n in a short run, and under the race detector, which is
// ten times slower.
func share(n int) int {
	if testing.Short() || testkit.Raced {
		return max(n/10, 1)
	}
	return n
}

// stride returns the distance between the effects at which a worker is killed: 1 if
// every crash point is to be tried.
func stride() int {
	if testing.Short() || testkit.Raced {
		return 20
	}
	return 1
}
