package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weirdev/weir/app/procs"
	"github.com/weirdev/weir/gate/client"
	"github.com/weirdev/weir/gate/listen"
	"github.com/weirdev/weir/gate/policy"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/proof/servers"
)

const (
	processRounds = 5
	processCalls  = 5000 // per round and side
)

// Echo answers HTTP requests with what they hold until ctx ends. Addresses are
// host:port or unix:PATH. It is the process that a gate is compared with.
func Echo(ctx context.Context, addresses []string) error {
	access, err := listen.New(listen.Defaults())
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, addr := range addresses {
		l, err := access.Open(ctx, addr)
		if err != nil {
			return err // the process ends, and its listeners with it
		}
		srv := &http.Server{Handler: echo(), ErrorLog: telemetry.ErrorLog(slog.New(slog.DiscardHandler))}
		group.Go(func() error { return listen.ServeHTTP(ctx, l, srv, policy.MaxBudget) })
	}
	return group.Wait()
}

// processes compares a weir-gate with an echo, each a process of its own: requests a
// second of the server's CPU time alone.
func (w *gateWorld) processes(ctx context.Context, r *report) error {
	gate, gateSocket := w.process, w.processSocket
	echo, echoSocket, err := w.echoProcess(ctx)
	if err != nil {
		return err
	}
	if gate.CPU() == 0 {
		r.note("%-46s %16s   this system does not tell", "decisions a CPU second of weir-gate", "unknown")
		return nil
	}
	for _, at := range []struct{ name, network, gate, echo string }{
		{"TCP", "tcp", gate.Addr, echo.Addr}, {"a Unix socket", "unix", gateSocket, echoSocket},
	} {
		decide, err := w.rawHTTP(ctx, at.network, at.gate, "/v1/decide", w.bodies)
		if err != nil {
			return err
		}
		back, err := w.rawHTTP(ctx, at.network, at.echo, "/", w.bodies)
		if err != nil {
			return err
		}
		var decisions, echoes float64
		for range processRounds {
			for _, s := range []struct {
				server *servers.Server
				call   func() error
				best   *float64
			}{{gate, decide, &decisions}, {echo, back, &echoes}} {
				n, err := perCPUSecond(s.server, s.call)
				if err != nil {
					return fmt.Errorf("over %s: %w", at.name, err)
				}
				*s.best = max(*s.best, n)
			}
		}
		r.note("%-46s %16.0f   a process that echoes: %.0f (%.2f)", "decisions a CPU second of weir-gate, "+at.name, decisions, echoes, decisions/echoes)
	}
	return nil
}

// perCPUSecond returns the calls that a server answers in a second of its CPU time.
func perCPUSecond(s *servers.Server, call func() error) (float64, error) {
	before := s.CPU()
	for range processCalls {
		if err := call(); err != nil {
			return 0, err
		}
	}
	return processCalls / (s.CPU() - before).Seconds(), nil
}

// gateProcess starts a weir-gate that knows what the gate in this process knows.
func (w *gateWorld) gateProcess(ctx context.Context) (s *servers.Server, socket string, err error) {
	path, err := procs.Find("weir-gate")
	if err != nil {
		return nil, "", err
	}
	socket, file := filepath.Join(w.dir, "process.sock"), filepath.Join(w.dir, "gate.yaml")
	addr, err := servers.FreeAddr()
	if err != nil {
		return nil, "", err
	}
	config := fmt.Sprintf("stream: {secret: %q}\nredis: {addrs: [%q]}\nadmin: {listen: \"127.0.0.1:0\"}\ngate: {listen: %q, socket: %q}\nlog: {level: error}\n", w.secret, w.redisTCP, addr, socket)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, "", err
	}
	s = servers.New(addr, path, "-config", file)
	w.atEnd(s.Kill)
	if err := s.Start(ctx); err != nil {
		return nil, "", err
	}
	for _, at := range []string{"http://" + addr, "unix:" + socket} {
		if err := w.known(ctx, at); err != nil {
			return nil, "", err
		}
	}
	return s, socket, nil
}

// known asks a gate about everybody until its answers are right, which also fills its
// cache.
func (w *gateWorld) known(ctx context.Context, at string) error {
	c, err := client.New(client.Config{Address: at, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	for i := range w.questions {
		d, err := c.Decide(ctx, client.Of(&w.questions[i]))
		if err == nil && (d.Degraded || d.Score > 0 != (i%gateAccused == 0)) {
			err = fmt.Errorf("a wrong decision on person %d: %+v", i, d)
		}
		if err != nil {
			return fmt.Errorf("weir-gate at %s: %w", at, err)
		}
	}
	return nil
}

func (w *gateWorld) echoProcess(ctx context.Context) (s *servers.Server, socket string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	addr, err := servers.FreeAddr()
	if err != nil {
		return nil, "", err
	}
	socket = filepath.Join(w.dir, "echoing.sock")
	// It opens the socket first, so that both are there when the address answers.
	s = servers.New(addr, self, "bench", "-echo", "unix:"+socket+","+addr)
	w.atEnd(s.Kill)
	return s, socket, s.Start(ctx)
}
