package testkit

import (
	"os"
	"testing"

	"github.com/weirdev/weir/proof/servers"
)

// Redis returns the address of a redis-server that tests may share: keys need unique
// names. It is started for this test unless WEIR_TEST_REDIS names one.
func Redis(t testing.TB) string {
	t.Helper()
	if addr := os.Getenv("WEIR_TEST_REDIS"); addr != "" {
		return addr
	}
	return StartRedis(t).Addr
}

// StartRedis starts a redis-server for this test alone, which keeps nothing on disk.
// args are added to its command line.
func StartRedis(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, "WEIR_REQUIRE_REDIS", func(addr, dir string) (*servers.Server, error) {
		return servers.Redis(addr, dir, args...)
	})
}

// StartSentinel starts a sentinel for this test alone, which watches a master.
func StartSentinel(t testing.TB, name, master string) *Server {
	t.Helper()
	return start(t, "WEIR_REQUIRE_REDIS", func(addr, dir string) (*servers.Server, error) {
		return servers.Sentinel(addr, dir, name, master)
	})
}
