// Package stack runs all of Weir on this machine: Kafka, Redis and ClickHouse in
// this process, unless they run elsewhere, and the worker and the gate as separate
// processes. The demonstration, the benchmark and chaos use it.
package stack

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/procs"
	"github.com/weirdev/weir/app/settings"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/proof/servers"
)

// Options are the differences between stacks.
type Options struct {
	Dir    string // keeps everything; empty: a temporary directory, removed at the end
	Stream app.StreamConfig
	Topics app.Topics
	Format string // of the raw records

	Kafka, Redis, ClickHouse string // servers that run already, host:port, instead of embedded ones

	Adjust func(*app.Config) // changes the configuration of the programs; nil: as it is
}

// Stack is a running stack. One goroutine uses it.
type Stack struct {
	Config app.Config
	Kafka  *kafka.Client
	Dir    string

	GateAdmin string // address of the gate's admin listener; "" until StartGate

	Worker *procs.Process // nil until StartWorker
	Gate   *procs.Process // nil until StartGate
	Failed chan error     // a process that cannot be kept running

	temporary bool
	log       *slog.Logger
	at        sandbox.Addresses
	sandbox   *sandbox.Sandbox // nil where all servers run already
	running   sync.WaitGroup
	ctx       context.Context // of the processes
	stop      context.CancelFunc
	logs      []io.Closer
}

// Start starts the servers and creates topics and tables. If it fails, nothing is
// left running. Its error is an [*app.Misconfigured] if the configuration is wrong,
// which is checked before anything starts.
func Start(ctx context.Context, o Options, log *slog.Logger) (*Stack, error) {
	s := &Stack{Dir: o.Dir, temporary: o.Dir == "", log: log, Failed: make(chan error, 4)}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.start(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context, o Options) (err error) {
	if err := s.makeDir(); err != nil {
		return err
	}
	if err := s.configure(o); err != nil {
		return err
	}
	if err := s.startServers(o); err != nil {
		return err
	}
	c := &s.Config
	c.Kafka.Brokers, c.Redis.Addrs, c.ClickHouse.Addrs = []string{s.at.Kafka}, []string{s.at.Redis}, []string{s.at.ClickHouse}
	if s.Kafka, err = kafka.New(c.Kafka, s.log); err != nil {
		return err
	}
	return app.Migrate(ctx, *c, o.Topics, s.log)
}

// makeDir creates the directory for all data.
func (s *Stack) makeDir() (err error) {
	if s.temporary {
		s.Dir, err = os.MkdirTemp("", "weir-")
	} else {
		err = os.MkdirAll(s.Dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("the directory for the data cannot be made: %w; name another one, which this user may write", err)
	}
	return nil
}

// startServers starts the servers that do not run elsewhere.
func (s *Stack) startServers(o Options) error {
	s.at = sandbox.Addresses{Kafka: o.Kafka, Redis: o.Redis, ClickHouse: o.ClickHouse}
	c := sandbox.Defaults()
	c.Dir = filepath.Join(s.Dir, "sandbox")
	for _, part := range []struct {
		listen *string
		given  string
	}{{&c.KafkaAddr, o.Kafka}, {&c.RedisAddr, o.Redis}, {&c.ClickHouseAddr, o.ClickHouse}} {
		if part.given != "" {
			*part.listen = ""
		}
	}
	if c.KafkaAddr+c.RedisAddr+c.ClickHouseAddr == "" {
		return nil
	}
	servers, err := sandbox.New(c, s.log)
	if err != nil {
		return err
	}
	if err := servers.Start(); err != nil {
		return err
	}
	s.sandbox = servers
	own := servers.Addresses()
	s.at = sandbox.Addresses{
		Kafka: cmp.Or(own.Kafka, o.Kafka), Redis: cmp.Or(own.Redis, o.Redis), ClickHouse: cmp.Or(own.ClickHouse, o.ClickHouse),
	}
	return nil
}

// configure creates the configuration of the programs, and validates it as they do,
// except for the servers' addresses.
func (s *Stack) configure(o Options) (err error) {
	c := app.Defaults()
	c.Stream = o.Stream
	if c.Stream.SecretFile, err = s.secret(); err != nil {
		return s.unusable(err)
	}
	c.Ingest.Format = o.Format
	if c.Snapshots.URL, err = s.snapshots(); err != nil {
		return s.unusable(err)
	}
	for _, listen := range []*string{&c.Gate.Listen, &c.Admin.Listen} {
		if *listen, err = servers.FreeAddr(); err != nil {
			return err
		}
	}
	if o.Adjust != nil {
		o.Adjust(&c)
	}
	s.Config = c
	_, err = app.NewWorker(c, slog.New(slog.DiscardHandler))
	return err
}

func (s *Stack) unusable(err error) error {
	return fmt.Errorf("the directory %s cannot be used: %w; name another one, which this user may write", s.Dir, err)
}

// secret creates the stream's secret once, beside its data.
func (s *Stack) secret() (file string, err error) {
	file = filepath.Join(s.Dir, "weir.secret")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return file, os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(b)+"\n"), 0o600)
}

