package testkit

import (
	"testing"
	"time"

	"github.com/weirdev/weir/proof/servers"
)

// Web starts a web server for this test alone, as returned by describe: at addr,
// with its files in dir.
func Web(t testing.TB, describe func(addr, dir string) (*servers.Server, error)) *Server {
	t.Helper()
	return start(t, "WEIR_REQUIRE_WEBSERVERS", describe)
}

// Stop asks the process to end (SIGTERM), so that it writes its buffers, and waits
// until it is gone.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.server.Stop(15 * time.Second)
}
