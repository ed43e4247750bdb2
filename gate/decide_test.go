package gate

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// TestOfSeveralThatAreCalledForTheStrictestIsTaken checks this across entities,
// with the store away, and under each mode.
func TestOfSeveralThatAreCalledForTheStrictestIsTaken(t *testing.T) {
	mild, harsh := facet.Entity{Kind: facet.Account, Key: "mild"}, facet.Entity{Kind: facet.IP, Key: "harsh"}
	for _, tc := range []struct {
		name        string
		mild, harsh uint8 // weights of enforced rules; 0: nothing known
		partial     bool  // one more stored value is damaged
		closed      string
		mode        string
		action      policy.Action
		would       policy.Action
	}{
		{"the harsher entity counts", 45, 90, false, "step_up", "enforce", policy.Deny, policy.Deny},
		{"an innocent one takes nothing off", 0, 60, false, "step_up", "enforce", policy.Challenge, policy.Challenge},
		{"what is not known makes it stricter", 45, 0, true, "step_up", "enforce", policy.StepUp, policy.StepUp},
		{"but never milder", 0, 90, true, "step_up", "enforce", policy.Deny, policy.Deny},
		{"the mode caps it in the end", 45, 90, true, "step_up", "soft", policy.StepUp, policy.Deny},
		{"observe allows all", 45, 90, true, "deny", "observe", policy.Allow, policy.Deny},
		{"a closed action below what rules want does not count", 60, 0, true, "throttle", "enforce", policy.Challenge, policy.Challenge},
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
					order = append(slices.Clone(order), facet.Entity{Kind: facet.Device, Key: "odd"})
				}
				g := newGateWith(t, m, onlyFailure("failure: closed, failure_action: "+tc.closed), func(c *Config) { c.Phase = tc.mode })
				if d := g.Decide(t.Context(), Request{Entities: order}); d.Action != tc.action || d.Would != tc.would || d.Degraded != tc.partial {
					t.Errorf("%v, would %v, degraded %v; want %v, would %v", d.Action, d.Would, d.Degraded, tc.action, tc.would)
				}
			})
		}
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

// This also holds if the rules on trial leave nothing of the score.
func TestWhatLowersIsNamedLast(t *testing.T) {
	list := []score.Contribution{contribution("a", rules.Enforce, 90), lowering("b", rules.Soft, 100), lowering("c", rules.Observe, 100)}
	reasons := reasonsOf([]facet.Entity{{Kind: facet.IP}}, []lookup.Found{{Value: &score.Value{Contributions: list}}}, 0, maxReasons)
	if len(reasons) != 3 || reasons[0].Rule != "a" || reasons[0].Lowers || !reasons[1].Lowers || !reasons[2].Lowers {
		t.Errorf("reasons %+v", reasons)
	}
}

func TestConfigMistakesAreNamed(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	for name, tc := range map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"an unknown phase":      {func(c *Config) { c.Phase = "eager" }, "gate.phase"},
		"no look-ups":           {func(c *Config) { c.Lookup.MaxLookups = 0 }, "gate.max_lookups"},
		"decisions of the past": {func(c *Config) { c.CacheFor = -time.Second }, "gate.cache_for"},
		"decisions for ever":    {func(c *Config) { c.CacheFor = time.Hour }, "gate.cache_for"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Defaults()
			tc.spoil(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if _, err := New(c, dependencies(t, &memory{}, "")); err == nil {
				t.Error("New took it")
			}
		})
	}
	if _, err := New(Defaults(), Dependencies{}); err == nil {
		t.Error("a gate without a reader")
	}
}

func TestTheFirstPolicyForARequestDecides(t *testing.T) {
	const text = `
policies:
  - {id: login, when: route_class == "login", score: {challenge: 20}, failure: closed, failure_action: challenge, retry_after: 7s}
  - {id: shared, share: {percent: 100, of: device}, phase: soft, always: throttle, failure: open, retry_after: 7s}
  - {id: others, score: {deny: 100}, failure: open}
`
	m := attack()
	g := newGateWith(t, m, text, nil)
	post := event.Event{}
	post.SetText(event.Method, "POST")
	post.SetText(event.Route, "/api/v2/login")
	for _, tc := range []struct {
		name    string
		request Request
		policy  string
		action  policy.Action
		mode    rules.Phase
		retry   int
	}{
		{"a login", Request{Event: &post, Entities: []facet.Entity{attacker}}, "login", policy.Challenge, rules.Enforce, 0},
		{"one with a device", Request{Entities: []facet.Entity{{Kind: facet.Device, Key: "d"}}}, "shared", policy.Throttle, rules.Soft, 7},
		{"any other", Request{Entities: []facet.Entity{attacker}}, "others", policy.Allow, rules.Enforce, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := g.Decide(t.Context(), tc.request)
			if d.Policy != tc.policy || d.Action != tc.action || d.Mode != tc.mode || d.RetryAfter != tc.retry || len(d.PolicyVersion) != 16 {
				t.Errorf("got %+v", d)
			}
		})
	}
	m.fail = errors.New("away")
	if d := g.Decide(t.Context(), Request{Event: &post, Entities: []facet.Entity{attacker}}); d.Action != policy.Challenge || !d.Degraded {
		t.Errorf("a login without the store: %+v", d)
	}
}
