package gate

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

func TestActionsAreListedFromTheMildestToTheStrictest(t *testing.T) {
	var names []string
	for _, a := range Actions() {
		names = append(names, a.String())
	}
	if got := strings.Join(names, " "); got != "allow tag throttle challenge step_up deny" || len(Actions()) != len(actionNames) {
		t.Errorf("got %s", got)
	}
	if !slices.IsSorted(Actions()) {
		t.Error("the strictest of several is not the greatest")
	}
}

// TestOfSeveralThatAreCalledForTheStrictestIsTaken: by different entities, by the
// store's absence, and under each mode.
func TestOfSeveralThatAreCalledForTheStrictestIsTaken(t *testing.T) {
	mild, harsh := facet.Entity{Kind: facet.Account, Key: "mild"}, facet.Entity{Kind: facet.IP, Key: "harsh"}
	for _, tc := range []struct {
		name        string
		mild, harsh uint8 // weights of enforced rules; 0: nothing known
		partial     bool  // one more value is no score
		closed      string
		mode        string
		action      Action
		would       Action
	}{
		{"the harsher entity counts", 45, 90, false, "step_up", "enforce", Deny, Deny},
		{"an innocent one takes nothing off", 0, 60, false, "step_up", "enforce", Challenge, Challenge},
		{"what is not known makes it stricter", 45, 0, true, "step_up", "enforce", StepUp, StepUp},
		{"but never milder", 0, 90, true, "step_up", "enforce", Deny, Deny},
		{"the mode caps it in the end", 45, 90, true, "step_up", "soft", StepUp, Deny},
		{"observe allows all", 45, 90, true, "deny", "observe", Allow, Deny},
		{"a closed action below what rules want does not count", 60, 0, true, "throttle", "enforce", Challenge, Challenge},
	} {
		for _, order := range [][]facet.Entity{{mild, harsh}, {harsh, mild}} {
			t.Run(tc.name+", "+order[0].Key+" first", func(t *testing.T) {
				m := &memory{scores: map[facet.Entity][]score.Contribution{}}
				for e, w := range map[facet.Entity]uint8{mild: tc.mild, harsh: tc.harsh} {
					if w > 0 {
						m.scores[e] = []score.Contribution{contribution("a", rules.Enforce, w)}
					}
				}
				if tc.partial {
					m.partial = errors.New("forged")
				}
				g := newGate(t, m, func(c *Config) { c.OnUnknown, c.ClosedAction, c.Phase = "closed", tc.closed, tc.mode })
				if d := g.Decide(t.Context(), Request{Entities: order}); d.Action != tc.action || d.Would != tc.would || d.Degraded != tc.partial {
					t.Errorf("%v, would %v, degraded %v; want %v, would %v", d.Action, d.Would, d.Degraded, tc.action, tc.would)
				}
			})
		}
	}
}

func TestActionsHaveNames(t *testing.T) {
	for _, a := range Actions() {
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Action
		if err := json.Unmarshal(text, &back); err != nil || back != a {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	if _, err := ParseAction("explode"); err == nil {
		t.Error("an unknown action was taken")
	}
	if _, err := (Deny + 1).MarshalText(); err == nil || (Deny+1).String() != "unknown" {
		t.Error("an action that does not exist has a name")
	}
}

func TestThresholds(t *testing.T) {
	p := Defaults().Policy
	for _, tc := range []struct {
		points int
		action Action
		level  Level
	}{
		{0, Allow, Low}, {19, Allow, Low}, {20, Tag, Low}, {39, Tag, Low}, {40, Throttle, Medium}, {54, Throttle, Medium},
		{55, Challenge, Medium}, {69, Challenge, Medium}, {70, StepUp, High}, {84, StepUp, High}, {85, Deny, Critical}, {100, Deny, Critical},
	} {
		if a, l := p.action(tc.points), p.level(tc.points); a != tc.action || l != tc.level {
			t.Errorf("%d points: %v %v, want %v %v", tc.points, a, l, tc.action, tc.level)
		}
	}
	none := Policy{never, never, never, never, never}
	if a := none.action(100); a != Allow {
		t.Errorf("thresholds of never: %v", a)
	}
}

func contribution(rule string, phase rules.Phase, weight uint8) score.Contribution {
	return score.Contribution{Rule: rule, Category: "bot", Reason: "why", Phase: phase, Weight: weight, HalfLife: 3600, Time: 0}
}

func lowering(rule string, phase rules.Phase, weight uint8) score.Contribution {
	c := contribution(rule, phase, weight)
	c.Lowers, c.Category = true, rules.AnyCategory
	return c
}

// The score that is shown goes with the action, and what lowers it is named last.
func TestARuleOnTrialHidesNoScore(t *testing.T) {
	list := []score.Contribution{contribution("a", rules.Enforce, 90), lowering("b", rules.Soft, 100), lowering("c", rules.Observe, 100)}
	var r risk
	r.add(list, 0)
	if r.acting.Total.Points() != 90 || r.acting.Category("bot").Points() != 90 || r.all.Total != 0 {
		t.Errorf("acting %d, all %d", r.acting.Total.Points(), r.all.Total.Points())
	}
	reasons := reasonsOf([]facet.Entity{{Kind: facet.IP}}, []score.Value{{Contributions: list}}, 0, maxReasons)
	if len(reasons) != 3 || reasons[0].Rule != "a" || reasons[0].Lowers || !reasons[1].Lowers || !reasons[2].Lowers {
		t.Errorf("reasons %+v", reasons)
	}
}

func TestPhasesLimitWhatRulesCause(t *testing.T) {
	p := Defaults().Policy
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
			if got := p.Decide(tc.list, 0); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			var enforced []score.Contribution
			for _, c := range tc.list {
				if c.Phase == rules.Enforce {
					enforced = append(enforced, c)
				}
			}
			if got, want := p.Enforced(tc.list, 0), p.Decide(enforced, 0); got != want {
				t.Errorf("by rules in phase enforce alone: got %v, want %v", got, want)
			}
		})
	}
}

