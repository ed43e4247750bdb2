package bench

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/weirdev/weir/proof/servers"
)

// TestEchoAnswersOnAllAddresses: what gates are compared with takes the same requests.
func TestEchoAnswersOnAllAddresses(t *testing.T) {
	addr, err := servers.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	socket, plain := filepath.Join(dir, "echo.sock"), filepath.Join(dir, "bytes.sock")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Echo(ctx, []string{bytesOnly + plain, "unix:" + socket, addr}) }()
	w := &gateWorld{}
	for network, at := range map[string]string{"tcp": addr, "unix": socket} {
		var call func() error
		for call == nil { // until it listens
			if call, err = w.rawHTTP(ctx, network, at, "/", [][]byte{[]byte(`{"a":1}`), []byte(`{}`)}); err != nil {
				select {
				case err := <-ended:
					t.Fatal(err)
				default:
				}
			}
		}
		for range 3 {
			if err := call(); err != nil {
				t.Errorf("over %s: %v", network, err)
			}
		}
	}
	call, err := w.echoed(ctx, plain)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := call(); err != nil {
			t.Error(err)
		}
	}
	w.close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
