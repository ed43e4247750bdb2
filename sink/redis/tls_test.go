package redis

import (
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/tlsconfig"
	"github.com/weirdev/weir/proof/servers"
	"github.com/weirdev/weir/proof/testkit"
)

// startProtected starts a redis-server that speaks TLS on another port.
func startProtected(t *testing.T, a *testkit.Authority, id testkit.Identity, clients string) (addr string) {
	t.Helper()
	addr, err := servers.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	startReal(t, "--tls-port", port, "--tls-cert-file", id.CertFile, "--tls-key-file", id.KeyFile, "--tls-ca-cert-file", a.File, "--tls-auth-clients", clients)
	return addr
}

func TestOverTLS(t *testing.T) {
	ours, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	good, client := ours.Identity("redis.test", nil), ours.Identity("gate", nil)
	expired := ours.Identity("redis.test", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-24 * time.Hour) })
	open := startProtected(t, ours, good, "no")
	demanding := startProtected(t, ours, good, "yes")
	stale := startProtected(t, ours, expired, "no")
	for _, c := range []struct {
		name, addr string
		tls        tlsconfig.Config
		want       string // "": it works
	}{
		{"the right authority", open, tlsconfig.Config{CAFile: ours.File}, ""},
		{"another authority", open, tlsconfig.Config{CAFile: other.File}, "redis.tls.ca_file names the authority"},
		{"another name", open, tlsconfig.Config{CAFile: ours.File, ServerName: "other.test"}, "not for other.test: redis.tls.server_name"},
		{"an expired certificate", stale, tlsconfig.Config{CAFile: ours.File}, "must be renewed"},
		{"no client certificate where one is asked for", demanding, tlsconfig.Config{CAFile: ours.File}, "set redis.tls.cert_file"},
		{"a client certificate", demanding, tlsconfig.Config{CAFile: ours.File, CertFile: client.CertFile, KeyFile: client.KeyFile}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Defaults()
			cfg.Addrs, cfg.TLS, cfg.ReadTimeout = []string{c.addr}, c.tls, 2*time.Second
			cfg.TLS.Enabled = true
			r, err := NewReader(cfg, Dependencies{Secret: testSecret})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			err = r.Ready(t.Context())
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
