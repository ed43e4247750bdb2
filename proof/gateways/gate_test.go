package gateways

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
	"github.com/weirdev/weir/sink/redis"
)

// policies refuse one request whoever sends it, so that what hides method or path
// from the gate shows. All others go by score and by block.
const policies = `
policies:
  - {id: guarded, when: route == "/guarded" && method == "DELETE", always: deny, failure: open}
  - {id: others, score: {deny: 80}, failure: open}
`

// What a client must not learn.
const (
	ruleOfScore   = "login-brute-force"
	reasonOfScore = "many_failures"
	reasonOfBlock = "blocked by hand"
)

// configure returns the settings of a gate beside a Redis.
func configure(t *testing.T, redis string) app.Config {
	t.Helper()
	cfg := app.Defaults()
	cfg.Stream.Secret = "an example, never a real secret!"
	cfg.Gate.Listen, cfg.Gate.EnvoyListen, cfg.Gate.HAProxyListen, cfg.Admin.Listen = free(t), free(t), free(t), "127.0.0.1:0"
	cfg.Ingest.Routes = []string{"/guarded"}
	cfg.Redis.Addrs = []string{redis}
	cfg.Gate.Policy = filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(cfg.Gate.Policy, []byte(policies), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// startGate starts a gate that knows tokens named after actions: it blocks them, but
// deny has a score. It returns the gate's addresses, by how it is asked.
func startGate(t *testing.T, cfg app.Config) map[string]string {
	t.Helper()
	secret := []byte(cfg.Stream.Secret)
	accuse(t, cfg.Redis, secret, token("deny"))
	block(t, cfg.Redis, secret, map[facet.Entity]string{
		token("tag"): "tag", token("throttle"): "throttle", token("challenge"): "challenge", token("step_up"): "step_up",
		{Kind: facet.IP, Key: blocked}: "deny",
	})
	g, err := app.NewGate(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	run(t, g.Run)
	asked := newClient(t, "127.0.0.1", cfg.Gate.Listen)
	eventually(t, "the gate knows neither score nor blocks", func() bool {
		for name, status := range map[string]int{"deny": 403, "throttle": 429} {
			got, err := asked.send(t.Context(), ask{path: "/v1/forward-auth/generic", token: name, header: http.Header{
				"X-Forwarded-Method": {"GET"}, "X-Forwarded-Uri": {"/"}, "X-Forwarded-Host": {"shop"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-For": {ordinary},
			}})
			if err != nil || got.status != status {
				return false
			}
		}
		return true
	})
	return map[string]string{"http": cfg.Gate.Listen, "grpc": cfg.Gate.EnvoyListen, "spoe": cfg.Gate.HAProxyListen}
}

// token is the entity of a bearer token, which is never stored as it is.
func token(text string) facet.Entity {
	sum := sha256.Sum256([]byte(text))
	return facet.Entity{Kind: facet.Token, Key: hex.EncodeToString(sum[:])}
}

// accuse gives an entity a score of 90, as a worker does.
func accuse(t *testing.T, cfg redis.Config, secret []byte, entity facet.Entity) {
	t.Helper()
	w, err := redis.NewWriter(cfg, redis.Dependencies{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	run(t, w.Run)
	track := w.Open(1)
	err = track.Put(t.Context(), 1, score.Update{Entity: entity, Position: score.Position{Incarnation: 1, Partition: 1, Offset: 1}, Contributions: []score.Contribution{{
		Rule: ruleOfScore, Category: "account_takeover", Reason: reasonOfScore, Phase: rules.Enforce, Weight: 90, HalfLife: 3600, Time: time.Now().UnixMilli(),
	}}})
	if err == nil {
		err = track.Drain(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// block blocks entities by hand, each with an action.
func block(t *testing.T, cfg redis.Config, secret []byte, actions map[facet.Entity]string) {
	t.Helper()
	r, err := redis.NewReader(cfg, redis.Dependencies{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	forms, now := map[string]string{}, time.Now()
	for entity, action := range actions {
		o := switches.Object{
			Scope: switches.Entity, Kind: entity.Kind.String(), Name: entity.Key, Action: action,
			Owner: "ann", Reason: reasonOfBlock, Set: now.UnixMilli(), Expires: now.Add(time.Hour).UnixMilli(),
		}
		if err := o.Check(); err != nil {
			t.Fatal(err)
		}
		forms[o.ID()] = switches.NewCodec(secret).Encode(&o)
	}
	if err := r.PutSwitches(t.Context(), forms); err != nil {
		t.Fatal(err)
	}
}

// run runs a service until the test ends.
func run(t *testing.T, service func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
