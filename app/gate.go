package app

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/secret"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/sink/redis"
)

// Gate is the inline decision service with its connections.
type Gate struct {
	log      *slog.Logger
	admin    *telemetry.Admin
	reader   *redis.Reader
	policies *policy.Watched
	risk     *lookup.Lookup
	switches *switches.Switches
	gate     *gate.Gate
}

// NewGate wires a gate; it connects to nothing yet. Its error is a
// [*Misconfigured].
func NewGate(cfg Config, log *slog.Logger) (*Gate, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &Misconfigured{err}
	}
	key, err := cfg.Stream.RiskKey()
	if err != nil {
		return nil, &Misconfigured{err}
	}
	g := &Gate{log: log, admin: telemetry.NewAdmin(cfg.Admin, log)}
	redis.Quiet()
	if g.reader, err = redis.NewReader(cfg.redis(), redis.Dependencies{Secret: key, Logger: log, Registerer: g.admin.Registry()}); err != nil {
		return nil, &Misconfigured{named("redis", err)}
	}
	if g.risk, err = lookup.New(cfg.Gate.Lookup, lookup.Dependencies{
		Store: g.reader, Codec: g.reader.Codec(), Timeout: cfg.Redis.ReadTimeout, Logger: log, Registerer: g.admin.Registry(),
	}); err != nil {
		return nil, &Misconfigured{err}
	}
	words, err := LoadRules(cfg.Rules)
	if err != nil {
		return nil, &Misconfigured{named("rules", err)}
	}
	detectors := map[string]string{}
	for _, r := range words.Rules {
		detectors[r.ID] = r.Detector
	}
	if g.switches, err = switches.New(switches.Dependencies{
		Store: g.reader, Codec: switches.NewCodec(key), Detectors: detectors, Directory: cfg.Gate.Lookup.State, Logger: log, Registerer: g.admin.Registry(),
	}); err != nil {
		return nil, &Misconfigured{err}
	}
	g.admin.Serve("/v1/switches", g.switches.Handler())
	if g.policies, err = policy.Watch(cfg.Gate.Policy, words, log, g.admin.Registry()); err != nil {
		return nil, &Misconfigured{named("gate.policy", err)}
	}
	shares, err := cfg.Stream.derive(secret.Shares)
	if err != nil {
		return nil, &Misconfigured{err}
	}
	if g.gate, err = gate.New(cfg.Gate, gate.Dependencies{
		Risk: g.risk, Policies: g.policies, Shares: policy.NewHashed([16]byte(shares[:16])), Switches: g.switches, Logger: log, Registerer: g.admin.Registry(),
	}); err != nil {
		return nil, &Misconfigured{err}
	}
	g.admin.Note("risk", g.gate.Ready) // without it the gate still answers
	return g, nil
}

// Run serves requests until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	g.log.Info("weir-gate starts", "version", Version())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.policies.Run(ctx) })
	group.Go(func() error { return g.risk.Run(ctx) })
	group.Go(func() error { return g.switches.Run(ctx) })
	group.Go(func() error { return g.gate.Run(ctx) })
	group.Go(func() error { return g.admin.Run(ctx) })
	err := group.Wait()
	if e := g.reader.Close(); err == nil {
		err = e
	}
	g.log.Info("weir-gate stopped")
	return err
}
