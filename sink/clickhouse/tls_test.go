package clickhouse_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/chdb"
	"github.com/weirdev/weir/internal/tlsconfig"
	"github.com/weirdev/weir/proof/testkit"
	"github.com/weirdev/weir/sink/clickhouse"
)

// startProtected is a server that speaks TLS.
func startProtected(t *testing.T, cfg *tls.Config) (addr string) {
	t.Helper()
	e := engineFor(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = chdb.NewServer(e, slog.New(slog.DiscardHandler)).Serve(ctx, tls.NewListener(l, cfg))
	}()
	t.Cleanup(func() { cancel(); <-served })
	return l.Addr().String()
}

func TestOverTLS(t *testing.T) {
	ours, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	good, client, stranger := ours.Identity("clickhouse.test", nil), ours.Identity("worker", nil), other.Identity("worker", nil)
	stale := ours.Identity("clickhouse.test", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-24 * time.Hour) })
	serving := func(id testkit.Identity) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{id.Pair}} }
	open, expired := startProtected(t, serving(good)), startProtected(t, serving(stale))
	demanding := startProtected(t, &tls.Config{Certificates: []tls.Certificate{good.Pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool()})
	plain := start(t, "127.0.0.1:0").addr
	for _, c := range []struct {
		name, addr string
		tls        tlsconfig.Config
		want       string // "": it works
	}{
		{"the right authority", open, tlsconfig.Config{CAFile: ours.File}, ""},
		{"another authority", open, tlsconfig.Config{CAFile: other.File}, "clickhouse.tls.ca_file names the authority"},
		{"another name", open, tlsconfig.Config{CAFile: ours.File, ServerName: "other.test"}, "not for other.test: clickhouse.tls.server_name"},
		{"the name that is expected", open, tlsconfig.Config{CAFile: ours.File, ServerName: "clickhouse.test"}, ""},
		{"an expired certificate", expired, tlsconfig.Config{CAFile: ours.File}, "must be renewed"},
		{"no client certificate where one is asked for", demanding, tlsconfig.Config{CAFile: ours.File}, "set clickhouse.tls.cert_file"},
		{"a client certificate", demanding, tlsconfig.Config{CAFile: ours.File, CertFile: client.CertFile, KeyFile: client.KeyFile}, ""},
		{"a client certificate of another authority", demanding, tlsconfig.Config{CAFile: ours.File, CertFile: stranger.CertFile, KeyFile: stranger.KeyFile}, "refuses our certificate"},
		{"a server that speaks no TLS", plain, tlsconfig.Config{CAFile: ours.File}, "clickhouse.tls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := clickhouse.Defaults()
			cfg.Addrs, cfg.TLS = []string{c.addr}, c.tls
			cfg.TLS.Enabled = true
			conn, err := clickhouse.Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var one uint8
			err = conn.QueryRow(t.Context(), "SELECT 1").Scan(&one)
			if c.want == "" && (err != nil || one != 1) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%d, %v, want %q", one, err, c.want)
			}
		})
	}
}
