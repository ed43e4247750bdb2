package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Conns serves the connections of a listener, a bounded number at once.
type Conns struct {
	Most    int                                      // connections at once; what comes beyond them is closed
	Refused func()                                   // is called for each of those
	Serve   func(ctx context.Context, conn net.Conn) // closes conn
	Logger  *slog.Logger
}

// Run accepts connections until ctx ends, closes l, and waits for what serves them. Its
// error is that of a listener that somebody else has closed.
func (c *Conns) Run(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	slots := make(chan struct{}, c.Most)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			c.Logger.Warn("a connection could not be accepted", "address", l.Addr().String(), "error", err)
			Pause(ctx) // too many open files, most likely
			continue
		}
		select {
		case slots <- struct{}{}:
			open.Go(func() {
				defer func() { <-slots }()
				c.Serve(ctx, conn)
			})
		default:
			c.Refused()
			_ = conn.Close()
		}
	}
}

// Pause waits for a tenth of a second, or until ctx ends.
func Pause(ctx context.Context) {
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