// snapshots creates the snapshot store, beside the data.
func (s *Stack) snapshots() (address string, err error) {
	dir, err := filepath.Abs(filepath.Join(s.Dir, "snapshots"))
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: dir}).String(), os.MkdirAll(dir, 0o700)
}

// writeConfig writes the configuration beside the data: settings without a
// variable, such as a mapping, reach the programs through the file.
func (s *Stack) writeConfig() (file string, err error) {
	text, err := yaml.Dump(s.Config)
	if err != nil {
		return "", err
	}
	file = filepath.Join(s.Dir, "weir.yaml")
	return file, os.WriteFile(file, text, 0o600)
}

// environment returns the configuration as a child's environment.
func (s *Stack) environment(admin string) (env []string) {
	c := s.Config
	c.Admin.Listen = admin
	for _, setting := range settings.Walk(&c) {
		env = append(env, setting.Env()+"="+setting.String())
	}
	return env
}

// trial is how long a program must have run to be restarted when it ends by itself:
// an earlier end has a permanent cause.
const trial = 30 * time.Second

// StartWorker starts the worker, and keeps it running until Stop.
func (s *Stack) StartWorker() (err error) {
	s.Worker, err = s.Keep(s.ctx, &procs.Process{Name: "weir-worker", Trial: trial}, "weir-worker", s.Config.Admin.Listen)
	return err
}

// StartGate starts the gate, and keeps it running until Stop.
func (s *Stack) StartGate() (err error) {
	if s.GateAdmin, err = servers.FreeAddr(); err != nil {
		return err
	}
	s.Gate, err = s.Keep(s.ctx, &procs.Process{Name: "weir-gate", Trial: trial}, "weir-gate", s.GateAdmin)
	return err
}

// LogFile returns the file of a process's log.
func (s *Stack) LogFile(p *procs.Process) string { return filepath.Join(s.Dir, p.Name+".log") }

// Keep starts one of Weir's programs as p, whose name and waits are the caller's,
// and keeps it running until ctx ends or Stop. admin is the address of its admin
// listener.
func (s *Stack) Keep(ctx context.Context, p *procs.Process, program, admin string) (*procs.Process, error) {
	path, err := procs.Find(program)
	if err != nil {
		return nil, err
	}
	p.Path, p.Log = path, s.log
	config, err := s.writeConfig()
	if err != nil {
		return nil, err
	}
	p.Env = slices.Concat(s.environment(admin), []string{"WEIR_CONFIG=" + config}, p.Env)
	file, err := os.OpenFile(s.LogFile(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	began, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	p.Out = file
	s.logs = append(s.logs, file)
	ctx, stop := context.WithCancel(ctx)
	context.AfterFunc(s.ctx, stop)
	s.running.Go(func() {
		defer stop()
		// A program that was told to stop has not failed, whatever its status: it
		// may not have been listening yet.
		if err := p.Run(ctx); err != nil && ctx.Err() == nil {
			select {
			case s.Failed <- s.withLog(err, file.Name(), began):
			default: // enough have been told of
			}
		}
	})
	return p, nil
}

// Stop stops worker and gate, which complete and commit the work in progress.
func (s *Stack) Stop() {
	s.stop()
	s.running.Wait()
}

// Close stops everything and removes temporary data.
func (s *Stack) Close() error {
	s.Stop()
	var errs []error
	if s.Kafka != nil {
		errs = append(errs, s.Kafka.Close())
	}
	if s.sandbox != nil {
		errs = append(errs, s.sandbox.Close())
	}
	for _, f := range s.logs {
		errs = append(errs, f.Close())
	}
	if s.temporary && s.Dir != "" {
		errs = append(errs, os.RemoveAll(s.Dir))
	}
	return errors.Join(errs...)
}
