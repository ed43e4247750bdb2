package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// bytesOnly marks the address of a Unix socket on which bytes are echoed as they come.
const bytesOnly = "bytes:"

// Echo answers HTTP requests with what they hold until ctx ends. Addresses are
// host:port or unix:PATH. On bytes:PATH, a Unix socket, it knows no HTTP, and answers
// with the bytes that it reads. It is the process that a gate is compared with.
func Echo(ctx context.Context, addresses []string) error {
	access, err := listen.New(listen.Defaults())
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, addr := range addresses {
		path, plain := strings.CutPrefix(addr, bytesOnly)
		if plain {
			addr = "unix:" + path
		}
		l, err := access.Open(ctx, addr)
		if err != nil {
			return err // the process ends, and its listeners with it
		}
		if plain {
			group.Go(func() error { return echoBytes(ctx, l) })
			continue
		}
		srv := &http.Server{Handler: echo(), ErrorLog: telemetry.ErrorLog(slog.New(slog.DiscardHandler))}
		group.Go(func() error { return listen.ServeHTTP(ctx, l, srv, policy.MaxBudget) })
	}
	return group.Wait()
}

// echoBytes answers each connection with what it sends, until ctx ends.
func echoBytes(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		go func() {
			defer stop()
			defer c.Close()
			b := make([]byte, 4096)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				if _, err := c.Write(b[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// processes compares a weir-gate with an echo, each a process of its own: requests a
// second of the server's CPU time alone.
func (w *gateWorld) processes(ctx context.Context, r *report) error {
	gate, gateSocket, echo, echoSocket := w.process, w.processSocket, w.echoes, w.echoSocket
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

// echoProcess starts the process that weir-gate is compared with.
func (w *gateWorld) echoProcess(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	addr, err := servers.FreeAddr()
	if err != nil {
		return err
	}
	w.echoSocket, w.bytesSocket = filepath.Join(w.dir, "echoing.sock"), filepath.Join(w.dir, "echoing-bytes.sock")
	// It opens the sockets first, so that all are there when the address answers.
	w.echoes = servers.New(addr, self, "bench", "-echo", "unix:"+w.echoSocket+","+bytesOnly+w.bytesSocket+","+addr)
	w.atEnd(w.echoes.Kill)
	return w.echoes.Start(ctx)
}
