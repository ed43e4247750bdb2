package testkit

import (
	"errors"
	"os"
	"testing"

	"github.com/weirdev/weir/internal/chdb"
)

// Long leaves a test to `make proof`, and skips it in a short run (`make test`,
// go test -short). why is the reason: a server, many processes, minutes of work.
func Long(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("left to make proof: " + why)
	}
}

// ChDB marks a test that needs the embedded ClickHouse engine. A short run leaves it
// to `make proof`.
func ChDB(t testing.TB) {
	t.Helper()
	Long(t, "it needs the embedded ClickHouse engine")
	if _, err := chdb.Find(); errors.Is(err, chdb.ErrNoLibrary) && os.Getenv("WEIR_REQUIRE_CHDB") == "" {
		t.Skip(err)
	}
}
