// Package sandbox runs Kafka, Redis and ClickHouse inside one process, each behind
// its real protocol on a loopback port: for demos and tests on a machine where
// nothing is installed.
//
// It is not for production: there is one broker, no replica, no password, and only
// the loopback interface. Acknowledged data of Kafka and ClickHouse survives the
// process. Redis's stand-in keeps everything in memory, so scores come back when
// the worker publishes them again, as after any loss of Redis.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Config states where the sandbox listens and what it keeps.
type Config struct {
	Dir                string `yaml:"dir" doc:"directory for the data of Kafka and ClickHouse; empty: a temporary one, removed at the end"`
	KafkaAddr          string `yaml:"kafka_addr" doc:"loopback address for Kafka; port 0: any free one; empty: no Kafka"`
	RedisAddr          string `yaml:"redis_addr" doc:"loopback address for Redis; port 0: any free one; empty: no Redis"`
	ClickHouseAddr     string `yaml:"clickhouse_addr" doc:"loopback address for ClickHouse's native protocol; port 0: any free one; empty: no ClickHouse"`
	ClickHouseHTTPAddr string `yaml:"clickhouse_http_addr" doc:"loopback address for ClickHouse's HTTP interface; port 0: any free one; empty: none"`
	SyncWrites         bool   `yaml:"sync_writes" doc:"let Kafka sync every write to disk, so that acknowledged records survive a power loss too"`
}

// Defaults listens on free ports and keeps nothing.
func Defaults() Config {
	return Config{KafkaAddr: "127.0.0.1:0", RedisAddr: "127.0.0.1:0", ClickHouseAddr: "127.0.0.1:0"}
}

// Validate reports all errors in c.
func (c Config) Validate() error {
	if c.KafkaAddr+c.RedisAddr+c.ClickHouseAddr+c.ClickHouseHTTPAddr == "" {
		return errors.New("sandbox: no part has an address, so there is nothing to run")
	}
	return errors.Join(loopback("-kafka-addr", c.KafkaAddr), loopback("-redis-addr", c.RedisAddr), loopback("-clickhouse-addr", c.ClickHouseAddr),
		loopback("-clickhouse-http-addr", c.ClickHouseHTTPAddr))
}

// loopback refuses an address that other machines reach. flag names it in errors.
func loopback(flag, addr string) error {
	if addr == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s: %w; write an address such as 127.0.0.1:9092", flag, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%s: %q is not a loopback address; the sandbox asks nobody for a password", flag, host)
	}
	return nil
}

// Addresses holds the addresses of the parts, host:port; "" for parts that do not
// run.
type Addresses struct{ Kafka, Redis, ClickHouse, ClickHouseHTTP string }

// String returns a line for each part.
func (a Addresses) String() string {
	var lines []string
	if a.Kafka != "" {
		lines = append(lines, "Kafka      "+a.Kafka)
	}
	if a.Redis != "" {
		lines = append(lines, "Redis      "+a.Redis)
	}
	if a.ClickHouse != "" {
		lines = append(lines, "ClickHouse "+a.ClickHouse+" (native protocol)")
	}
	if a.ClickHouseHTTP != "" {
		lines = append(lines, "ClickHouse http://"+a.ClickHouseHTTP)
	}
	return strings.Join(lines, "\n")
}

// Sandbox is the three servers. Its methods are for one goroutine.
type Sandbox struct {
	cfg       Config
	log       *slog.Logger
	engine    func(dir string) (engine, error)
	addresses Addresses
	failed    chan error // a part that ended by itself
	steps     []step     // of stopping, in the order of starting
}

type step struct {
	name string
	stop func() error
}

// New checks cfg and starts nothing.
func New(cfg Config, log *slog.Logger) (*Sandbox, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		return nil, errors.New("sandbox: no logger is given")
	}
	open := func(dir string) (engine, error) { return openEngine(dir, log) }
	return &Sandbox{cfg: cfg, log: log, engine: open, failed: make(chan error, 4)}, nil
}

// Run starts the servers, and stops them when ctx ends or one of them fails.
func (s *Sandbox) Run(ctx context.Context) error {
	if err := s.Start(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return s.Close()
	case err := <-s.failed:
		return errors.Join(err, s.Close())
	}
}

// Start starts the servers; when it returns nil, all of them answer. If it fails,
// nothing is left running.
func (s *Sandbox) Start() error {
	for _, part := range []struct {
		name  string
		start func(dir string) (stop func() error, err error)
	}{
		{"directory", s.prepare}, {"kafka", s.startKafka}, {"redis", s.startRedis}, {"clickhouse", s.startClickHouse},
	} {
		stop, err := part.start(s.cfg.Dir)
		if err != nil {
			return errors.Join(fmt.Errorf("sandbox: %s: %w", part.name, err), s.Close())
		}
		if stop != nil {
			s.steps = append(s.steps, step{part.name, stop})
		}
	}
	s.log.Info("sandbox runs", "dir", s.cfg.Dir, "kafka", s.addresses.Kafka, "redis", s.addresses.Redis, "clickhouse", s.addresses.ClickHouse, "clickhouse_http", s.addresses.ClickHouseHTTP)
	return nil
}

// Addresses returns the addresses of the parts, once Start has returned.
func (s *Sandbox) Addresses() Addresses { return s.addresses }

// Failed returns the error of a part that ended by itself.
func (s *Sandbox) Failed() <-chan error { return s.failed }

// Close stops the servers in reverse order; data is on disk when it returns.
// Closing twice does nothing.
func (s *Sandbox) Close() error {
	var errs []error
	for _, step := range slices.Backward(s.steps) {
		if err := step.stop(); err != nil {
			errs = append(errs, fmt.Errorf("sandbox: stop %s: %w", step.name, err))
		}
	}
	s.steps = nil
	return errors.Join(errs...)
}

// prepare takes over the directory, or creates one.
func (s *Sandbox) prepare(string) (stop func() error, err error) {
	if s.cfg.Dir == "" {
		if s.cfg.Dir, err = os.MkdirTemp("", "weir-sandbox-"); err != nil {
			return nil, err
		}
		dir := s.cfg.Dir
		return func() error {
			s.cfg.Dir = ""
			return os.RemoveAll(dir)
		}, nil
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o750); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(s.cfg.Dir, "sandbox.lock"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.cfg.Dir, err)
	}
	return lock.Close, nil
}
