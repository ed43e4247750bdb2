package testkit

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Server is a server process that a test may kill and start again on the same
// address, with the same data.
type Server struct {
	Addr string

	path  string
	args  []string
	cmd   *exec.Cmd
	out   *lockedBuffer
	ended chan struct{}
}

// startTime is how long a server may take until it accepts connections.
const startTime = 90 * time.Second

// newServer starts a server that ends with the test.
func newServer(t testing.TB, addr, path string, args ...string) *Server {
	t.Helper()
	s := &Server{Addr: addr, path: path, args: args}
	t.Cleanup(func() { s.Kill(t) })
	s.Start(t)
	return s
}

// Start starts the process and returns when it accepts connections.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.out, s.ended = &lockedBuffer{}, make(chan struct{})
	s.cmd = exec.Command(s.path, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	s.cmd.SysProcAttr = childAttributes()
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", s.name(), err)
	}
	go func(cmd *exec.Cmd, ended chan<- struct{}) {
		_ = cmd.Wait() // it is killed, so it always fails
		close(ended)
	}(s.cmd, s.ended)
	s.await(t)
}

// Kill ends the process at once (SIGKILL) and waits until it is gone. Killing
// twice does nothing.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.ended
	s.cmd = nil
}

func (s *Server) name() string { return filepath.Base(s.path) }

func (s *Server) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.DialTimeout("tcp", s.Addr, time.Second); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-s.ended:
			t.Fatalf("%s ended at its start:\n%s", s.name(), s.out.String())
		case <-ctx.Done():
			t.Fatalf("%s does not answer at %s:\n%s", s.name(), s.Addr, s.out.String())
		}
	}
}

// lockedBuffer takes what a process prints while others look at it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
