// Package servers runs server programs as child processes that may be killed and
// restarted on the same address with the same data: for tests, and for proofs about
// restarts.
//
// A server ends with the program that started it, however that ends.
package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/weirdev/weir/app/procs"
)

// ErrMissing means that a server cannot run because a program, or one of its
// dependencies, is not installed. The error says how to get it.
var ErrMissing = errors.New("not installed")

// Server is a server process. Its methods must be called from one goroutine, except
// [Server.PID].
type Server struct {
	Addr string

	path  string
	args  []string
	mu    sync.Mutex // guards child
	child *procs.Child
	out   *tail
}

// startTime limits how long a server may take until it accepts connections.
const startTime = 90 * time.Second

// New describes a server that listens at addr. It starts nothing.
func New(addr, path string, args ...string) *Server {
	return &Server{Addr: addr, path: path, args: args}
}

// Start starts the process and returns when it accepts connections. If it fails,
// nothing is left running.
func (s *Server) Start(ctx context.Context) error {
	s.out = &tail{}
	c, err := procs.Start(s.path, s.args, nil, s.out, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name(), err)
	}
	s.set(c)
	if err := s.await(ctx, c); err != nil {
		s.Kill()
		return err
	}
	return nil
}

// Kill ends the process at once (SIGKILL) and waits until it is gone. It does
// nothing if no process runs.
func (s *Server) Kill() {
	if c := s.running(); c != nil {
		c.Kill()
		s.set(nil)
	}
}

// Stop asks the process to end, and kills it if it has not ended in time.
func (s *Server) Stop(within time.Duration) {
	if c := s.running(); c != nil {
		_ = c.Stop(within) // the manner of its end does not matter
		s.set(nil)
	}
}

func (s *Server) set(c *procs.Child) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.child = c
}

func (s *Server) running() *procs.Child {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.child
}

// PID returns the process id, 0 while none runs.
func (s *Server) PID() int {
	if c := s.running(); c != nil {
		return c.PID()
	}
	return 0
}

// CPU returns the CPU time that the process has used so far; 0 if none runs, or the
// system does not tell.
func (s *Server) CPU() time.Duration {
	if c := s.running(); c != nil {
		return c.CPU()
	}
	return 0
}

// Output returns the end of what the process has written.
func (s *Server) Output() string { return s.out.String() }

func (s *Server) name() string { return filepath.Base(s.path) }

func (s *Server) await(ctx context.Context, child *procs.Child) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-child.Ended():
			return fmt.Errorf("%s ended at its start:\n%s", s.name(), s.out.String())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer at %s: %w\n%s", s.name(), s.Addr, ctx.Err(), s.out.String())
		}
	}
}

// FreeAddr returns a loopback address with a port that is currently free. The port is
// below those that systems give to outgoing connections, which could otherwise take it
// before its server starts, or while the server is down.
func FreeAddr() (addr string, err error) {
	for range 100 {
		addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(10_000+rand.IntN(20_000)))
		var l net.Listener
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

// tail keeps the end of a process's output, and can be read concurrently.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

const tailBytes = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b.Len() > 2*tailBytes {
		t.b.Next(t.b.Len() - tailBytes)
	}
	return t.b.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// lookPath finds a program, or names the Debian package that contains it.
func lookPath(name, pkg string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: %s is missing (Debian: apt-get install %s)", ErrMissing, name, pkg)
	}
	return path, nil
}

// CacheDir returns the directory for downloads that are kept between runs.
func CacheDir() string {
	if c := os.Getenv("WEIR_CACHE"); c != "" {
		return c
	}
	if c, err := os.UserCacheDir(); err == nil {
		return filepath.Join(c, "weir")
	}
	return os.TempDir()
}
