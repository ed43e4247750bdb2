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

// engine is ClickHouse as a library that answers its own protocol.
type engine interface {
	// Serve answers connections until ctx ends.
	Serve(ctx context.Context, l net.Listener) error
	// Close writes what is still in memory.
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

func (s *Sandbox) startClickHouse(dir string) (stop func() error, err error) {
	if s.cfg.ClickHouseAddr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", s.cfg.ClickHouseAddr)
	if err != nil {
		return nil, inUse(err, s.cfg.ClickHouseAddr)
	}
	e, err := s.engine(filepath.Join(dir, "clickhouse"))
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		err := e.Serve(ctx, l)
		if err != nil && ctx.Err() == nil {
			s.failed <- fmt.Errorf("sandbox: clickhouse: %w", err)
		}
		served <- err
	}()
	s.addresses.ClickHouse = l.Addr().String()
	return func() error {
		cancel()
		err := <-served
		if ctxErr := ctx.Err(); errors.Is(err, ctxErr) {
			err = nil
		}
		return errors.Join(err, e.Close())
	}, nil
}
