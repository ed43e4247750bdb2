package redis

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/tlsconfig"
)

func TestConfigMistakesAreAllNamed(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	for name, tc := range map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"no address":               {func(c *Config) { c.Addrs = nil }, "redis.addrs"},
		"an address without port":  {func(c *Config) { c.Addrs = []string{"redis"} }, "redis.addrs"},
		"several plain servers":    {func(c *Config) { c.Addrs = []string{"a:1", "b:1"} }, "cluster or master_name"},
		"a database of a cluster":  {func(c *Config) { c.Cluster, c.DB = true, 1 }, "redis.cluster"},
		"a negative database":      {func(c *Config) { c.DB = -1 }, "redis.db"},
		"two passwords":            {func(c *Config) { c.Password, c.PasswordFile = "a", "b" }, "redis.password"},
		"an empty prefix":          {func(c *Config) { c.KeyPrefix = "" }, "redis.key_prefix"},
		"a hash tag in the prefix": {func(c *Config) { c.KeyPrefix = "{a}" }, "redis.key_prefix"},
		"half a key pair":          {func(c *Config) { c.TLS.CertFile = "a" }, "redis.tls"},
		"a timeout of nothing":     {func(c *Config) { c.ReadTimeout = 0 }, "redis.read_timeout"},
		"an endless timeout":       {func(c *Config) { c.WriteTimeout = time.Hour }, "redis.write_timeout"},
		"no connections":           {func(c *Config) { c.PoolSize = 0 }, "redis.pool_size"},
		"an endless buffer":        {func(c *Config) { c.BufferSize = 1 << 30 }, "redis.buffer_size"},
		"an empty pipeline":        {func(c *Config) { c.PipelineSize = 0 }, "redis.pipeline_size"},
	} {
		t.Run(name, func(t *testing.T) {
			c := Defaults()
			tc.spoil(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

func TestASecretThatCouldBeGuessedIsRefused(t *testing.T) {
	for secret, taken := range map[string]bool{"": false, "fifteen bytes..": false, "sixteen bytes...": true} {
		deps := Dependencies{Secret: []byte(secret)}
		if _, err := NewWriter(Defaults(), deps); (err == nil) != taken {
			t.Errorf("writer, %q: %v", secret, err)
		}
		if _, err := NewReader(Defaults(), deps); (err == nil) != taken {
			t.Errorf("reader, %q: %v", secret, err)
		}
	}
}

func TestFilesThatCannotBeReadStopTheStart(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	notPEM := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(notPEM, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"password":           func(c *Config) { c.PasswordFile = missing },
		"authorities":        func(c *Config) { c.TLS = tlsconfig.Config{Enabled: true, CAFile: missing} },
		"no authority in it": func(c *Config) { c.TLS = tlsconfig.Config{Enabled: true, CAFile: notPEM} },
		"certificate":        func(c *Config) { c.TLS = tlsconfig.Config{Enabled: true, CertFile: missing, KeyFile: missing} },
	} {
		t.Run(name, func(t *testing.T) {
			c := Defaults()
			spoil(&c)
			if _, err := NewWriter(c, testDeps()); err == nil {
				t.Error("writer: no error")
			}
			if _, err := NewReader(c, testDeps()); err == nil {
				t.Error("reader: no error")
			}
		})
	}
}

func TestAPasswordIsUsed(t *testing.T) {
	s := startFake(t)
	s.RequireUserAuth("weir", "a password")
	c := testConfig(s)
	c.Username, c.Password = "weir", "a password"
	if err := newTestReader(t, c).Ready(t.Context()); err != nil {
		t.Error(err)
	}
	c.Password = "another"
	err := newTestReader(t, c).Ready(t.Context())
	if err == nil || reasonOf(err) != reasonDenied {
		t.Errorf("got %v, which counts as %s", err, reasonOf(err))
	}
}
