package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/telemetry"
)

// Limits of the server: requests and answers are small.
const (
	headerTimeout = 2 * time.Second
	readTimeout   = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	drainTimeout  = 5 * time.Second
	headerBytes   = 16 << 10
)

// Run listens on the configured address, and serves until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", g.cfg.Listen)
	if err != nil {
		return fmt.Errorf("gate: listen: %w", err)
	}
	return g.Serve(ctx, l)
}

// Serve answers on l until ctx ends, then completes open requests, and closes l.
func (g *Gate) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: g.Handler(), MaxHeaderBytes: headerBytes,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		WriteTimeout: readTimeout + policy.MaxBudget + readyTimeout,
		ErrorLog:     telemetry.ErrorLog(g.log),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("gate: serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := srv.Shutdown(drain)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	if err != nil {
		return fmt.Errorf("gate: stop: %w", err)
	}
	return nil
}
