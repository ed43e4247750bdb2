// Package haproxy answers HAProxy over SPOP, the protocol of its Stream Processing
// Offload Engine (SPOE), as an agent.
//
// HAProxy sends a message named decide with arguments for each request, and gets
// variables with the decision. Its configuration acts on them. A message named
// outcome may follow when the response is there.
//
// Of the library only the codec of frames is used, on frames whose length has been
// checked. It allocates whatever length a peer claims, and panics where lengths
// inside a frame are wrong.
package haproxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/gate/listen"
)

// Decider decides on requests.
type Decider interface {
	Decide(ctx context.Context, req gate.Request) gate.Decision
}

// Limits of what a peer may cost.
const (
	maxConnections = 1024
	maxPending     = 128      // decisions under way on one connection; beyond it nothing more is read
	maxFrame       = 64 << 10 // bytes behind the length; HAProxy sends at most tune.bufsize - 4
	minFrame       = 4 << 10  // answers must fit

	helloTimeout = 5 * time.Second // TLS included
	frameTimeout = 5 * time.Second // from the first byte of a frame to its last
	writeTimeout = 5 * time.Second
	idleTimeout  = 10 * time.Minute // HAProxy's "timeout idle" should end a connection first
)

// Dependencies are the parts that an Agent uses.
type Dependencies struct {
	Decider    Decider
	Reader     *incoming.Reader
	Renderer   *answer.Renderer
	Outcomes   Outcomes              // nil: outcomes are passed over
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: not registered
}

// Agent answers HAProxy.
type Agent struct {
	deps   Dependencies
	log    *slog.Logger
	faults *prometheus.CounterVec
}

// Reasons of faults.
const (
	tooMany   = "connections" // more connections than allowed
	malformed = "protocol"    // a frame that is wrong, or came too slowly
	unknown   = "message"     // a message or an argument of an unknown name
	panicked  = "panic"       // a decision panicked, and HAProxy got no answer
)

// New starts nothing.
func New(deps Dependencies) *Agent {
	a := &Agent{deps: deps, log: deps.Logger}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.faults = promauto.With(deps.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "weir_gate_haproxy_faults_total", Help: "What went wrong with HAProxy's connections and messages, by reason.",
	}, []string{"reason"})
	for _, reason := range []string{tooMany, malformed, unknown, panicked} {
		a.faults.WithLabelValues(reason)
	}
	return a
}

// Serve answers on l until ctx ends. It then completes the decisions under way, and
// closes l and all connections.
func (a *Agent) Serve(ctx context.Context, l net.Listener) error {
	conns := listen.Conns{Most: maxConnections, Serve: a.serve, Logger: a.log, Refused: a.faults.WithLabelValues(tooMany).Inc}
	if err := conns.Run(ctx, l); err != nil {
		return fmt.Errorf("gate: haproxy: %w", err)
	}
	return nil
}

// serve answers on one connection, and closes it.
func (a *Agent) serve(ctx context.Context, nc net.Conn) {
	c := newConn(nc)
	defer func() { _ = nc.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = nc.SetReadDeadline(past()) })
	defer stop()
	err := a.converse(ctx, c)
	c.pending.Wait()
	switch {
	case ctx.Err() != nil:
		_ = c.disconnect(normal, "the gate stops")
	case err == nil:
		_ = c.disconnect(normal, "")
	case errors.Is(err, errHealthy), errors.Is(err, errGone):
	default:
		a.faults.WithLabelValues(malformed).Inc()
		a.log.Warn("a connection of HAProxy has ended", "peer", nc.RemoteAddr().String(), "error", err)
		status := uint32(unknownError)
		if f := (*fault)(nil); errors.As(err, &f) {
			status = f.status
		}
		_ = c.disconnect(status, err.Error())
	}
}

// converse reads frames until the peer says goodbye (nil), is gone, or errs.
func (a *Agent) converse(ctx context.Context, c *conn) error {
	if err := c.hello(ctx); err != nil {
		return err
	}
	for {
		f, err := c.read(ctx, idleTimeout)
		if err != nil {
			return err
		}
		switch f.Type {
		case frame.TypeNotify:
			if !f.IsFin() {
				return &fault{fragmented, "fragments were never offered"}
			}
			in, err := describe(f.Messages)
			outcomes, wrong := told(f.Messages)
			if err == nil {
				err = wrong
			}
			if err != nil {
				a.faults.WithLabelValues(unknown).Inc()
				a.log.Warn("a message of HAProxy was not understood; see the names in its spoe-message section", "error", err)
			}
			for _, o := range outcomes {
				if a.deps.Outcomes != nil {
					a.deps.Outcomes.Outcome(o)
				}
			}
			c.slots <- struct{}{}
			c.pending.Go(func() {
				defer func() { <-c.slots }()
				a.answer(ctx, c, f.StreamID, f.FrameID, in, err != nil)
			})
		case frame.TypeHaproxyDisconnect:
			return nil
		default:
			return &fault{invalidFrame, fmt.Sprintf("a frame of type %d after the handshake", f.Type)}
		}
	}
}

// answer decides on a request and says so. in is nil if HAProxy did not ask for a
// decision. With missing, something of it is unknown.
func (a *Agent) answer(ctx context.Context, c *conn, stream, id uint64, in *incoming.Request, missing bool) {
	defer func() {
		if r := recover(); r != nil {
			a.faults.WithLabelValues(panicked).Inc()
			a.log.Error("a decision panics", "error", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	ack := frame.NewFrame()
	ack.Type, ack.StreamID, ack.FrameID = frame.TypeAgentAck, stream, id
	if in != nil {
		req := a.deps.Reader.Read(in)
		req.Missing = req.Missing || missing
		d := a.deps.Decider.Decide(context.WithoutCancel(ctx), req) // it has a budget, and ends when we stop
		rendered := a.deps.Renderer.Render(&d)
		ack.Actions = variables(&rendered)
	}
	if err := c.write(ack); err != nil {
		_ = c.net.Close() // reading ends, too
	}
}
