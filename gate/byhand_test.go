package gate

import (
	"testing"
	"time"

	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
)

// nowhere is a store without switches.
type nowhere struct{ switches.Store }

func TestWhatOperatorsSayGoesBeforeTheScore(t *testing.T) {
	object := func(scope switches.Scope, name string) switches.Object {
		return switches.Object{Scope: scope, Name: name, Owner: "ann", Reason: "a test", Set: 1, Expires: 1000}
	}
	entity := func(action string, e facet.Entity) switches.Object {
		o := object(switches.Entity, e.Key)
		o.Kind, o.Tenant, o.Action = e.Kind.String(), e.Tenant, action
		return o
	}
	innocent := facet.Entity{Kind: facet.Account, Tenant: "shop", Key: "bob"}
	for _, tc := range []struct {
		name     string
		set      []switches.Object
		entities []facet.Entity
		phase    string
		action   policy.Action
		score    int
		by       string
	}{
		{"nothing", nil, []facet.Entity{attacker}, "enforce", policy.Deny, 90, ""},
		{"everything is off", []switches.Object{object(switches.Global, ""), entity("deny", attacker)}, []facet.Entity{attacker}, "enforce", policy.Allow, 90, "global"},
		{"another tenant is off", []switches.Object{object(switches.Tenant, "bank")}, []facet.Entity{attacker}, "enforce", policy.Deny, 90, ""},
		{"its rule is off", []switches.Object{object(switches.Rule, "credential-stuffing-ip")}, []facet.Entity{attacker}, "enforce", policy.Allow, 0, ""},
		{"its detector is off", []switches.Object{object(switches.Detector, "sliding_window")}, []facet.Entity{attacker}, "enforce", policy.Allow, 0, ""},
		{"it is released", []switches.Object{entity("allow", attacker)}, []facet.Entity{attacker}, "enforce", policy.Allow, 90, "entity:ip:shop/203.0.113.9"},
		{"one is blocked", []switches.Object{entity("challenge", innocent)}, []facet.Entity{innocent}, "enforce", policy.Challenge, 0, "entity:account:shop/bob"},
		{"a block goes before a release", []switches.Object{entity("deny", innocent), entity("allow", attacker)}, []facet.Entity{attacker, innocent}, "enforce", policy.Deny, 90, "entity:account:shop/bob"},
		{"the gate's phase caps a block", []switches.Object{entity("deny", innocent)}, []facet.Entity{innocent}, "observe", policy.Allow, 0, "entity:account:shop/bob"},
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
			deps := dependencies(t, attack(), "")
			deps.Switches, deps.Now = s, func() time.Time { return time.UnixMilli(0) }
			cfg := Defaults()
			cfg.Phase = tc.phase
			g, err := New(cfg, deps)
			if err != nil {
				t.Fatal(err)
			}
			d := g.Decide(t.Context(), Request{Tenant: "shop", Route: "/login", Entities: tc.entities})
			if d.Action != tc.action || d.Score != tc.score || d.Switch != tc.by {
				t.Errorf("got %+v", d)
			}
		})
	}
}
