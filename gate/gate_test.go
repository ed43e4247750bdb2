package gate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// memory is a score store that fails on demand.
type memory struct {
	mu      sync.Mutex
	scores  map[facet.Entity][]score.Contribution
	fail    error
	hang    bool // until the context ends
	partial error
	asked   int
}

func (m *memory) Fetch(ctx context.Context, keys []string) ([]score.Value, []bool, error) {
	m.mu.Lock()
	m.asked++
	fail, hang, partial := m.fail, m.hang, m.partial
	m.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	if fail != nil {
		return nil, nil, fail
	}
	values, bad := make([]score.Value, len(keys)), make([]bool, len(keys))
	for e, list := range m.scores {
		if i := slices.Index(keys, codec.Key(e)); i >= 0 {
			values[i] = score.Value{Kind: e.Kind, Expires: 1000, Contributions: list}
		}
	}
	for i := range values {
		bad[i] = partial != nil && values[i].Kind == 0
	}
	return values, bad, nil
}

func (m *memory) Follow(ctx context.Context, _ score.Hearer) error {
	<-ctx.Done()
	return nil
}

// codec is that of all gates in tests.
var codec = score.NewCodec([]byte("a secret for tests only"), "weir:risk")

func (m *memory) Ready(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fail
}

var (
	attacker = facet.Entity{Kind: facet.IP, Tenant: "shop", Key: "203.0.113.9"}
	victim   = facet.Entity{Kind: facet.Account, Tenant: "shop", Key: "alice"}
)

func attack() *memory {
	return &memory{scores: map[facet.Entity][]score.Contribution{
		attacker: {
			{Rule: "credential-stuffing-ip", Category: "account_takeover", Reason: "many_accounts", Phase: rules.Enforce, Weight: 90, HalfLife: 3600},
			{Rule: "trial", Category: "bot", Reason: "looks_odd", Phase: rules.Observe, Weight: 50, HalfLife: 3600},
		},
		victim: {{Rule: "login-brute-force", Category: "account_takeover", Reason: "many_failures", Phase: rules.Soft, Weight: 45, HalfLife: 3600}},
	}}
}

// words holds the built-in rules' vocabulary, which takes a while to load.
var words = sync.OnceValues(func() (*rules.Set, error) { return rules.Default(detectors.All()) })

// policies parses a text; "" means the built-in policies.
func policies(t testing.TB, text string) *policy.Set {
	t.Helper()
	w, err := words()
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Load("", w)
	if text != "" {
		set, err = policy.Parse("policy.yaml", []byte(text), w)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "budget") { // a busy machine is not what the test is about
		for i := range set.Policies {
			set.Policies[i].Budget = 2 * time.Second
		}
	}
	return set
}

// onlyFailure returns policies like the built-in ones, except for their failure
// behaviour on all routes, and on some.
func onlyFailure(all string, routes ...string) string {
	const score = "score: {tag: 20, throttle: 40, challenge: 55, step_up: 70, deny: 85}, "
	text := "policies:\n"
	for i := 0; i+1 < len(routes); i += 2 {
		text += fmt.Sprintf("  - {id: p%d, when: 'route == \"%s\"', %s %s}\n", i, routes[i], score, routes[i+1])
	}
	return text + "  - {id: all, " + score + all + "}\n"
}

// dependencies returns those of a gate that reads from m. Its clock shows 1 s, when
// the values expire.
func dependencies(t testing.TB, m lookup.Store, text string) Dependencies {
	t.Helper()
	cfg := lookup.Defaults()
	cfg.MaxStale = 0 // changes by tests take effect at once
	l, err := lookup.New(cfg, lookup.Dependencies{Store: m, Codec: codec, Timeout: time.Second, Now: func() time.Time { return time.UnixMilli(0) }})
	if err != nil {
		t.Fatal(err)
	}
	return Dependencies{Risk: l, Policies: policies(t, text), Shares: policy.NewHashed([16]byte{})}
}

