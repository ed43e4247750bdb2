package gate

import (
	"slices"

	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// active returns the switches in force; nil if the gate has none.
func (g *Gate) active() *switches.Active {
	if g.switches == nil {
		return nil
	}
	return g.switches.Active()
}

// unmute removes the contributions of rules that are switched off.
func unmute(found []lookup.Found, a *switches.Active) {
	if a == nil || !a.Mutes() {
		return
	}
	for i := range found {
		v := *found[i].Value // shared
		v.Contributions = slices.DeleteFunc(slices.Clone(v.Contributions), func(c score.Contribution) bool { return a.Muted(c.Rule) })
		found[i].Value = &v
	}
}

// byHand applies manual switches before the policy: first a switch for everything,
// a tenant or a route, then a block, then a release.
func (g *Gate) byHand(d *Decision, req *Request, a *switches.Active) {
	if a == nil {
		return
	}
	if d.Switch = a.Off(req.Tenant, req.Route); d.Switch != "" {
		d.Action, d.Mode = policy.Allow, rules.Observe
		return
	}
	action, e, found := a.By(req.Entities)
	if !found {
		return
	}
	o := switches.Object{Scope: switches.Entity, Kind: e.Kind.String(), Tenant: e.Tenant, Name: e.Key}
	d.Switch, d.Would, d.Mode = o.ID(), action, g.phase
	d.Action = min(action, policy.Limit(g.phase))
}
