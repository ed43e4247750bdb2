package testkit

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// Redis is the address of a redis-server that tests may share: keys need names
// of their own. It is started for this test unless WEIR_TEST_REDIS names one.
func Redis(t testing.TB) string {
	t.Helper()
	if addr := os.Getenv("WEIR_TEST_REDIS"); addr != "" {
		return addr
	}
	return StartRedis(t).Addr
}

// StartRedis starts a redis-server of the test's own, which keeps nothing on
// disk. args are added to its command line.
func StartRedis(t testing.TB, args ...string) *Server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		lacking(t, "WEIR_REQUIRE_REDIS", "redis-server is missing (Debian: apt-get install redis-server)")
	}
	port := strconv.Itoa(FreePort(t))
	all := append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", t.TempDir()}, args...)
	return newServer(t, "127.0.0.1:"+port, path, all...)
}