func TestMoreEvidenceNeverMakesADecisionMilder(t *testing.T) {
	phases := []rules.Phase{rules.Observe, rules.Soft, rules.Enforce}
	rapid.Check(t, func(t *rapid.T) {
		p, last, lastRisk := Defaults().Policy, Allow, risk{}
		for range rapid.IntRange(1, 4).Draw(t, "entities") {
			list := []score.Contribution{}
			for _, rule := range []string{"a", "b", "c"} {
				list = append(list, contribution(rule, rapid.SampledFrom(phases).Draw(t, "phase"), uint8(rapid.IntRange(1, 100).Draw(t, "weight"))))
			}
			lastRisk.add(list, rapid.Int64Range(0, 10_000_000).Draw(t, "now"))
			a := p.decide(&lastRisk)
			if a < last {
				t.Fatalf("from %v to %v with one entity more", last, a)
			}
			last = a
		}
	})
}

func TestConfigMistakesAreNamed(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	for name, tc := range map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"no address":                    {func(c *Config) { c.Listen = "here" }, "gate.listen"},
		"thresholds that fall":          {func(c *Config) { c.Policy.StepUp = 50 }, "gate.policy.step_up"},
		"a threshold of nothing":        {func(c *Config) { c.Policy.Tag = 0 }, "gate.policy.tag"},
		"a threshold beyond never":      {func(c *Config) { c.Policy.Deny = 102 }, "gate.policy.deny"},
		"an unknown phase":              {func(c *Config) { c.Phase = "eager" }, "gate.phase"},
		"neither open nor closed":       {func(c *Config) { c.OnUnknown = "ajar" }, "gate.on_unknown"},
		"closed that lets through":      {func(c *Config) { c.ClosedAction = "tag" }, "gate.closed_action"},
		"no time to look up":            {func(c *Config) { c.Budget = 0 }, "gate.budget"},
		"no look-ups":                   {func(c *Config) { c.MaxLookups = 0 }, "gate.max_lookups"},
		"a breaker that is always open": {func(c *Config) { c.BreakerFailures = 0 }, "gate.breaker_failures"},
		"a breaker without a pause":     {func(c *Config) { c.BreakerPause = 0 }, "gate.breaker_pause"},
		"decisions of the past":         {func(c *Config) { c.CacheFor = -time.Second }, "gate.cache_for"},
		"a client that waits a day":     {func(c *Config) { c.RetryAfter = 24 * time.Hour }, "gate.retry_after"},
		"decisions for ever":            {func(c *Config) { c.CacheFor = time.Hour }, "gate.cache_for"},
		"half seconds":                  {func(c *Config) { c.RetryAfter = 1500 * time.Millisecond }, "gate.retry_after"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Defaults()
			tc.spoil(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if _, err := New(c, Dependencies{Reader: &memory{}}); err == nil {
				t.Error("New took it")
			}
		})
	}
	equal := Defaults()
	equal.Policy = Policy{Tag: 50, Throttle: 50, Challenge: 50, StepUp: never, Deny: never}
	if err := equal.Validate(); err != nil {
		t.Errorf("thresholds that are equal, to leave an action out: %v", err)
	}
	if _, err := New(Defaults(), Dependencies{}); err == nil {
		t.Error("a gate without a reader")
	}
}