func newGate(t testing.TB, m *memory, change func(*Config)) *Gate {
	return newGateWith(t, m, "", change)
}

// newGateWith returns a gate with the given policies.
func newGateWith(t testing.TB, m *memory, text string, change func(*Config)) *Gate {
	t.Helper()
	cfg := Defaults()
	if change != nil {
		change(&cfg)
	}
	deps := dependencies(t, m, text)
	deps.Now = func() time.Time { return time.UnixMilli(0) }
	g, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestADecisionSaysWhatAndWhy(t *testing.T) {
	g := newGate(t, attack(), nil)
	d := g.Decide(t.Context(), Request{Tenant: "shop", Entities: []facet.Entity{victim, attacker}})
	if d.Action != policy.Deny || d.Score != 90 || d.ObservedScore != 95 || d.Level != policy.Critical || d.Degraded || d.Mode != rules.Enforce {
		t.Errorf("got %+v", d)
	}
	if d.Categories.Of("account_takeover") != 90 || len(d.Categories) != 1 {
		t.Errorf("categories %v", d.Categories)
	}
	var order []string
	for _, r := range d.Reasons {
		order = append(order, r.Rule+"@"+r.Entity)
	}
	if got := strings.Join(order, " "); got != "credential-stuffing-ip@ip trial@ip login-brute-force@account" {
		t.Errorf("reasons %s", got)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(d.ID) {
		t.Errorf("id %q", d.ID)
	}
	if want := time.UnixMilli(1000).UTC(); !d.ExpiresAt.Equal(want) {
		t.Errorf("expires at %v, want %v", d.ExpiresAt, want)
	}
	if got := testutil.ToFloat64(g.metrics.actions[policy.Deny]); got != 1 {
		t.Errorf("%v denials counted", got)
	}
}

func TestAnInnocentIsAllowed(t *testing.T) {
	d := newGate(t, attack(), nil).Decide(t.Context(), Request{Entities: []facet.Entity{{Kind: facet.Account, Key: "bob"}}})
	if d.Action != policy.Allow || d.Score != 0 || d.Level != policy.Low || d.Degraded || d.Reasons == nil || len(d.Reasons) != 0 {
		t.Errorf("got %+v", d)
	}
}

func TestThrottledClientsAreToldHowLong(t *testing.T) {
	d := newGate(t, attack(), nil).Decide(t.Context(), Request{Entities: []facet.Entity{victim}})
	if d.Action != policy.Throttle || d.RetryAfter != 10 {
		t.Errorf("got %v, retry after %d s", d.Action, d.RetryAfter)
	}
	observed := newGate(t, attack(), func(c *Config) { c.Phase = "observe" }).Decide(t.Context(), Request{Entities: []facet.Entity{victim}})
	if observed.Would != policy.Throttle || observed.RetryAfter != 0 {
		t.Errorf("one that is only observed: would %v, retry after %d s", observed.Would, observed.RetryAfter)
	}
}

func TestADecisionNamesNoMoreReasonsThanAreRead(t *testing.T) {
	m := &memory{scores: map[facet.Entity][]score.Contribution{}}
	for _, e := range []facet.Entity{attacker, victim} {
		for i := range maxReasons {
			m.scores[e] = append(m.scores[e], contribution(string(rune('a'+i)), rules.Enforce, uint8(10+i)))
		}
	}
	d := newGate(t, m, nil).Decide(t.Context(), Request{Entities: []facet.Entity{attacker, victim}})
	if len(d.Reasons) != maxReasons || d.Reasons[0].Weight != 14 || d.Reasons[1].Weight != 14 {
		t.Errorf("%d reasons: %+v", len(d.Reasons), d.Reasons)
	}
}

func TestWhatHasDecayedToNothingIsInNoCategory(t *testing.T) {
	m := &memory{scores: map[facet.Entity][]score.Contribution{attacker: {contribution("a", rules.Enforce, 1)}}}
	deps := dependencies(t, m, "")
	deps.Now = func() time.Time { return time.UnixMilli(7_200_000) }
	g, err := New(Defaults(), deps) // two half-lives
	if err != nil {
		t.Fatal(err)
	}
	if d := g.Decide(t.Context(), Request{Entities: []facet.Entity{attacker}}); len(d.Categories) != 0 {
		t.Errorf("categories %v", d.Categories)
	}
}

func TestTheModeLimitsEveryDecision(t *testing.T) {
	for phase, want := range map[string]policy.Action{"observe": policy.Allow, "soft": policy.StepUp, "enforce": policy.Deny} {
		t.Run(phase, func(t *testing.T) {
			m := attack()
			g := newGateWith(t, m, onlyFailure("failure: closed"), func(c *Config) { c.Phase = phase })
			d := g.Decide(t.Context(), Request{Entities: []facet.Entity{attacker}})
			if d.Action != want || d.Would != policy.Deny || d.Score != 90 || d.Mode.String() != phase {
				t.Errorf("got %+v", d)
			}
			m.fail = errors.New("away")
			if d := g.Decide(t.Context(), Request{Entities: []facet.Entity{attacker}}); d.Action != want || !d.Degraded {
				t.Errorf("without the store: %+v", d)
			}
		})
	}
}

func TestWithoutTheStoreTheConfigurationDecides(t *testing.T) {
	for _, tc := range []struct {
		name     string
		policies string
		route    string
		want     policy.Action
	}{
		{"open", "", "/feed", policy.Allow},
		{"closed", onlyFailure("failure: closed"), "/feed", policy.Deny},
		{"closed with a milder action", onlyFailure("failure: closed, failure_action: challenge"), "/feed", policy.Challenge},
		{"open, but for this route", onlyFailure("failure: open", "/login", "failure: closed, failure_action: step_up"), "/login", policy.StepUp},
		{"open for other routes", onlyFailure("failure: open", "/login", "failure: closed"), "/feed", policy.Allow},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := attack()
			m.fail = errors.New("away")
			g := newGateWith(t, m, tc.policies, nil)
			d := g.Decide(t.Context(), Request{Route: tc.route, Entities: []facet.Entity{attacker}})
			if d.Action != tc.want || !d.Degraded || d.DegradedBy != lookup.Failed || d.Score != 0 {
				t.Errorf("got %+v", d)
			}
			if got := testutil.ToFloat64(g.metrics.degraded); got != 1 {
				t.Errorf("%v degraded decisions counted", got)
			}
			open := 0.0
			if tc.want == policy.Allow {
				open = 1
			}
			if got := testutil.ToFloat64(g.metrics.open); got != open {
				t.Errorf("%v decisions counted as let through unknown, want %v", got, open)
			}
		})
	}
}

func TestUnreadableScoresLeaveTheOthersInForce(t *testing.T) {
	m := attack()
	m.partial = errors.New("one was garbage")
	g := newGate(t, m, nil)
	for range 3 {
		d := g.Decide(t.Context(), Request{Entities: []facet.Entity{attacker, {Kind: facet.Account, Key: "odd"}}})
		if d.Action != policy.Deny || d.DegradedBy != lookup.Partial {
			t.Fatalf("got %+v", d)
		}
	}
	if d := g.Decide(t.Context(), Request{Entities: []facet.Entity{{Kind: facet.Account, Key: "odd"}}}); d.Action != policy.Allow || d.DegradedBy != lookup.Partial {
		t.Errorf("got %+v", d)
	}
	if got := testutil.ToFloat64(g.metrics.open); got != 0 {
		t.Errorf("%v decisions counted as let through unknown, although Redis answers", got)
	}
}

func TestARequestWithoutEntitiesAsksNothing(t *testing.T) {
	m := attack()
	m.fail = errors.New("away")
	if d := newGate(t, m, nil).Decide(t.Context(), Request{}); d.Degraded || d.Action != policy.Allow || m.asked != 0 {
		t.Errorf("got %+v, asked %d times", d, m.asked)
	}
}
