package app

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// TestAGateIsReadyWhateverRedisIs: without Redis it answers by its policy. A gate
// that is taken out of service would not answer at all.
func TestAGateIsReadyWhateverRedisIs(t *testing.T) {
	up := miniredis.RunT(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, addr, says string }{
		{"it answers", up.Addr(), "ok"},
		{"nobody listens", gone.Addr().String(), "degraded: "},
		{"it hangs", silent.Addr().String(), "degraded: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := Defaults()
			cfg.Stream.Secret, cfg.Redis.Addrs = "an example, never a real secret!", []string{tc.addr}
			g, err := NewGate(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer g.reader.Close()
			w, start := httptest.NewRecorder(), time.Now()
			g.admin.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
			var report map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil || w.Code != 200 || !strings.HasPrefix(report["risk"], tc.says) {
				t.Errorf("%d %s (%v), want %q", w.Code, w.Body, err, tc.says)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("after %v", took)
			}
		})
	}
}
