package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/weirdev/weir/internal/chdb"
)

// engine is ClickHouse as a library that serves its own protocols.
type engine interface {
	// Serve serves connections of the native protocol until ctx ends.
	Serve(ctx context.Context, l net.Listener) error
	// ServeOverHTTP serves the HTTP interface until ctx ends.
	ServeOverHTTP(ctx context.Context, l net.Listener) error
	// Close writes data that is still in memory.
	Close() error
}

// openEngine opens the engine on a directory.
func openEngine(dir string, log *slog.Logger) (engine, error) {
	e, err := chdb.Open(dir)
	if err != nil {
		return nil, err
	}
	return &chdbEngine{chdb.NewServer(e, log), e}, nil
}

type chdbEngine struct {
	*chdb.Server
	engine *chdb.Engine
}

func (e *chdbEngine) Close() error { e.engine.Close(); return nil }

// startClickHouse opens the engine, and serves it on each configured address.
func (s *Sandbox) startClickHouse(dir string) (stop func() error, err error) {
	if s.cfg.ClickHouseAddr+s.cfg.ClickHouseHTTPAddr == "" {
		return nil, nil
	}
	native, err := listen(s.cfg.ClickHouseAddr)
	if err != nil {
		return nil, err
	}
	overHTTP, err := listen(s.cfg.ClickHouseHTTPAddr)
	if err != nil {
		return nil, errors.Join(err, closeListener(native))
	}
	e, err := s.engine(filepath.Join(dir, "clickhouse"))
	if err != nil {
		return nil, errors.Join(err, closeListener(native), closeListener(overHTTP))
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 2)
	s.addresses.ClickHouse = s.serve(ctx, native, e.Serve, served)
	s.addresses.ClickHouseHTTP = s.serve(ctx, overHTTP, e.ServeOverHTTP, served)
	return func() error {
		cancel()
		return errors.Join(<-served, <-served, e.Close())
	}, nil
}

// serve calls run on l, and returns the address; l may be nil. If run ends for
// another reason than ctx, served gets the error.
func (s *Sandbox) serve(ctx context.Context, l net.Listener, run func(context.Context, net.Listener) error, served chan<- error) (addr string) {
	if l == nil {
		served <- nil
		return ""
	}
	go func() {
		err := run(ctx, l)
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			err = nil
		}
		if err != nil && ctx.Err() == nil {
			s.failed <- fmt.Errorf("sandbox: clickhouse: %w", err)
		}
		served <- err
	}()
	return l.Addr().String()
}

// listen returns nil without an address.
func listen(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, inUse(err, addr)
	}
	return l, nil
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}
