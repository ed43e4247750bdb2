package testkit

import (
	"errors"
	"syscall"
	"testing"

	"github.com/weirdev/weir/proof/servers"
)

// Server is a server process that a test may kill and restart on the same address,
// with the same data.
type Server struct {
	Addr string

	server *servers.Server
}

// start starts a server that ends with the test. If something is not installed, it
// skips the test, or fails it if variable requires the server.
func start(t testing.TB, variable string, describe func(addr, dir string) (*servers.Server, error)) *Server {
	t.Helper()
	Long(t, "it needs a real server")
	if Raced {
		t.Skip("the race detector watches the same code against embedded servers")
	}
	addr, err := servers.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	server, err := describe(addr, t.TempDir())
	if errors.Is(err, servers.ErrMissing) {
		lacking(t, variable, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: addr, server: server}
	t.Cleanup(func() {
		s.Kill(t)
		if t.Failed() {
			t.Logf("the server at %s said:\n%s", addr, server.Output())
		}
	})
	s.Start(t)
	return s
}

// Start starts the process and returns when it accepts connections.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Signal sends the running process a signal, such as SIGSTOP.
func (s *Server) Signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.server.PID(), sig); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the process at once (SIGKILL) and waits until it is gone. Killing
// twice does nothing.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.server.Kill()
}
