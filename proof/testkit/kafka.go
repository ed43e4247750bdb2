package testkit

import (
	"os"
	"testing"

	"github.com/weirdev/weir/proof/servers"
)

// Kafka returns the address of an Apache Kafka that tests may share: topics and
// groups need unique names. It is started for this test unless WEIR_TEST_KAFKA names
// one.
func Kafka(t testing.TB) string {
	t.Helper()
	if addr := os.Getenv("WEIR_TEST_KAFKA"); addr != "" {
		return addr
	}
	return StartKafka(t).Addr
}

// StartKafka starts an Apache Kafka for this test alone: one node, KRaft. The given
// lines of server.properties override the defaults. It takes five to ten seconds.
func StartKafka(t testing.TB, settings ...string) *Server {
	t.Helper()
	return start(t, "WEIR_REQUIRE_KAFKA", func(addr, dir string) (*servers.Server, error) {
		return servers.Kafka(addr, dir, settings...)
	})
}
