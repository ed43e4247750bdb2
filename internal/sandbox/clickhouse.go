package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
)

// engine is ClickHouse as a library that answers its own protocol.
type engine interface {
	// Serve answers connections until ctx ends.
	Serve(ctx context.Context, l net.Listener) error
	// Close writes what is still in memory.
	Close() error
}

var errNoEngine = errors.New("this build has no ClickHouse")

// openEngine opens the engine on a directory.
func openEngine(dir string) (engine, error) { return nil, fmt.Errorf("%w (%s)", errNoEngine, dir) }

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
