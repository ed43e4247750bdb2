package klog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// authority makes a certificate that signs itself, for 127.0.0.1 and both ends,
// and the files that a configuration names.
func authority(t *testing.T) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"kafka.test"}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600), os.WriteFile(keyFile, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return pair, certFile, keyFile
}

func TestTLSAndSASL(t *testing.T) {
	pair, cert, key := authority(t)
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	server := &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13}
	passwordFile := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(passwordFile, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster := embedded(t, kfake.TLS(server), kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "plain", "secret"), kfake.Superuser("SCRAM-SHA-256", "s256", "secret"), kfake.Superuser("SCRAM-SHA-512", "s512", "secret"))
	protect := func(mechanism, user, password string) func(*Config) {
		return func(c *Config) {
			c.TLS = TLS{Enabled: true, CAFile: cert, CertFile: cert, KeyFile: key}
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
	_, cert, key := authority(t)
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		want string
		set  func(*Config)
	}{
		{"kafka.tls.ca_file", func(c *Config) { c.TLS = TLS{Enabled: true, CAFile: missing} }},
		{"kafka.tls.ca_file: " + key + " holds no certificate", func(c *Config) { c.TLS = TLS{Enabled: true, CAFile: key} }},
		{"kafka.tls.cert_file", func(c *Config) { c.TLS = TLS{Enabled: true, CertFile: cert, KeyFile: missing} }},
		{"kafka.sasl.password_file", func(c *Config) { c.SASL = SASL{Mechanism: "SCRAM-SHA-256", Username: "u", PasswordFile: missing} }},
	} {
		cfg := Defaults()
		c.set(&cfg)
		if _, err := New(cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}
