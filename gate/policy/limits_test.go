package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

const limitsFile = `
policies: [{id: watched, when: tenant == "watched", phase: observe, failure: open}, {id: all, failure: open, score: {challenge: 50}}]
limits:
  - {id: login, when: route_class == "login", per: [account, ip], most: 5, window: 1m}
  - {id: shadow, per: [account], most: 3, window: 10s, phase: observe, counts: all}
  - {id: soft, per: [device], most: 100, window: 1h, phase: soft, action: deny}
  - {id: route, per: [tenant, route], most: 1000, window: 1s, action: challenge}
tests:
  - name: a login too many
    request: {method: POST, route: /login, account: alice, ip: 203.0.113.9, tenant: shop}
    exceeded: [login]
    expect: {action: throttle, would: throttle, limits: [shadow, route, login], limited_by: login}
  - name: the strictest decides
    request: {method: POST, route: /login, account: alice, ip: 203.0.113.9, tenant: shop}
    exceeded: [login, route]
    expect: {action: challenge, limited_by: route}
  - name: the score may be stricter
    request: {method: POST, route: /login, account: alice, ip: 203.0.113.9, tenant: shop}
    risk: [{category: bot, weight: 60}]
    exceeded: [login]
    expect: {action: challenge, limited_by: login}
  - name: one that observes does nothing
    request: {account: alice}
    exceeded: [shadow]
    expect: {action: allow, would: allow, limits: [shadow]}
  - name: one on trial goes no further than step-up
    request: {device: d}
    exceeded: [soft]
    expect: {action: step_up, would: step_up, limited_by: soft}
  - name: a policy that observes
    request: {device: d, tenant: watched}
    exceeded: [soft]
    expect: {policy: watched, action: allow, would: step_up}
`

func TestLimitsDoWhatTheirTestsSay(t *testing.T) {
	set := parsed(t, limitsFile)
	for i := range set.Tests {
		if wrong := set.Run(&set.Tests[i]); len(wrong) > 0 {
			t.Errorf("%s: %s", set.Tests[i].Name, strings.Join(wrong, "; "))
		}
	}
	want := RateLimit{ID: "shadow", Line: 5, Per: []facet.Kind{facet.Account}, Most: 3, Window: 10 * time.Second, Action: Throttle, All: true, Phase: rules.Observe}
	got := set.Limits[1]
	if got.ID != want.ID || got.Line != want.Line || !slices.Equal(got.Per, want.Per) || got.Most != want.Most || got.Window != want.Window ||
		got.Action != want.Action || got.All != want.All || got.Phase != want.Phase || got.When != nil {
		t.Errorf("%+v", got)
	}
}

func TestATestOfLimitsSaysWhatIsDifferent(t *testing.T) {
	set := parsed(t, `
policies: [{id: all, failure: open}]
limits:
  - {id: a, per: [account], most: 1, window: 1s}
  - {id: b, per: [device], most: 1, window: 1s}
tests:
  - name: wrong
    request: {account: alice}
    exceeded: [b]
    expect: {action: allow, limits: [b], limited_by: a}
`)
	want := `the limit b does not apply to the request: its when does not hold, or an entity in per is missing; the limits that apply are [a], want [b]; it is limited by "", want a`
	if got := strings.Join(set.Run(&set.Tests[0]), "; "); got != want {
		t.Errorf("got %s", got)
	}
}

func TestALimitNeedsAllItsEntities(t *testing.T) {
	set := parsed(t, limitsFile)
	login := new(event.Event)
	login.SetText(event.Method, "POST")
	login.SetText(event.Route, "/login")
	alice, ip, tenanted := facet.Entity{Kind: facet.Account, Key: "alice"}, facet.Entity{Kind: facet.IP, Key: "203.0.113.9"}, *login
	tenanted.SetText(event.Tenant, "shop")
	for _, tc := range []struct {
		name     string
		e        *event.Event
		entities []facet.Entity
		want     string
	}{
		{"nothing", new(event.Event), nil, ""},
		{"an account", new(event.Event), []facet.Entity{alice}, "shadow"},
		{"a login without an address", login, []facet.Entity{alice}, "shadow"},
		{"a login", login, []facet.Entity{ip, alice}, "login:account,ip shadow"},
		{"a route and a tenant need not be named as entities", &tenanted, nil, "route:tenant,route"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, l := range set.LimitsFor(Request{Event: tc.e, Entities: tc.entities}) {
				one := l.ID
				if len(l.Entities) > 1 {
					one += ":" + l.Entities[0].Kind.String() + "," + l.Entities[1].Kind.String()
				}
				got = append(got, one)
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("got %v, want %s", got, tc.want)
			}
		})
	}
}

// TestWhetherALimitRefuses agrees with what Exceed does.
func TestWhetherALimitRefuses(t *testing.T) {
	for _, phase := range []rules.Phase{rules.Observe, rules.Soft, rules.Enforce} {
		for _, gate := range []rules.Phase{rules.Observe, rules.Soft, rules.Enforce} {
			for _, action := range Actions()[Throttle:] {
				l := RateLimit{ID: "l", Action: action, Phase: phase}
				o := Outcome{Phase: gate}
				o.Exceed(&l)
				refuses := phase != rules.Observe && gate != rules.Observe
				if l.Refuses(gate) != refuses || o.Action >= Throttle != refuses || (o.LimitedBy != "") != refuses || (o.Would == Allow) != (phase == rules.Observe) {
					t.Errorf("%v in phase %v at a gate in %v: refuses %v, %+v", action, phase, gate, l.Refuses(gate), o)
				}
			}
		}
	}
}

// TestTheBuiltInLimitsTurnNobodyAway: they ship as limits that observe.
func TestTheBuiltInLimitsTurnNobodyAway(t *testing.T) {
	var got []string
	for _, l := range builtInSet(t).Limits {
		if l.Refuses(rules.Enforce) {
			t.Errorf("%s refuses requests", l.ID)
		}
		got = append(got, l.ID)
	}
	if !slices.Equal(got, []string{"login", "search", "payment"}) {
		t.Errorf("%v", got)
	}
}

func BenchmarkLimitsFor(b *testing.B) {
	set := builtInSet(b)
	e := new(event.Event)
	e.SetText(event.Method, "POST")
	e.SetText(event.Route, "/api/v1/login")
	r := Request{Event: e, Entities: []facet.Entity{{Kind: facet.Account, Key: "alice"}, {Kind: facet.IP, Key: "203.0.113.9"}}}
	b.ReportAllocs()
	for b.Loop() {
		set.LimitsFor(r)
	}
}
