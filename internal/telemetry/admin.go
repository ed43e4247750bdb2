package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// AdminConfig holds the address of the admin listener.
type AdminConfig struct {
	Listen  string `yaml:"listen" doc:"address of /metrics, /healthz and /readyz, and of a gate's switches; empty: none; weir-gate has 127.0.0.1:9481 by default, weir console 127.0.0.1:9482"`
	Profile bool   `yaml:"profile" doc:"serve /debug/pprof there as well"`
}

// Validate reports all errors in c.
func (c AdminConfig) Validate() error {
	if c.Listen == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("admin.listen: %w", err)
	}
	return nil
}

// Admin serves metrics and health. The zero value is not usable.
type Admin struct {
	cfg      AdminConfig
	log      *slog.Logger
	registry *Registry

	mu     sync.Mutex
	checks map[string]func(context.Context) error
	notes  map[string]func(context.Context) error
	alive  map[string]func() error
	more   map[string]http.Handler
}

// NewAdmin creates an admin listener with its own registry, which already holds the
// metrics of the process and of the runtime.
func NewAdmin(cfg AdminConfig, log *slog.Logger) *Admin {
	r := &Registry{Registry: prometheus.NewRegistry()}
	r.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	type checks = map[string]func(context.Context) error
	return &Admin{cfg: cfg, log: log, registry: r, checks: checks{}, notes: checks{}, alive: map[string]func() error{}, more: map[string]http.Handler{}}
}

// Registry returns the registry for the program's metrics.
func (a *Admin) Registry() *Registry { return a.registry }

// Ready adds a readiness condition.
func (a *Admin) Ready(name string, check func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks[name] = check
}

// Note adds something that /readyz reports besides its conditions, and that does
// not make the program unready: the program works without it, though not as well.
func (a *Admin) Note(name string, check func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notes[name] = check
}

// Alive adds a liveness condition: if it fails, only a new process helps. It must
// answer at once.
func (a *Admin) Alive(name string, check func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.alive[name] = check
}

// Serve adds something that operators ask for at a path, before Run.
func (a *Admin) Serve(path string, h http.Handler) { a.more[path] = h }

// Handler serves /metrics, /healthz (the process answers, and every condition of
// life holds) and /readyz (every condition of readiness holds); which do not is
// said, and so are notes.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{ErrorLog: ErrorLog(a.log), EnableOpenMetrics: true}))
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", a.readyz)
	for path, h := range a.more {
		mux.Handle(path, h)
	}
	if a.cfg.Profile {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func (a *Admin) healthz(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	alive := maps.Clone(a.alive)
	a.mu.Unlock()
	status, report := http.StatusOK, "ok\n"
	for _, n := range slices.Sorted(maps.Keys(alive)) {
		if err := alive[n](); err != nil {
			if status == http.StatusOK {
				status, report = http.StatusServiceUnavailable, ""
			}
			report += n + ": " + Clean(err.Error()) + "\n"
		}
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(report))
}

// Time limits of the checks of /readyz. Notes must not delay it: probes often wait
// no longer than a second.
const (
	checkTimeout = 2 * time.Second
	noteTimeout  = 200 * time.Millisecond
)

func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	checks, notes := maps.Clone(a.checks), maps.Clone(a.notes)
	a.mu.Unlock()
	report, status := map[string]string{}, http.StatusOK
	if !ask(r.Context(), checkTimeout, checks, "", report) {
		status = http.StatusServiceUnavailable
	}
	ask(r.Context(), noteTimeout, notes, "degraded: ", report)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(report)
}

// ask runs the checks and fills report, and reports whether all of them pass.
func ask(ctx context.Context, limit time.Duration, checks map[string]func(context.Context) error, before string, report map[string]string) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	hold := true
	for _, n := range slices.Sorted(maps.Keys(checks)) {
		report[n] = "ok"
		if err := checks[n](ctx); err != nil {
			report[n], hold = before+Clean(err.Error()), false
		}
	}
	return hold
}

// Run serves until ctx ends. Without an address it only waits.
func (a *Admin) Run(ctx context.Context) error {
	if a.cfg.Listen == "" {
		<-ctx.Done()
		return nil
	}
	l, err := net.Listen("tcp", a.cfg.Listen)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("admin.listen: %w: end the program that has it, or set another address", err)
		}
		return fmt.Errorf("admin.listen: %w", err)
	}
	return Serve(ctx, l, a.Handler(), a.log)
}

// Serve serves requests on l until ctx ends, then completes the current ones.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          ErrorLog(log),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := srv.Shutdown(stop)
	if served := <-done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
