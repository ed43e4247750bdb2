package testkit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/weirdev/weir/proof/servers"
)

// ClickHouseClients returns a Python interpreter with third-party ClickHouse
// clients: WEIR_TEST_CLICKHOUSE_PYTHON, or else the newest one created by
// tools/clickhouse-clients.
func ClickHouseClients(t testing.TB) (python string) {
	t.Helper()
	Long(t, "it needs ClickHouse's clients")
	const variable = "WEIR_REQUIRE_CLICKHOUSE_CLIENTS"
	if python = os.Getenv("WEIR_TEST_CLICKHOUSE_PYTHON"); python == "" {
		made, _ := filepath.Glob(filepath.Join(servers.CacheDir(), "clickhouse-clients", "*", "ready"))
		if len(made) == 0 {
			lacking(t, variable, "ClickHouse's Python clients are not in the cache; tools/clickhouse-clients/fetch.sh fetches them")
		}
		python = filepath.Join(filepath.Dir(made[len(made)-1]), "bin", "python")
	}
	if out, err := exec.Command(python, "-c", "import clickhouse_driver, clickhouse_connect").CombinedOutput(); err != nil {
		lacking(t, variable, fmt.Sprintf("%s lacks ClickHouse's clients (%v): %s", python, err, out))
	}
	return python
}
