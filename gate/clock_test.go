package gate

import (
	"context"
	"testing"
	"time"

	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
)

// TestASteppedClock: a clock that steps by ten minutes, in either direction, changes
// neither what is refused nor what is switched.
func TestASteppedClock(t *testing.T) {
	var at time.Time
	now := func() time.Time { return at }
	off, err := switches.New(switches.Dependencies{Store: noSwitches{}, Codec: switches.NewCodec([]byte("a key")), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	m := attack()
	m.scores[attacker][0].HalfLife = 30 * 24 * 3600
	deps := dependencies(t, m, "")
	deps.Now, deps.Switches = now, off
	g, err := New(Defaults(), deps)
	if err != nil {
		t.Fatal(err)
	}
	friend := facet.Entity{Kind: facet.Account, Tenant: "shop", Key: "friend"}
	at = time.Unix(601, 0)
	if err := off.Put(switches.Object{Scope: switches.Entity, Kind: "account", Tenant: "shop", Name: "friend", Action: "challenge", Owner: "ann", Reason: "a drill", Set: at.UnixMilli(), Expires: at.Add(time.Hour).UnixMilli()}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
		at = time.Unix(601, 0).Add(step)
		if err := off.Agree(t.Context()); err != nil {
			t.Fatal(err)
		}
		for e, want := range map[facet.Entity]policy.Action{attacker: policy.Deny, friend: policy.Challenge} {
			if d := g.Decide(t.Context(), Request{Tenant: "shop", Entities: []facet.Entity{e}}); d.Action != want || d.Degraded {
				t.Errorf("after %v, %s: %+v, want %s", step, e.Kind, d, want)
			}
		}
	}
}

// noSwitches holds none, and keeps none.
type noSwitches struct{}

func (noSwitches) Switches(context.Context) (map[string]string, error)   { return nil, nil }
func (noSwitches) PutSwitches(context.Context, map[string]string) error  { return nil }
func (noSwitches) DropSwitches(context.Context, map[string]string) error { return nil }
