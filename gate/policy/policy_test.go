package policy

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/problem"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

var update = flag.Bool("update", false, "write golden files")

var loaded = sync.OnceValues(func() (*rules.Set, error) { return rules.Default(detectors.All()) })

// words returns the vocabulary of the built-in rules.
func words(t testing.TB) *rules.Set {
	t.Helper()
	set, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func parsed(t testing.TB, text string) *Set {
	t.Helper()
	set, err := Parse("policy.yaml", []byte(text), words(t))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func builtInSet(t testing.TB) *Set {
	t.Helper()
	set, err := Load("", words(t))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func contribution(rule string, phase rules.Phase, weight uint8) score.Contribution {
	return score.Contribution{Rule: rule, Category: "bot", Reason: "why", Phase: phase, Weight: weight, HalfLife: 3600, Time: 0}
}

func lowering(rule string, phase rules.Phase, weight uint8) score.Contribution {
	c := contribution(rule, phase, weight)
	c.Lowers, c.Category = true, rules.AnyCategory
	return c
}

func riskOf(list ...score.Contribution) *Risk {
	var r Risk
	r.Add(list, 0)
	return &r
}

func TestBuiltInPoliciesPassTheirTests(t *testing.T) {
	set := builtInSet(t)
	if len(set.Tests) == 0 {
		t.Fatal("there are none")
	}
	for i := range set.Tests {
		if wrong := set.Run(&set.Tests[i]); len(wrong) > 0 {
			t.Errorf("%s: %s", set.Tests[i].Name, strings.Join(wrong, "; "))
		}
	}
}

func TestThresholds(t *testing.T) {
	p := builtInSet(t).Last().Score
	for _, tc := range []struct {
		points int
		action Action
		level  Level
	}{
		{0, Allow, Low}, {19, Allow, Low}, {20, Tag, Low}, {39, Tag, Low}, {40, Throttle, Medium}, {54, Throttle, Medium},
		{55, Challenge, Medium}, {69, Challenge, Medium}, {70, StepUp, High}, {84, StepUp, High}, {85, Deny, Critical}, {100, Deny, Critical},
	} {
		if a, l := p.Action(tc.points), p.Level(tc.points); a != tc.action || l != tc.level {
			t.Errorf("%d points: %v %v, want %v %v", tc.points, a, l, tc.action, tc.level)
		}
	}
	none := Thresholds{never, never, never, never, never}
	if a := none.Action(100); a != Allow {
		t.Errorf("thresholds of never: %v", a)
	}
}

func TestPhasesLimitWhatRulesCause(t *testing.T) {
	p := builtInSet(t).Last()
	for _, tc := range []struct {
		name string
		list []score.Contribution
		want Action
	}{
		{"nothing known", nil, Allow},
		{"an enforced rule acts fully", []score.Contribution{contribution("a", rules.Enforce, 90)}, Deny},
		{"a soft rule acts up to step-up", []score.Contribution{contribution("a", rules.Soft, 100)}, StepUp},
		{"a soft rule acts by its score below that", []score.Contribution{contribution("a", rules.Soft, 45)}, Throttle},
		{"an observed rule never acts", []score.Contribution{contribution("a", rules.Observe, 100)}, Allow},
		{"soft evidence does not lift enforced evidence to deny",
			[]score.Contribution{contribution("a", rules.Enforce, 60), contribution("b", rules.Soft, 90)}, StepUp},
		{"observed evidence adds nothing",
			[]score.Contribution{contribution("a", rules.Enforce, 60), contribution("b", rules.Observe, 90)}, Challenge},
		{"an enforced rule lowers all that acts",
			[]score.Contribution{contribution("a", rules.Enforce, 90), lowering("b", rules.Enforce, 90)}, Allow},
		{"a soft rule lowers what soft rules say",
			[]score.Contribution{contribution("a", rules.Soft, 90), lowering("b", rules.Soft, 90)}, Allow},
		{"a soft rule lowers nothing that enforced rules say",
			[]score.Contribution{contribution("a", rules.Enforce, 90), lowering("b", rules.Soft, 100)}, Deny},
		{"an observed rule lowers nothing",
			[]score.Contribution{contribution("a", rules.Soft, 100), lowering("b", rules.Observe, 100)}, StepUp},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := p.Action(riskOf(tc.list...)); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			var enforced []score.Contribution
			for _, c := range tc.list {
				if c.Phase == rules.Enforce {
					enforced = append(enforced, c)
				}
			}
			if got, want := p.Enforced(riskOf(tc.list...)), p.Action(riskOf(enforced...)); got != want {
				t.Errorf("by rules in phase enforce alone: got %v, want %v", got, want)
			}
		})
	}
}

// The displayed score matches the action.
func TestARuleOnTrialHidesNoScore(t *testing.T) {
	r := riskOf(contribution("a", rules.Enforce, 90), lowering("b", rules.Soft, 100), lowering("c", rules.Observe, 100))
	if r.Acting.Total.Points() != 90 || r.Acting.Category("bot").Points() != 90 || r.All.Total != 0 {
		t.Errorf("acting %d, all %d", r.Acting.Total.Points(), r.All.Total.Points())
	}
}

func TestMoreEvidenceNeverMakesADecisionMilder(t *testing.T) {
	phases := []rules.Phase{rules.Observe, rules.Soft, rules.Enforce}
	set := parsed(t, exampleFile)
	rapid.Check(t, func(t *rapid.T) {
		p, last, risk := rapid.SampledFrom(set.Policies).Draw(t, "policy"), Allow, Risk{}
		for range rapid.IntRange(1, 4).Draw(t, "entities") {
			list := []score.Contribution{}
			for _, rule := range []string{"a", "b", "c"} {
				list = append(list, contribution(rule, rapid.SampledFrom(phases).Draw(t, "phase"), uint8(rapid.IntRange(1, 100).Draw(t, "weight"))))
			}
			risk.Add(list, rapid.Int64Range(0, 10_000_000).Draw(t, "now"))
			a := p.Action(&risk)
			if a < last {
				t.Fatalf("from %v to %v with one entity more", last, a)
			}
			last = a
		}
	})
}

const exampleFile = `
policies:
  - id: partner
    when: tenant == "partner"
    phase: observe
    score: {deny: 50}
    failure: open
  - id: old-apps
    when: app_version.startsWith("3.") && route_class == "login"
    score: {step_up: 30}
    failure: last_known_good
    failure_action: challenge
  - id: strict-logins
    when: route_class == "login"
    share: {percent: 25, of: account}
    score: {challenge: 20, deny: 60}
    failure: closed
    failure_action: step_up
    budget: 5ms
  - id: payment
    when: route_class in ["payment", "withdrawal"] && attestation_level in ["", "none", "basic"]
    categories:
      fraud: {step_up: 30, deny: 60}
    score: {deny: 90}
    always: step_up
    phase: soft
    failure: closed
  - id: others
    score: {tag: 20, throttle: 40, challenge: 55, step_up: 70, deny: 85}
    failure: open
    retry_after: 30s

tests:
  - name: a partner is only watched
    request: {tenant: partner, method: POST, route: /login}
    risk: [{category: bot, weight: 80}]
    expect: {policy: partner, action: allow, would: deny}
  - name: old apps are asked for more proof earlier
    request: {method: POST, route: /api/v1/login, app_version: 3.1.4}
    risk: [{category: bot, weight: 35}]
    expect: {policy: old-apps, action: step_up}
  - name: old apps go by what was known
    request: {method: POST, route: /login, app_version: 3.1.4}
    known: earlier
    risk: [{category: bot, weight: 35}]
    expect: {action: step_up}
  - name: old apps of which nothing is known are asked for proof of a human
    request: {method: POST, route: /login, app_version: 3.1.4}
    known: nothing
    expect: {action: challenge}
  - name: a login in the share
    request: {method: POST, route: /login}
    risk: [{category: bot, weight: 60}]
    expect: {policy: strict-logins, action: deny}
  - name: a login that is not
    request: {method: POST, route: /login}
    risk: [{category: bot, weight: 60}]
    outside: [strict-logins]
    expect: {policy: others, action: challenge}
  - name: a login in the share, without a look-up
    request: {method: POST, route: /login}
    known: nothing
    expect: {action: step_up}
  - name: a payment without attestation
    request: {method: POST, route: /payments}
    expect: {policy: payment, action: step_up}
  - name: a fraudulent one, which the phase holds back
    request: {method: POST, route: /payments, attestation_level: basic}
    risk: [{category: fraud, weight: 65}]
    expect: {policy: payment, action: step_up, would: deny}
  - name: a payment without a look-up
    request: {method: POST, route: /payments}
    known: nothing
    expect: {action: step_up, would: deny}
  - name: an attested payment
    request: {method: POST, route: /payments, attestation_level: strong}
    risk: [{category: fraud, weight: 65}]
    expect: {policy: others, action: challenge}
`

func TestTheExampleDoesWhatItsTestsSay(t *testing.T) {
	set := parsed(t, exampleFile)
	if len(set.Tests) != 11 {
		t.Fatalf("%d tests", len(set.Tests))
	}
	for i := range set.Tests {
		if wrong := set.Run(&set.Tests[i]); len(wrong) > 0 {
			t.Errorf("%s: %s", set.Tests[i].Name, strings.Join(wrong, "; "))
		}
	}
	strict, others := &set.Policies[2], set.Last()
	if strict.Budget != 5*time.Millisecond || others.Budget != defaultBudget || others.RetryAfter != 30*time.Second || strict.RetryAfter != defaultRetry {
		t.Errorf("budgets %v and %v, retry after %v and %v", strict.Budget, others.Budget, strict.RetryAfter, others.RetryAfter)
	}
}

func TestATestThatFailsSaysWhatIsDifferent(t *testing.T) {
	set := parsed(t, `
policies: [{id: all, score: {deny: 50}, failure: open, phase: soft}, ]
tests:
  - name: wrong
    risk: [{category: bot, weight: 60}]
    expect: {action: allow, would: allow, policy: all}
`)
	got := strings.Join(set.Run(&set.Tests[0]), "; ")
	want := "the action is step_up, want allow (by the policy all); it would be deny if every phase were enforce, want allow (by the policy all)"
	if got != want {
		t.Errorf("got %s", got)
	}
}

func TestSharesGrowAndAreTheSameEverywhere(t *testing.T) {
	one, other := NewHashed([16]byte{1}), NewHashed([16]byte{1})
	in := func(h Hashed, id string, percent, n int) bool {
		p := &Policy{ID: id, Share: Share{Percent: percent, Of: facet.Account}}
		return h.Holds(p, []facet.Entity{{Kind: facet.IP, Key: "203.0.113.9"}, {Kind: facet.Account, Tenant: "shop", Key: fmt.Sprint("user-", n)}})
	}
	const people = 20_000
	before := make([]bool, people)
	for _, percent := range []int{0, 1, 10, 25, 50, 99, 100} {
		count := 0
		for n := range people {
			now := in(one, "trial", percent, n)
			if before[n] && !now {
				t.Fatalf("user %d was in, and is not at %d %%", n, percent)
			}
			if now != in(other, "trial", percent, n) {
				t.Fatalf("user %d: two gates differ", n)
			}
			if now {
				count++
			}
			before[n] = now
		}
		if want := people * percent / 100; count < want-500 || count > want+500 {
			t.Errorf("%d %%: %d of %d", percent, count, people)
		}
	}
	same := 0
	for n := range people {
		if in(one, "trial", 50, n) == in(one, "other", 50, n) {
			same++
		}
	}
	if same < people*45/100 || same > people*55/100 {
		t.Errorf("the shares of two policies go together: %d of %d", same, people)
	}
	if one.Holds(&Policy{ID: "trial", Share: Share{Percent: 100, Of: facet.Device}}, []facet.Entity{{Kind: facet.Account, Key: "a"}}) {
		t.Error("a request without a device is in a share of devices")
	}
}

func TestMistakesSayWhereWhatAndWhatToDo(t *testing.T) {
	files, err := filepath.Glob("testdata/wrong/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	w := words(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse("policy.yaml", data, w)
			var problems *problem.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", problems.Error()+"\n")
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; `make generate` writes it anew. Got:\n%s", file, got)
	}
}

func TestTheSchemaIsUpToDate(t *testing.T) { golden(t, "schema.json", string(Schema())) }

func TestTheReferenceInTheDocumentationIsUpToDate(t *testing.T) {
	const name, start, end = "../../docs/policy.md", "<!-- reference: generated by make generate -->\n", "<!-- end of reference -->"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), start)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the marks of the reference", name)
	}
	golden(t, name, before+start+"\n"+Reference()+"\n"+end+after)
}

