package testkit

import (
	"testing"
	"time"

	"github.com/weirdev/weir/proof/servers"
)

// StartPrometheus starts a Prometheus for this test alone. It scrapes the addresses of
// each job at an interval, and evaluates the rules of the given files.
func StartPrometheus(t testing.TB, every time.Duration, jobs map[string][]string, rules ...string) *Server {
	t.Helper()
	return start(t, "WEIR_REQUIRE_PROMETHEUS", func(addr, dir string) (*servers.Server, error) {
		return servers.Prometheus(addr, dir, every, jobs, rules...)
	})
}
