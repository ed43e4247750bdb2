package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/accesslog"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/envoy"
	"github.com/weirdev/weir/gate/forwardauth"
	"github.com/weirdev/weir/gate/haproxy"
	"github.com/weirdev/weir/gate/http1"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/gate/limits"
	"github.com/weirdev/weir/gate/listen"
	"github.com/weirdev/weir/gate/lookup"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/secret"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/internal/tracing"
	"github.com/weirdev/weir/sink/redis"
)

// GateGCPercent is the GOGC of a gate for which none is set. Its heap is small, so with
// Go's own 100 it would collect garbage every few hundred decisions, and those that
// are made meanwhile take several times as long. GOMEMLIMIT bounds the memory.
const GateGCPercent = 400

// Gate is the inline decision service with its connections.
type Gate struct {
	log      *slog.Logger
	admin    *telemetry.Admin
	reader   *redis.Reader
	policies *policy.Watched
	risk     *lookup.Lookup
	switches *switches.Switches
	limits   *limits.Limits
	kafka    *kafka.Client // nil: nothing is written to it
	emitter  *emit.Emitter // nil: as kafka
	gate     *gate.Gate
	traces   *tracing.Tracer // nil: nothing is traced
	geo      *geo.DB
	access   *listen.Access
	http     http.Handler
	envoy    *envoy.Server
	haproxy  *haproxy.Agent
	logs     *accesslog.Receiver
	cfg      GateConfig
}

// NewGate wires a gate; it connects to nothing yet. Its error is a
// [*Misconfigured].
func NewGate(cfg Config, log *slog.Logger) (*Gate, error) {
	if err := cfg.ValidateFor(GateSettings()); err != nil {
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
	if g.limits, err = limits.New(limits.Dependencies{
		Store: g.reader, Bounds: cfg.Gate.Lookup, Timeout: cfg.Redis.ReadTimeout, Logger: log, Registerer: g.admin.Registry(),
	}); err != nil {
		return nil, &Misconfigured{err}
	}
	words, err := LoadRules(cfg.Rules)
	if err != nil {
		return nil, &Misconfigured{named("rules", err)}
	}
	if err := g.openKafka(cfg); err != nil {
		return nil, &Misconfigured{err}
	}
	if g.switches, err = switches.New(switches.Dependencies{
		Store: g.reader, Codec: switches.NewCodec(key), Detectors: detectorsOf(words), Directory: cfg.Gate.Lookup.State, Audit: g.audit(), Logger: log, Registerer: g.admin.Registry(),
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
	traces, err := g.makeTraces(cfg.Tracing)
	if err != nil {
		return nil, &Misconfigured{err}
	}
	if g.gate, err = gate.New(cfg.Gate.Config, gate.Dependencies{
		Risk: g.risk, Policies: g.policies, Shares: policy.NewHashed([16]byte(shares[:16])), Switches: g.switches, Limits: g.limits, Emitter: g.emitter, Tracer: traces, Logger: log, Registerer: g.admin.Registry(),
	}); err != nil {
		return nil, &Misconfigured{err}
	}
	g.admin.Note("risk", g.gate.Ready) // without it the gate still answers
	return g, g.openFrontEnds(cfg)
}

// latest looks places up in the databases that are there now.
type latest struct{ db *geo.DB }

func (l latest) Lookup(addr netip.Addr, p *geo.Place) { l.db.Current().Lookup(addr, p) }

// openFrontEnds wires what gateways speak.
func (g *Gate) openFrontEnds(cfg Config) (err error) {
	if g.geo, err = geo.Open(cfg.Geo, g.log, g.admin.Registry()); err != nil {
		return &Misconfigured{named("geo", err)}
	}
	reader, err := incoming.New(cfg.Gate.Incoming, cfg.Ingest, latest{g.geo}, nil)
	if err != nil {
		return &Misconfigured{err}
	}
	renderer, err := answer.New(cfg.Gate.StepUp)
	if err != nil {
		return &Misconfigured{err}
	}
	if g.access, err = listen.New(cfg.Gate.Access); err != nil {
		return &Misconfigured{err}
	}
	g.http, g.cfg = g.access.Guard(byPath(forwardauth.Handler(g.gate, reader, renderer), g.gate.Handler())), cfg.Gate
	forEnvoy := envoy.Dependencies{Decider: g.gate, Reader: reader, Renderer: renderer, Access: g.access, Logger: g.log, Registerer: g.admin.Registry()}
	if g.emitter.Tells() {
		forEnvoy.Outcomes = g.gate
	}
	g.envoy = envoy.New(forEnvoy)
	forHAProxy := haproxy.Dependencies{Decider: g.gate, Reader: reader, Renderer: renderer, Logger: g.log, Registerer: g.admin.Registry()}
	if g.emitter.Tells() {
		forHAProxy.Outcomes = g.gate
	}
	g.haproxy = haproxy.New(forHAProxy)
	g.logs = accesslog.New(accesslog.Dependencies{Outcomes: g.gate, Logger: g.log, Registerer: g.admin.Registry()})
	return nil
}

// byPath separates forward auth from all else. [http.ServeMux] would not do: Envoy
// appends the client's path, and a mux redirects where that has a double slash.
func byPath(forwardAuth, others http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, forwardauth.Prefix) {
			forwardAuth.ServeHTTP(w, r)
			return
		}
		others.ServeHTTP(w, r)
	})
}

