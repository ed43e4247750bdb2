package gate

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/gate/limits"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/quota"
	"github.com/weirdev/weir/sink/redis"
)

// counts is a store of counts in memory that fails on demand.
type counts struct {
	mu    sync.Mutex
	local *quota.Local
	asked int
	fail  error
}

func (c *counts) Take(_ context.Context, batch [][]quota.Counter) []quota.Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	answers := make([]quota.Answer, len(batch))
	for i := range batch {
		c.asked++
		if answers[i].Err = c.fail; c.fail == nil {
			answers[i] = c.local.Take(batch[i], time.Unix(1_800_000_000, 0))
		}
	}
	return answers
}

const limitPolicies = `
policies:
  - {id: watched, when: tenant == "watched", phase: observe, failure: open, budget: 10s}
  - {id: soft, when: tenant == "soft", phase: soft, failure: open, budget: 10s}
  - {id: closed, when: tenant == "closed", failure: closed, failure_action: step_up, budget: 10s}
  - {id: earlier, when: tenant == "earlier", failure: last_known_good, failure_action: challenge, budget: 10s}
  - {id: others, score: {throttle: 40, deny: 85}, failure: open, budget: 10s, retry_after: 90s}
limits:
  - {id: login, when: route_class == "login", per: [account, ip], most: 2, window: 1m}
  - {id: refused, when: route == "/refused", per: [account], most: 2, window: 1m, action: deny}
  - {id: shadow, when: route == "/shadow", per: [account], most: 1, window: 1m, phase: observe}
`

