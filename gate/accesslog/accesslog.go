// Package accesslog takes the access logs of gateways, for what became of requests.
// nginx, Caddy and HAProxy can write a line of their log to an address, and cannot
// call anybody after a response.
//
// A line is a JSON object, one in each datagram or in each line of a connection.
// What stands before the object, such as the head of a syslog message, is passed over.
package accesslog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/gate/emit"
	"github.com/weirdev/weir/gate/listen"
)

// Outcomes takes what became of requests. Calls may overlap.
type Outcomes interface {
	// Outcome reports false if no event waits for it.
	Outcome(o emit.Outcome) bool
}

// Limits of what a writer may cost.
const (
	maxLine        = 16 << 10 // bytes
	maxConnections = 64
)

// Dependencies are the parts that a Receiver uses.
type Dependencies struct {
	Outcomes   Outcomes
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
}

// Receiver reads lines.
type Receiver struct {
	outcomes                    Outcomes
	log                         *slog.Logger
	told, undecided, unreadable prometheus.Counter
}

// New starts nothing.
func New(deps Dependencies) *Receiver {
	r := &Receiver{outcomes: deps.Outcomes, log: deps.Logger}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	lines := promauto.With(deps.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "weir_gate_log_lines_total", Help: "Lines of gateways' access logs, by result: outcome (of a decision), undecided (the line names no decision), unreadable (no JSON object, or too long).",
	}, []string{"result"})
	r.told, r.undecided, r.unreadable = lines.WithLabelValues("outcome"), lines.WithLabelValues("undecided"), lines.WithLabelValues("unreadable")
	return r
}

// line takes one line or datagram.
func (r *Receiver) line(b []byte, from net.Addr) {
	o, err := Parse(b)
	switch {
	case err != nil:
		r.refuse(err, from)
	case o.DecisionID == "":
		r.undecided.Inc()
	default:
		r.told.Inc()
		r.outcomes.Outcome(o)
	}
}

func (r *Receiver) refuse(err error, from net.Addr) {
	r.unreadable.Inc()
	peer := ""
	if from != nil {
		peer = from.String()
	}
	r.log.Warn("a line of a gateway's log was not understood; compare its format with docs/gateways", "peer", peer, "error", err)
}

// ServePackets reads datagrams until ctx ends, and closes c.
func (r *Receiver) ServePackets(ctx context.Context, c net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	b := make([]byte, maxLine+1)
	for {
		n, from, err := c.ReadFrom(b)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("gate: log: %w", err)
		case err != nil:
			r.log.Warn("a datagram could not be read", "error", err)
			listen.Pause(ctx)
		case n > maxLine:
			r.refuse(errTooLong, from)
		default:
			r.line(b[:n], from)
		}
	}
}

// Serve reads lines of connections until ctx ends. It closes l and all connections.
func (r *Receiver) Serve(ctx context.Context, l net.Listener) error {
	conns := listen.Conns{Most: maxConnections, Serve: r.read, Logger: r.log, Refused: func() {
		r.log.Warn("a connection for a gateway's log was closed, because there are too many", "most", maxConnections)
	}}
	if err := conns.Run(ctx, l); err != nil {
		return fmt.Errorf("gate: log: %w", err)
	}
	return nil
}

// read reads the lines of one connection, and closes it.
func (r *Receiver) read(ctx context.Context, c net.Conn) {
	defer func() { _ = c.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	in := bufio.NewReaderSize(c, maxLine)
	for {
		b, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			r.refuse(errTooLong, c.RemoteAddr())
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
		case err == nil || errors.Is(err, io.EOF):
			if b = bytes.TrimSpace(b); len(b) > 0 {
				r.line(b, c.RemoteAddr())
			}
		}
		if err != nil {
			return // the gateway opens another one
		}
	}
}