// serveHTTP answers on one address.
func (g *Gate) serveHTTP(ctx context.Context, addr string) error {
	l, err := g.access.Open(ctx, addr, "http/1.1")
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	g.log.Info("gateways may ask", "address", l.Addr().String())
	srv := &http.Server{Handler: g.http, ErrorLog: telemetry.ErrorLog(g.log)}
	return http1.Serve(ctx, l, http1.Dependencies{Decider: g.gate, Knows: g.access.Knows, Others: srv, Logger: g.log, Longest: policy.MaxBudget + time.Second})
}

// serveEnvoy answers Envoys on one address.
func (g *Gate) serveEnvoy(ctx context.Context, addr string) error {
	l, err := g.access.Open(ctx, addr, "h2")
	if err != nil {
		return fmt.Errorf("gate: envoy: %w", err)
	}
	g.log.Info("Envoys may ask", "address", l.Addr().String())
	return g.envoy.Serve(ctx, l)
}

// serveHAProxy answers HAProxy on one address.
func (g *Gate) serveHAProxy(ctx context.Context, addr string) error {
	l, err := g.access.Open(ctx, addr)
	if err != nil {
		return fmt.Errorf("gate: haproxy: %w", err)
	}
	g.log.Info("HAProxy may ask", "address", l.Addr().String())
	return g.haproxy.Serve(ctx, l)
}

// takeLogs takes gateways' logs at one address.
func (g *Gate) takeLogs(ctx context.Context, addr string) error {
	c, err := g.access.OpenPackets(ctx, addr)
	if err != nil {
		return fmt.Errorf("gate: log: %w", err)
	}
	g.log.Info("gateways may write their log", "address", addr)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.logs.ServePackets(ctx, c) })
	if at := c.LocalAddr(); at.Network() == "udp" {
		group.Go(func() error {
			l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
			if err != nil {
				return fmt.Errorf("gate: log: listen on %s: %w", at, err)
			}
			return g.logs.Serve(ctx, l)
		})
	}
	return group.Wait()
}

// Run serves requests until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	g.log.Info("weir-gate starts", "version", Version())
	g.tellPolicies()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.policies.Run(ctx) })
	group.Go(func() error { return g.risk.Run(ctx) })
	group.Go(func() error { return g.switches.Run(ctx) })
	group.Go(func() error { return g.geo.Watch(ctx, func(context.Context, *geo.Generation) error { return nil }) })
	for _, addr := range g.cfg.listeners() {
		group.Go(func() error { return g.serveHTTP(ctx, addr) })
	}
	if addr := g.cfg.EnvoyListen; addr != "" {
		group.Go(func() error { return g.serveEnvoy(ctx, addr) })
	}
	if addr := g.cfg.HAProxyListen; addr != "" {
		group.Go(func() error { return g.serveHAProxy(ctx, addr) })
	}
	if addr := g.cfg.LogListen; addr != "" {
		group.Go(func() error { return g.takeLogs(ctx, addr) })
	}
	group.Go(func() error { return g.limits.Run(ctx) })
	group.Go(func() error { return g.admin.Run(ctx) })
	written := g.write(ctx)
	err := errors.Join(group.Wait(), written(), g.reader.Close())
	closeTracer(g.traces)
	g.log.Info("weir-gate stopped")
	return err
}
