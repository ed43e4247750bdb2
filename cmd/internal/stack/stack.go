// Package stack runs all of Weir on this machine: Kafka, Redis and ClickHouse in
// this process, the worker and the gate as processes of their own. The
// demonstration and the benchmark stand on it.
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
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/weirdev/weir/cmd/internal/app"
	"github.com/weirdev/weir/cmd/internal/procs"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/klog"
	"github.com/weirdev/weir/internal/sandbox"
)

// Options is what differs from one stack to another.
type Options struct {
	Dir    string // keeps everything; empty: a temporary directory, removed at the end
	Stream app.StreamConfig
	Topics app.Topics
	Format string // of the raw records
	Geo    geo.Config
	Rules  string

	Kafka, Redis string // servers that run already, host:port, instead of embedded ones
}

// Stack is everything, running. One goroutine uses it.
type Stack struct {
	Config app.Config
	Kafka  *klog.Client
	Dir    string
	Worker *procs.Process // nil until StartWorker
	Gate   *procs.Process // nil until StartGate
	Failed chan error     // a process that cannot be kept running

	temporary bool
	log       *slog.Logger
	sandbox   *sandbox.Sandbox
	running   sync.WaitGroup
	ctx       context.Context // of the processes
	stop      context.CancelFunc
	logs      []io.Closer
}

// Start starts the servers and makes topics and tables.
func Start(ctx context.Context, o Options, log *slog.Logger) (s *Stack, err error) {
	s = &Stack{Dir: o.Dir, temporary: o.Dir == "", log: log, Failed: make(chan error, 4)}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.temporary {
		s.Dir, err = os.MkdirTemp("", "weir-")
	} else {
		err = os.MkdirAll(s.Dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	c := sandbox.Defaults()
	c.Dir = filepath.Join(s.Dir, "sandbox")
	servers, err := sandbox.New(c, log)
	if err != nil {
		return nil, err
	}
	if err := servers.Start(); err != nil {
		return nil, err
	}
	s.sandbox = servers
	if err := s.configure(o); err != nil {
		return nil, err
	}
	if s.Kafka, err = klog.New(s.Config.Kafka, log); err != nil {
		return nil, err
	}
	return s, app.Migrate(ctx, s.Config, o.Topics, log)
}

// configure points everything at the servers.
func (s *Stack) configure(o Options) (err error) {
	at := s.sandbox.Addresses()
	c := app.Defaults()
	c.Stream = o.Stream
	if c.Stream.SecretFile, err = s.secret(); err != nil {
		return err
	}
	c.Kafka.Brokers = []string{cmp.Or(o.Kafka, at.Kafka)}
	c.Redis.Addrs = []string{cmp.Or(o.Redis, at.Redis)}
	c.ClickHouse.Addrs = []string{at.ClickHouse}
	c.Geo, c.Rules, c.Ingest.Format = o.Geo, o.Rules, o.Format
	if c.Snapshots.URL, err = s.snapshots(); err != nil {
		return err
	}
	for _, listen := range []*string{&c.Gate.Listen, &c.Admin.Listen} {
		if *listen, err = freeAddress(); err != nil {
			return err
		}
	}
	s.Config = c
	return c.Validate()
}

// secret makes the stream's secret once, beside its data.
func (s *Stack) secret() (file string, err error) {
	file = filepath.Join(s.Dir, "weir.secret")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return file, os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(b)+"\n"), 0o600)
}

// snapshots makes the store of snapshots, beside the data.
func (s *Stack) snapshots() (address string, err error) {
	dir, err := filepath.Abs(filepath.Join(s.Dir, "snapshots"))
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: dir}).String(), os.MkdirAll(dir, 0o700)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// environment is the configuration as a child reads it.
func (s *Stack) environment(admin string) []string {
	c := s.Config
	return []string{
		"WEIR_STREAM_NAME=" + c.Stream.Name,
		fmt.Sprintf("WEIR_STREAM_HISTORY=%v", c.Stream.History),
		"WEIR_STREAM_SECRET_FILE=" + c.Stream.SecretFile,
		"WEIR_KAFKA_BROKERS=" + strings.Join(c.Kafka.Brokers, ","),
		"WEIR_REDIS_ADDRS=" + strings.Join(c.Redis.Addrs, ","),
		"WEIR_CLICKHOUSE_ADDRS=" + strings.Join(c.ClickHouse.Addrs, ","),
		"WEIR_INGEST_FORMAT=" + c.Ingest.Format,
		"WEIR_GEO_CITY=" + c.Geo.City, "WEIR_GEO_ASN=" + c.Geo.ASN, "WEIR_GEO_ANONYMOUS=" + c.Geo.Anonymous,
		"WEIR_RULES=" + c.Rules,
		"WEIR_SNAPSHOTS_URL=" + c.Snapshots.URL,
		"WEIR_GATE_LISTEN=" + c.Gate.Listen,
		"WEIR_ADMIN_LISTEN=" + admin,
	}
}

// StartWorker starts the worker, and keeps it running until Stop.
func (s *Stack) StartWorker() (err error) {
	s.Worker, err = s.process("weir-worker", s.Config.Admin.Listen)
	return err
}

// StartGate starts the gate, and keeps it running until Stop.
func (s *Stack) StartGate() error {
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	s.Gate, err = s.process("weir-gate", admin)
	return err
}

// LogFile is where a process writes its log.
func (s *Stack) LogFile(p *procs.Process) string { return filepath.Join(s.Dir, p.Name+".log") }

func (s *Stack) process(name, admin string) (*procs.Process, error) {
	path, err := procs.Find(name)
	if err != nil {
		return nil, err
	}
	p := &procs.Process{Name: name, Path: path, Env: s.environment(admin), Log: s.log}
	file, err := os.OpenFile(s.LogFile(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	p.Out = file
	s.logs = append(s.logs, file)
	s.running.Go(func() {
		if err := p.Run(s.ctx); err != nil {
			s.Failed <- fmt.Errorf("%w; its log is %s", err, file.Name())
		}
	})
	return p, nil
}

// Stop stops worker and gate, which finish and commit what is under way.
func (s *Stack) Stop() {
	s.stop()
	s.running.Wait()
}

// Close stops everything and removes what is temporary.
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
