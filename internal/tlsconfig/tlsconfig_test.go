package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/proof/testkit"
)

// serve answers every connection with a few words.
func serve(t *testing.T, cfg *tls.Config) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if cfg != nil {
				c = tls.Server(c, cfg)
			}
			_, _ = c.Write([]byte("x marks more than the header of a record"))
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// ask connects and reads a byte.
func ask(t *testing.T, c Config, addr string) error {
	t.Helper()
	d, err := c.Dialer("kafka.tls", 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err
}

func TestWhatIsRefusedAndTheSettingThatMendsIt(t *testing.T) {
	ours, other := testkit.NewAuthority(t), testkit.NewAuthority(t)
	good, client := ours.Identity("kafka.test", nil), ours.Identity("client", nil)
	stranger := other.Identity("client", nil)
	expired := ours.Identity("kafka.test", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-24 * time.Hour) })
	elsewhere := ours.Identity("kafka.test", func(c *x509.Certificate) { c.IPAddresses = nil })
	trusting := Config{Enabled: true, CAFile: ours.File}
	with := func(c Config, change func(*Config)) Config { change(&c); return c }
	demanding := &tls.Config{Certificates: []tls.Certificate{good.Pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool()}
	serving := func(id testkit.Identity) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{id.Pair}} }
	for _, c := range []struct {
		name   string
		server *tls.Config
		config Config
		want   string // "": accepted
	}{
		{"plain", nil, Config{}, ""},
		{"the right authority", serving(good), trusting, ""},
		{"another authority", serving(good), with(trusting, func(c *Config) { c.CAFile = other.File }), "kafka.tls.ca_file names the authority"},
		{"no authority named", serving(good), Config{Enabled: true}, "kafka.tls.ca_file names the authority"},
		{"an expired certificate", serving(expired), trusting, "must be renewed on the server"},
		{"a certificate for another name", serving(elsewhere), trusting, "is for kafka.test, not for 127.0.0.1: kafka.tls.server_name"},
		{"the name that is expected", serving(elsewhere), with(trusting, func(c *Config) { c.ServerName = "kafka.test" }), ""},
		{"a server that speaks no TLS", nil, trusting, "kafka.tls.enabled is to be false"},
		{"a client without certificate where one is asked for", demanding, trusting, "set kafka.tls.cert_file and kafka.tls.key_file"},
		{"a client's certificate that the server trusts", demanding, with(trusting, func(c *Config) { c.CertFile, c.KeyFile = client.CertFile, client.KeyFile }), ""},
		{"a client's certificate of another authority", demanding, with(trusting, func(c *Config) { c.CertFile, c.KeyFile = stranger.CertFile, stranger.KeyFile }), "refuses our certificate (kafka.tls.cert_file, for client, 127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := ask(t, c.config, serve(t, c.server))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q in it", err, c.want)
			}
		})
	}
	t.Run("the error of crypto/tls can still be told", func(t *testing.T) {
		var refused *tls.CertificateVerificationError
		if err := ask(t, Config{Enabled: true}, serve(t, serving(good))); !errors.As(err, &refused) {
			t.Errorf("%v", err)
		}
	})
}

func TestFilesThatDoNotReadAreNamed(t *testing.T) {
	a := testkit.NewAuthority(t)
	id := a.Identity("x", nil)
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		want   string
		config Config
	}{
		{"redis.tls.ca_file: open", Config{Enabled: true, CAFile: missing}},
		{"redis.tls.ca_file: " + id.KeyFile + " holds no certificate", Config{Enabled: true, CAFile: id.KeyFile}},
		{"redis.tls.cert_file: open", Config{Enabled: true, CertFile: id.CertFile, KeyFile: missing}},
		{"redis.tls.cert_file: tls: private key does not match", Config{Enabled: true, CertFile: id.CertFile, KeyFile: a.Identity("y", nil).KeyFile}},
	} {
		if _, err := c.config.Dialer("redis.tls", time.Second); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}

func TestSettingsThatContradictEachOtherAreRefused(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{}, ""},
		{Config{Enabled: true}, ""},
		{Config{Enabled: true, CertFile: "c"}, "go together"},
		{Config{CAFile: "ca.pem"}, "set clickhouse.tls.enabled"},
		{Config{ServerName: "name"}, "set clickhouse.tls.enabled"},
	} {
		err := c.config.Validate("clickhouse.tls")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.config, err, c.want)
		}
	}
}