// limitedGate is a gate whose limits are counted by store.
func limitedGate(t testing.TB, store limits.Store, text string, change func(*Config, *Dependencies)) *Gate {
	t.Helper()
	l, err := limits.New(limits.Dependencies{Store: store, Bounds: lookup.Defaults(), Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	deps, cfg := dependencies(t, attack(), text), Defaults()
	deps.Limits, deps.Now = l, func() time.Time { return time.UnixMilli(0) }
	if change != nil {
		change(&cfg, &deps)
	}
	g, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func newCounts() *counts { return &counts{local: quota.NewLocal(1 << 16)} }

// question is a POST of bob from an address without risk.
func question(tenant, route string) Request {
	e := new(event.Event)
	e.SetText(event.Method, "POST")
	e.SetText(event.Route, route)
	e.SetText(event.Tenant, tenant)
	return Request{Tenant: tenant, Route: route, Event: e, Entities: []facet.Entity{
		{Kind: facet.Account, Tenant: tenant, Key: "bob"}, {Kind: facet.IP, Tenant: tenant, Key: "198.51.100.7"},
	}}
}

func TestALimitRefusesWhatDoesNotFit(t *testing.T) {
	g := limitedGate(t, newCounts(), limitPolicies, nil)
	for n, want := range []struct {
		action    policy.Action
		remaining int
		by        string
	}{{policy.Allow, 1, ""}, {policy.Allow, 0, ""}, {policy.Throttle, 0, "login"}, {policy.Throttle, 0, "login"}} {
		d := g.Decide(t.Context(), question("shop", "/login"))
		if d.Action != want.action || d.Would != want.action || d.LimitedBy != want.by || d.Degraded || len(d.Limits) != 1 {
			t.Fatalf("request %d: %+v", n, d)
		}
		l := d.Limits[0]
		if l.ID != "login" || l.Quota != 2 || l.Window != 60 || l.Remaining != want.remaining || l.Exceeded != (want.by != "") || l.Reset != 60 {
			t.Errorf("request %d: %+v", n, l)
		}
		if retry := 60; want.by != "" && d.RetryAfter != retry {
			t.Errorf("request %d: retry after %d s", n, d.RetryAfter)
		}
	}
	if got := testutil.ToFloat64(g.metrics.limited.WithLabelValues("login", "enforce")); got != 2 {
		t.Errorf("%v are counted as limited", got)
	}
	other := question("shop", "/login")
	other.Entities[1].Key = "198.51.100.8"
	if d := g.Decide(t.Context(), other); d.Action != policy.Allow {
		t.Errorf("from another address: %+v", d)
	}
	for range 2 {
		g.Decide(t.Context(), question("shop", "/refused"))
	}
	if d := g.Decide(t.Context(), question("shop", "/refused")); d.Action != policy.Deny || d.RetryAfter != 0 {
		t.Errorf("%+v", d)
	}
}

// TestTheScoreAndALimitTogether: the stricter action and the longer wait.
func TestTheScoreAndALimitTogether(t *testing.T) {
	g := limitedGate(t, newCounts(), limitPolicies, nil)
	ask := func(e facet.Entity) Decision {
		req := question("shop", "/login")
		req.Entities[slices.IndexFunc(req.Entities, func(one facet.Entity) bool { return one.Kind == e.Kind })] = e
		return g.Decide(t.Context(), req)
	}
	for range 2 {
		ask(attacker)
		ask(victim)
	}
	if d := ask(attacker); d.Action != policy.Deny || d.LimitedBy != "login" || d.RetryAfter != 0 {
		t.Errorf("what the score refuses: %+v", d)
	}
	if d := ask(victim); d.Action != policy.Throttle || d.LimitedBy != "login" || d.RetryAfter != 90 {
		t.Errorf("what both throttle: %+v", d)
	}
}

func TestPhasesCapLimits(t *testing.T) {
	for _, tc := range []struct {
		name          string
		tenant, route string
		gate          string
		action, would policy.Action
		by, phase     string
	}{
		{"the limit only observes", "shop", "/shadow", "enforce", policy.Allow, policy.Allow, "", "observe"},
		{"the policy only observes", "watched", "/refused", "enforce", policy.Allow, policy.Deny, "", "observe"},
		{"the gate only observes", "shop", "/refused", "observe", policy.Allow, policy.Deny, "", "observe"},
		{"the policy is soft", "soft", "/refused", "enforce", policy.StepUp, policy.Deny, "refused", "soft"},
		{"the gate is soft", "shop", "/refused", "soft", policy.StepUp, policy.Deny, "refused", "soft"},
		{"nothing caps it", "shop", "/refused", "enforce", policy.Deny, policy.Deny, "refused", "enforce"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := limitedGate(t, newCounts(), limitPolicies, func(c *Config, _ *Dependencies) { c.Phase = tc.gate })
			var d Decision
			for range 3 {
				d = g.Decide(t.Context(), question(tc.tenant, tc.route))
			}
			if d.Action != tc.action || d.Would != tc.would || d.LimitedBy != tc.by || !d.Limits[0].Exceeded || d.Limits[0].Phase.String() != tc.phase {
				t.Errorf("%+v", d)
			}
			if got := testutil.ToFloat64(g.metrics.limited.WithLabelValues(d.Limits[0].ID, tc.phase)); got == 0 {
				t.Error("it is not counted")
			}
		})
	}
}

// TestNothingIsCountedWithoutNeed: where no limit applies, or an operator's word goes
// before limits.
func TestNothingIsCountedWithoutNeed(t *testing.T) {
	object := func(scope switches.Scope, name string) switches.Object {
		return switches.Object{Scope: scope, Name: name, Owner: "ann", Reason: "a test", Set: 1, Expires: 1000}
	}
	entity := func(action string) switches.Object {
		o := object(switches.Entity, "bob")
		o.Kind, o.Tenant, o.Action = facet.Account.String(), "shop", action
		return o
	}
	nobody := question("shop", "/login")
	nobody.Entities = nobody.Entities[1:]
	for _, tc := range []struct {
		name    string
		set     []switches.Object
		request Request
		action  policy.Action
		asked   int
	}{
		{"a limit applies", nil, question("shop", "/login"), policy.Allow, 1},
		{"none does", nil, question("shop", "/other"), policy.Allow, 0},
		{"an entity is missing", nil, nobody, policy.Allow, 0},
		{"everything is off", []switches.Object{object(switches.Global, "")}, question("shop", "/login"), policy.Allow, 0},
		{"the tenant is off", []switches.Object{object(switches.Tenant, "shop")}, question("shop", "/login"), policy.Allow, 0},
		{"the route is off", []switches.Object{object(switches.Route, "/login")}, question("shop", "/login"), policy.Allow, 0},
		{"it is released", []switches.Object{entity("allow")}, question("shop", "/login"), policy.Allow, 0},
		{"it is blocked", []switches.Object{entity("deny")}, question("shop", "/login"), policy.Deny, 0},
		{"a rule is off", []switches.Object{object(switches.Rule, "credential-stuffing-ip")}, question("shop", "/login"), policy.Allow, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := switches.New(switches.Dependencies{
				Store: nowhere{}, Detectors: map[string]string{"credential-stuffing-ip": "sliding_window"}, Now: func() time.Time { return time.UnixMilli(2) },
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range tc.set {
				if err := s.Put(o); err != nil {
					t.Fatal(err)
				}
			}
			store := newCounts()
			g := limitedGate(t, store, limitPolicies, func(_ *Config, d *Dependencies) { d.Switches = s })
			for range 5 {
				d := g.Decide(t.Context(), tc.request)
				if tc.asked == 0 && (d.Action != tc.action || len(d.Limits) > 0 || d.LimitedBy != "") {
					t.Fatalf("%+v", d)
				}
			}
			if store.asked != 5*tc.asked {
				t.Errorf("%d requests are counted", store.asked)
			}
		})
	}
}

// TestWithoutTheStoreOfCounts: the policy's failure applies, and the gate's own count
// is a floor.
func TestWithoutTheStoreOfCounts(t *testing.T) {
	for _, tc := range []struct {
		tenant, route string
		fits, beyond  policy.Action
		degraded      bool
	}{
		{"shop", "/login", policy.Allow, policy.Throttle, true},
		{"closed", "/login", policy.StepUp, policy.StepUp, true},
		{"closed", "/refused", policy.StepUp, policy.Deny, true},
		{"earlier", "/login", policy.Allow, policy.Throttle, true},
		{"watched", "/login", policy.Allow, policy.Allow, false}, // what only observes is no reason for a failure
		{"closed", "/shadow", policy.Allow, policy.Allow, false},
	} {
		t.Run(tc.tenant+tc.route, func(t *testing.T) {
			store := newCounts()
			store.fail = errors.New("away")
			g := limitedGate(t, store, limitPolicies, nil)
			for n, want := range []policy.Action{tc.fits, tc.fits, tc.beyond, tc.beyond} {
				d := g.Decide(t.Context(), question(tc.tenant, tc.route))
				if d.Action != want || d.Degraded != tc.degraded || tc.degraded && d.DegradedBy != lookup.Failed || len(d.Limits) != 1 {
					t.Errorf("request %d: %+v, want %v", n, d, want)
				}
			}
		})
	}
}

func TestLimitsAreWrittenAsDocumented(t *testing.T) {
	g := limitedGate(t, newCounts(), limitPolicies, nil)
	var d Decision
	for range 3 {
		d = g.Decide(t.Context(), question("shop", "/login"))
	}
	text, err := json.Marshal(struct {
		Limits    []Limit `json:"limits"`
		LimitedBy string  `json:"limited_by"`
	}{d.Limits, d.LimitedBy})
	if want := `{"limits":[{"id":"login","quota":2,"window_s":60,"remaining":0,"reset_s":60,"exceeded":true,"phase":"enforce"}],"limited_by":"login"}`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

// TestTheRecordOfADecisionNamesTheLimits that the request exceeds, refused or not.
func TestTheRecordOfADecisionNamesTheLimits(t *testing.T) {
	g := limitedGate(t, newCounts(), limitPolicies, nil)
	for _, route := range []string{"/login", "/shadow"} {
		req, d := question("shop", route), Decision{}
		for n := range 3 {
			d = g.Decide(t.Context(), req)
			if got := recordOf(&req, &d).Limits; n == 0 && len(got) > 0 || n == 2 && !slices.Equal(got, []string{route[1:]}) {
				t.Errorf("request %d: %v", n, got)
			}
		}
	}
}

// recorder keeps a log of what a store admits, and moves the clock of the server.
type recorder struct {
	limits.Store
	mu       *sync.Mutex
	admitted *[]time.Time
	step     func()
}

func (r recorder) Take(ctx context.Context, batch [][]quota.Counter) []quota.Answer {
	answers := r.Store.Take(ctx, batch)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range answers {
		if a.Err == nil && !a.Counts[0].Exceeded {
			*r.admitted = append(*r.admitted, a.At)
		}
		r.step()
	}
	return answers
}

// TestTwoGatesAdmitExactlyAHundredAMinute lets 50 clients ask each of two gates as
// fast as they can, for more than four minutes of the server's clock.
func TestTwoGatesAdmitExactlyAHundredAMinute(t *testing.T) {
	const text = `
policies: [{id: all, failure: closed, budget: 10s}]
limits: [{id: search, when: route_class == "search", per: [account], most: 100, window: 1m}]
`
	server := miniredis.RunT(t)
	now := time.Unix(1_800_000_000, 0)
	server.SetTime(now)
	var mu sync.Mutex
	var admitted []time.Time
	allowed := 0
	var wg sync.WaitGroup
	for range 2 {
		cfg := redis.Defaults()
		cfg.Addrs, cfg.ReadTimeout, cfg.DialTimeout = []string{server.Addr()}, time.Minute, time.Minute
		reader, err := redis.NewReader(cfg, redis.Dependencies{Secret: []byte("a secret for tests only")})
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		g := limitedGate(t, recorder{reader, &mu, &admitted, func() {
			now = now.Add(125*time.Millisecond + time.Microsecond)
			server.SetTime(now)
		}}, text, nil)
		for range 50 {
			wg.Go(func() {
				for range 20 {
					d := g.Decide(t.Context(), question("shop", "/search"))
					mu.Lock()
					if d.Degraded {
						t.Errorf("%+v", d)
					}
					if d.Action == policy.Allow {
						allowed++
					}
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if allowed != len(admitted) || allowed < 400 {
		t.Fatalf("%d are allowed, %d admitted", allowed, len(admitted))
	}
	slices.SortFunc(admitted, time.Time.Compare)
	first := admitted[0]
	for i, at := range admitted[100:] {
		if gap := at.Sub(admitted[i]); gap < time.Minute {
			t.Fatalf("101 are admitted within %v", gap)
		}
	}
	hundred := 0
	for _, at := range admitted {
		if at.Sub(first) < time.Minute {
			hundred++
		}
	}
	if hundred != 100 {
		t.Errorf("%d are admitted in the first minute", hundred)
	}
}

// slow takes as long for risk as for counts.
type slow struct {
	calm
	*counts
}

const slowness = 20 * time.Millisecond

func (s slow) Look(ctx context.Context, entities []facet.Entity, start time.Time, budget time.Duration, earlier bool) lookup.Answer {
	<-time.After(slowness)
	return s.calm.Look(ctx, entities, start, budget, earlier)
}

func (s slow) Take(ctx context.Context, batch [][]quota.Counter) []quota.Answer {
	<-time.After(slowness)
	return s.counts.Take(ctx, batch)
}

// TestLimitsAreCheckedBesideTheLookUp: both together take no longer than one.
func TestLimitsAreCheckedBesideTheLookUp(t *testing.T) {
	set := policies(t, `
policies: [{id: all, failure: closed, budget: 25ms}]
limits: [{id: all, per: [account], most: 2, window: 1m}]
`)
	synctest.Test(t, func(t *testing.T) {
		s := slow{counts: newCounts()}
		g := limitedGate(t, s, "", func(_ *Config, d *Dependencies) { d.Risk, d.Policies = s, set })
		begun := time.Now()
		d := g.Decide(t.Context(), question("shop", "/login"))
		if took := time.Since(begun); d.Degraded || d.Action != policy.Allow || len(d.Limits) != 1 || took != slowness {
			t.Errorf("after %v: %+v", took, d)
		}
		synctest.Wait()
	})
}

// BenchmarkDecideWithALimit compares a decision with and without a limit, without the
// network.
func BenchmarkDecideWithALimit(b *testing.B) {
	for _, route := range []string{"/other", "/login"} {
		b.Run(route[1:], func(b *testing.B) {
			g := limitedGate(b, newCounts(), limitPolicies, func(_ *Config, d *Dependencies) { d.Risk = calm{} })
			req := question("shop", route)
			b.ReportAllocs()
			for b.Loop() {
				g.Decide(b.Context(), req)
			}
		})
	}
}

// calm knows no risk.
type calm struct{}

func (calm) Look(_ context.Context, _ []facet.Entity, _ time.Time, _ time.Duration, _ bool) lookup.Answer {
	return lookup.Answer{}
}
func (calm) Ready(context.Context) error { return nil }
