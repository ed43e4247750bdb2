package chdb

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
)

// Server speaks ClickHouse's native protocol, and its HTTP interface, in front of
// an engine.
type Server struct {
	engine *Engine
	log    *slog.Logger
}

// NewServer creates a server. It does not listen yet.
func NewServer(e *Engine, log *slog.Logger) *Server { return &Server{engine: e, log: log} }

// Serve serves connections on l until ctx ends, then closes them and l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns = map[net.Conn]struct{}{}
	)
	stop := context.AfterFunc(ctx, func() {
		_ = l.Close()
		mu.Lock()
		defer mu.Unlock()
		for c := range conns {
			_ = c.Close()
		}
	})
	defer stop()
	defer wg.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		mu.Lock()
		conns[c] = struct{}{}
		if ctx.Err() != nil {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Go(func() {
			defer func() {
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
				_ = c.Close()
			}()
			if err := newSession(s.engine, c).run(); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
				s.log.Debug("clickhouse connection ended", "peer", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}
