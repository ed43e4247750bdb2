// Package testkit starts real servers for integration tests: Apache Kafka from its
// jars, redis-server, and web servers. It also provides a small disk, and reads the
// pages of the documentation, whose examples are tested. Servers listen on the
// loopback interface only, keep their data in the test's own directory, and end with
// the test.
//
// It installs nothing. If a server is not available, the test is skipped with a
// sentence that says how to get it, or fails if the environment requires it
// (WEIR_REQUIRE_KAFKA=1, WEIR_REQUIRE_REDIS=1, WEIR_REQUIRE_WEBSERVERS=1,
// WEIR_REQUIRE_PROMETHEUS=1, WEIR_REQUIRE_REGISTRIES=1, WEIR_REQUIRE_TOOLS=1,
// WEIR_REQUIRE_CHROMIUM=1). WEIR_TEST_KAFKA and WEIR_TEST_REDIS name servers that
// already run.
package testkit

import (
	"os"
	"testing"
)

// lacking ends a test because something it needs is missing.
func lacking(t testing.TB, variable, sentence string) {
	t.Helper()
	if os.Getenv(variable) == "1" {
		t.Fatalf("%s; %s=1 requires it", sentence, variable)
	}
	t.Skip(sentence)
}
