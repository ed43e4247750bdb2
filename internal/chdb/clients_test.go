package chdb_test

import (
	"net"
	"os/exec"
	"testing"

	"github.com/weirdev/weir/proof/testkit"
)

// TestClientsOfOtherHands runs Python's clients: what our own client and server
// agree on may be wrong in both.
func TestClientsOfOtherHands(t *testing.T) {
	python := testkit.ClickHouseClients(t)
	addr, overHTTP, _ := children(t, t.TempDir())
	for _, c := range []struct{ name, script, addr, more string }{
		{"native, uncompressed", "native.py", addr, ""},
		{"native, lz4", "native.py", addr, "lz4"},
		{"HTTP", "over_http.py", overHTTP, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			host, port, _ := net.SplitHostPort(c.addr)
			out, err := exec.CommandContext(t.Context(), python, "testdata/"+c.script, host, port, c.more).CombinedOutput()
			if err != nil || string(out) != "ok\n" {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
