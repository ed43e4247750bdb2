package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/weirdev/weir/internal/secret"
	"github.com/weirdev/weir/internal/tlsconfig"
)

// Config holds the address of Redis and its settings, for writers and readers
// alike.
type Config struct {
	Addrs        []string         `yaml:"addrs" doc:"addresses of Redis, host:port; several for a cluster or for sentinels"`
	Cluster      bool             `yaml:"cluster" doc:"the addresses are nodes of a Redis Cluster"`
	MasterName   string           `yaml:"master_name" doc:"the addresses are sentinels; this is their name for the master"`
	Username     string           `yaml:"username" doc:"ACL user; empty: the default user"`
	Password     string           `yaml:"password" secret:"true" doc:"password; better kept in a file"`
	PasswordFile string           `yaml:"password_file" doc:"file with the password"`
	DB           int              `yaml:"db" doc:"number of the database; a cluster has only 0"`
	TLS          tlsconfig.Config `yaml:"tls"`

	KeyPrefix string `yaml:"key_prefix" doc:"prefix of every key; one per stream"`

	DialTimeout  time.Duration `yaml:"dial_timeout" doc:"longest time to connect"`
	WriteTimeout time.Duration `yaml:"write_timeout" doc:"longest time for a pipeline of writes"`
	ReadTimeout  time.Duration `yaml:"read_timeout" doc:"longest time for a round trip that reads; requests to a gate wait for their policy's budget only, and what comes later is kept for the next"`
	DrainTimeout time.Duration `yaml:"drain_timeout" doc:"longest time for the last writes when the program ends"`
	PoolSize     int           `yaml:"pool_size" doc:"most connections to a server"`
	PipelineSize int           `yaml:"pipeline_size" doc:"most scores sent in one round trip"`
	BufferSize   int           `yaml:"buffer_size" doc:"most entities waiting to be written; beyond it, detection of their partition waits"`
}

// Defaults returns values that suit most installations.
func Defaults() Config {
	return Config{
		Addrs: []string{"127.0.0.1:6379"}, KeyPrefix: "weir:risk",
		DialTimeout: time.Second, WriteTimeout: 500 * time.Millisecond, ReadTimeout: 500 * time.Millisecond, DrainTimeout: 5 * time.Second,
		PoolSize: 16, PipelineSize: 512, BufferSize: 16384,
	}
}

var prefixForm = regexp.MustCompile(`^[a-zA-Z0-9_.:-]{1,64}$`)

// Validate reports all errors in c. It reads no file.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("redis."+format, args...)) }
	if len(c.Addrs) == 0 {
		bad("addrs: none is given")
	}
	for _, a := range c.Addrs {
		if _, _, err := net.SplitHostPort(a); err != nil {
			bad("addrs: %w", err)
		}
	}
	if len(c.Addrs) > 1 && !c.Cluster && c.MasterName == "" {
		bad("addrs: several addresses need cluster or master_name")
	}
	if c.Cluster && (c.MasterName != "" || c.DB != 0) {
		bad("cluster: goes with neither master_name nor db")
	}
	if c.DB < 0 {
		bad("db: %d is negative", c.DB)
	}
	if c.Password != "" && c.PasswordFile != "" {
		bad("password: given twice, also as password_file")
	}
	if !prefixForm.MatchString(c.KeyPrefix) {
		bad("key_prefix: %q is not 1 to 64 letters, digits, or any of : . _ -", c.KeyPrefix)
	}
	errs = append(errs, c.TLS.Validate("redis.tls"))
	return errors.Join(append(errs, c.validateBounds()...)...)
}

func (c Config) validateBounds() (errs []error) {
	for name, d := range map[string]time.Duration{
		"dial_timeout": c.DialTimeout, "write_timeout": c.WriteTimeout, "read_timeout": c.ReadTimeout, "drain_timeout": c.DrainTimeout,
	} {
		if d < time.Millisecond || d > time.Minute {
			errs = append(errs, fmt.Errorf("redis.%s: %v is outside 1ms … 1m", name, d))
		}
	}
	for _, b := range []struct {
		name    string
		n, most int
	}{{"pool_size", c.PoolSize, 1024}, {"pipeline_size", c.PipelineSize, 10_000}, {"buffer_size", c.BufferSize, 1 << 20}} {
		if b.n < 1 || b.n > b.most {
			errs = append(errs, fmt.Errorf("redis.%s: %d is outside 1 … %d", b.name, b.n, b.most))
		}
	}
	return errs
}

const minSecret = 16

// checkSecret refuses secrets that could be guessed.
func checkSecret(secret []byte) error {
	if len(secret) < minSecret {
		return fmt.Errorf("redis: the secret of keys and codes has %d bytes, fewer than %d", len(secret), minSecret)
	}
	return nil
}

// client creates a client without retries, unbounded queues and unnecessary
// traffic. It does not connect before the first command.
func (c Config) client(timeout time.Duration, pool int) (goredis.UniversalClient, error) {
	password, err := secret.Read("redis.password", c.Password, c.PasswordFile)
	if err != nil {
		return nil, err
	}
	dialer, err := c.TLS.Dialer("redis.tls", c.DialTimeout)
	if err != nil {
		return nil, err
	}
	return goredis.NewUniversalClient(&goredis.UniversalOptions{
		Addrs: c.Addrs, MasterName: c.MasterName, IsClusterMode: c.Cluster,
		Username: c.Username, Password: password, DB: c.DB, Dialer: dialer.DialContext,

		// The caller knows better when to retry.
		MaxRetries: -1, DialerRetries: 1,
		DialTimeout: c.DialTimeout, ReadTimeout: timeout, WriteTimeout: timeout, ContextTimeoutEnabled: true,
		PoolSize: pool, MaxActiveConns: pool, PoolTimeout: timeout, PipelinePoolSize: -1,

		// Late replies that nobody waits for (to CLIENT SETINFO, maintenance
		// notices) have been taken for those of other commands.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}), nil
}

// ready reads one of our keys instead of sending PING, so that missing permission
// shows.
func ready(ctx context.Context, client goredis.UniversalClient, cfg Config) error {
	if err := client.GetRange(ctx, cfg.KeyPrefix+":ready", 0, 0).Err(); err != nil && !isWrongType(err) {
		return fmt.Errorf("redis: read a key: %w", err)
	}
	return nil
}

// Quiet stops the client library from writing to standard error, where it repeats
// what this package counts and logs. Call it at the start of a program: the library
// has one logger for all clients.
func Quiet() { goredis.SetLogger(silence{}) }

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