func TestTheExampleOfTheDocumentationHolds(t *testing.T) {
	data, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "```yaml\npolicies:")
	example, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("there is no example")
	}
	set := parsed(t, "policies:"+example)
	if len(set.Tests) == 0 {
		t.Fatal("it has no tests")
	}
	for i := range set.Tests {
		if wrong := set.Run(&set.Tests[i]); len(wrong) > 0 {
			t.Errorf("%s: %s", set.Tests[i].Name, strings.Join(wrong, "; "))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(exampleFile))
	f.Add(builtIn)
	f.Add([]byte(limitsFile))
	f.Add([]byte("policies: [{id: a, failure: closed, failure_action: tag, share: {percent: 101, of: x}}]"))
	f.Add([]byte("policies: &a [*a]"))
	w := words(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := Parse("policy.yaml", data, w)
		if err != nil {
			var problems *problem.Problems
			if !errors.As(err, &problems) || problems.Error() == "" {
				t.Fatalf("an error that tells nothing: %v", err)
			}
			return
		}
		if p := set.For(Request{Event: new(event.Event)}, everyone{}); p == nil || p.Action(&Risk{}) < p.Always {
			t.Fatalf("%+v", p)
		}
		for i := range set.Tests {
			set.Run(&set.Tests[i])
		}
	})
}

func BenchmarkFor(b *testing.B) {
	set := parsed(b, exampleFile)
	e := new(event.Event)
	e.SetText(event.Method, "POST")
	e.SetText(event.Route, "/api/v1/login")
	r, in := Request{Event: e, Entities: []facet.Entity{{Kind: facet.Account, Key: "alice"}}}, NewHashed([16]byte{})
	b.ReportAllocs()
	for b.Loop() {
		set.For(r, in)
	}
}

func TestThresholdsMayBeEqualOrAbsent(t *testing.T) {
	p := parsed(t, "policies: [{id: all, score: {tag: 50, throttle: 50, deny: 50}, failure: open}]").Last()
	if p.Score != (Thresholds{50, 50, never, never, 50}) || p.Score.Action(50) != Deny || p.Score.Action(49) != Allow {
		t.Errorf("%+v", p.Score)
	}
}
