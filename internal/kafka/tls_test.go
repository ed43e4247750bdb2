package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weirdev/weir/internal/tlsconfig"
	"github.com/weirdev/weir/proof/testkit"
)

func TestTLSAndSASL(t *testing.T) {
	authority := testkit.NewAuthority(t)
	broker, worker := authority.Identity("kafka.test", nil), authority.Identity("worker", nil)
	server := &tls.Config{Certificates: []tls.Certificate{broker.Pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(), MinVersion: tls.VersionTLS13}
	passwordFile := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(passwordFile, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster := embedded(t, kfake.TLS(server), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "plain", "secret"), kfake.Superuser("SCRAM-SHA-256", "s256", "secret"), kfake.Superuser("SCRAM-SHA-512", "s512", "secret"))
	protect := func(mechanism, user, password string) func(*Config) {
		return func(c *Config) {
			c.TLS = tlsconfig.Config{Enabled: true, CAFile: authority.File, CertFile: worker.CertFile, KeyFile: worker.KeyFile}
			c.SASL = SASL{Mechanism: mechanism, Username: user, Password: password}
			if password == "" {
				c.SASL.PasswordFile = passwordFile
			}
		}
	}
	addr := cluster.ListenAddrs()[0]
	for _, c := range [][3]string{{"PLAIN", "plain", "secret"}, {"SCRAM-SHA-256", "s256", "secret"}, {"SCRAM-SHA-512", "s512", ""}} {
		t.Run(c[0], func(t *testing.T) {
			producedIsFetchedBy(t, client(t, addr, protect(c[0], c[1], c[2])))
		})
	}
	t.Run("a wrong password is refused", func(t *testing.T) {
		c := client(t, addr, protect("SCRAM-SHA-256", "s256", "wrong"))
		_, err := c.fetcher.dial(t.Context(), addr)
		if o, named := classify(err); o != never || !errors.Is(named, ErrDenied) || !strings.Contains(err.Error(), "connect to "+addr) {
			t.Errorf("a wrong password gives %v", err)
		}
	})
	t.Run("a server that is not trusted is not told the password", func(t *testing.T) {
		c := client(t, addr, protect("PLAIN", "plain", "secret"), func(c *Config) { c.TLS.ServerName = "other.test" })
		var refused *tls.CertificateVerificationError
		if _, err := c.fetcher.dial(t.Context(), addr); !errors.As(err, &refused) {
			t.Errorf("dialling gives %v", err)
		}
	})
	t.Run("what is wrong is said in words that help", func(t *testing.T) {
		for want, spoil := range map[string]func(*Config){
			"kafka.tls.ca_file names the authority to trust":                func(c *Config) { c.TLS.CAFile = testkit.NewAuthority(t).File },
			"is for kafka.test, 127.0.0.1, not for other.test":              func(c *Config) { c.TLS.ServerName = "other.test" },
			"asks for a client's certificate: set kafka.tls.cert_file":      func(c *Config) { c.TLS.CertFile, c.TLS.KeyFile = "", "" },
			"refuses our certificate (kafka.tls.cert_file, for worker, 127": func(c *Config) { foreign(t, c) },
		} {
			c := client(t, addr, protect("PLAIN", "plain", "secret"), spoil)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if _, err := c.Partitions(ctx, "any"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q in it", err, want)
			}
		}
	})
}

// foreign shows a certificate of an authority that nobody knows.
func foreign(t *testing.T, c *Config) {
	id := testkit.NewAuthority(t).Identity("worker", nil)
	c.TLS.CertFile, c.TLS.KeyFile = id.CertFile, id.KeyFile
}

// producedIsFetchedBy goes through all that a client connects for.
func producedIsFetchedBy(t *testing.T, c *Client) {
	topic := newTopic(t, c, 2)
	if err := c.Produce(t.Context(), topic, []Produce{{0, values("a", "b")}}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(readAll(t, c, topic, 0, 0), ""); got != "ab" {
		t.Errorf("fetched %q", got)
	}
	owned := joinGroup(t, c, topic, topic, nil).with(t, 2)
	if err := owned[1].Commit(t.Context(), 1, ""); err != nil {
		t.Error(err)
	}
}

func TestFilesThatDoNotReadAreNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		want string
		set  func(*Config)
	}{
		{"kafka.tls.ca_file", func(c *Config) { c.TLS = tlsconfig.Config{Enabled: true, CAFile: missing} }},
		{"kafka.sasl.password_file", func(c *Config) { c.SASL = SASL{Mechanism: "SCRAM-SHA-256", Username: "u", PasswordFile: missing} }},
	} {
		cfg := Defaults()
		c.set(&cfg)
		if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}
