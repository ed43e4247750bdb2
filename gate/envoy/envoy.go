// Package envoy answers Envoy over gRPC: ext_authz asks for decisions, and the
// access log service tells what became of requests.
package envoy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"time"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weirdev/weir/gate"
	"github.com/weirdev/weir/gate/answer"
	"github.com/weirdev/weir/gate/incoming"
	"github.com/weirdev/weir/gate/listen"
)

// Decider decides on requests.
type Decider interface {
	Decide(ctx context.Context, req gate.Request) gate.Decision
}

// Dependencies are the parts that a server uses.
type Dependencies struct {
	Decider    Decider
	Reader     *incoming.Reader
	Renderer   *answer.Renderer
	Access     *listen.Access
	Outcomes   Outcomes // nil: the access log service is not offered
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: not registered
}

// Server serves Envoys.
type Server struct {
	deps   Dependencies
	errors *prometheus.CounterVec
}

// New starts nothing.
func New(deps Dependencies) *Server {
	return &Server{deps: deps, errors: promauto.With(deps.Registerer).NewCounterVec(prometheus.CounterOpts{
		Name: "weir_gate_envoy_errors_total",
		Help: "Calls of Envoys that were answered by an error of gRPC, by its code. For ext_authz, Envoy's failure_mode_allow decides then.",
	}, []string{"code"})}
}

// Limits of the server. Questions and batches of log entries are small: Envoy sends
// the latter at 16 KiB by default.
const (
	maxMessage   = gate.MaxBodyBytes
	maxHeaders   = 64 << 10
	maxStreams   = 1024 // of a connection; an Envoy has one for each of its threads
	handshake    = 5 * time.Second
	idle         = 15 * time.Minute
	ping         = time.Minute
	pingTimeout  = 20 * time.Second
	fastestPing  = 10 * time.Second
	drainTimeout = 5 * time.Second
)

// Serve answers on l until ctx ends, then completes open calls, and closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	c := &calls{Server: s, stopping: make(chan struct{})}
	srv := grpc.NewServer(
		grpc.ChainUnaryInterceptor(c.unary), grpc.ChainStreamInterceptor(c.stream),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams), grpc.ConnectionTimeout(handshake),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idle, Time: ping, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: fastestPing, PermitWithoutStream: true}),
	)
	auth.RegisterAuthorizationServer(srv, &authorization{deps: &s.deps})
	if s.deps.Outcomes != nil {
		accesslog.RegisterAccessLogServiceServer(srv, &accessLog{outcomes: s.deps.Outcomes, reader: s.deps.Reader})
	}
	state := health.NewServer() // "" is SERVING
	state.SetServingStatus(auth.Authorization_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(srv, state)

	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("gate: serve Envoy: %w", err)
	case <-ctx.Done():
	}
	state.Shutdown()
	close(c.stopping)
	// A connection that does not end by itself is cut.
	cut := time.AfterFunc(drainTimeout, srv.Stop)
	defer cut.Stop()
	srv.GracefulStop()
	if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("gate: stop serving Envoy: %w", err)
	}
	return nil
}

// calls guards the calls to one server.
type calls struct {
	*Server
	stopping chan struct{} // closed when the server stops
}

func (c *calls) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	err = c.guard(ctx, info.FullMethod, func() (err error) {
		resp, err = handler(ctx, req)
		return err
	})
	return resp, err
}

// stream ends streams when the server stops: Envoy never ends those of its logs.
func (c *calls) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ended := make(chan error, 1)
	go func() { ended <- c.guard(ss.Context(), info.FullMethod, func() error { return handler(srv, ss) }) }()
	select {
	case err := <-ended:
		return err
	case <-c.stopping:
		return status.Error(codes.Unavailable, "the gate stops")
	}
}

// guard calls a handler for a caller that may ask. A panic becomes an error.
func (c *calls) guard(ctx context.Context, method string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.deps.Logger.Error("a call of Envoy panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "the gate failed; its log says why")
		}
		if code := status.Code(err); err != nil && code != codes.Canceled {
			c.errors.WithLabelValues(code.String()).Inc()
		}
	}()
	if !strings.HasPrefix(method, "/"+healthpb.Health_ServiceDesc.ServiceName+"/") && !c.deps.Access.Knows(token(ctx)) {
		return status.Error(codes.Unauthenticated, "the gateway's token is missing or wrong; send gate.access.token as x-weir-token (grpc_service.initial_metadata)")
	}
	return call()
}

// token returns the shared token of a call; "" unless there is one alone.
func token(ctx context.Context) string {
	if all := metadata.ValueFromIncomingContext(ctx, listen.TokenHeader); len(all) == 1 {
		return all[0]
	}
	return ""
}
