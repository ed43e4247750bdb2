// Package demo shows Weir at work on one machine: everything that it stands on
// in this process, the worker and the gate as processes of their own, and
// traffic, invented or from a file, through all of it.
//
//	traffic ─▶ Kafka ─▶ weir-worker ─▶ Redis ◀── weir-gate ◀── "what about this one?"
//	                         └───────▶ ClickHouse ◀── summary
package demo

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weirdev/weir/cmd/internal/app"
	"github.com/weirdev/weir/cmd/internal/procs"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/klog"
	"github.com/weirdev/weir/internal/sandbox"
)

// Options is what the user asked for.
type Options struct {
	For    time.Duration // how long traffic flows; 0: until the user stops it
	Data   string        // directory that keeps everything; empty: a temporary one
	Format string        // format of Input
	Input  string        // file of log lines to run instead of invented traffic
	JSON   bool          // end with one JSON object
	Rate   float64       // innocent events a second
	People int
	Seed   uint64
	Geo    geo.Config // real databases; empty: one for the invented networks
	Rules  string
}

// Defaults suit a look at it.
func Defaults() Options {
	return Options{For: time.Minute, Format: "weir", Rate: 300, People: 3000, Seed: 1}
}

// Validate reports what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.For < 0:
		return fmt.Errorf("-for %v: must not be negative", o.For)
	case o.Rate <= 0 || o.Rate > 100_000:
		return fmt.Errorf("-rate %v: 1 to 100000 events a second are possible", o.Rate)
	case o.People < 100:
		return fmt.Errorf("-people %d: at least 100 make a population", o.People)
	case o.Input == "" && o.Format != "weir":
		return errors.New("-format goes with -input, a file of log lines")
	}
	return nil
}

// demo is a run.
type demo struct {
	opts    Options
	out     io.Writer
	log     *slog.Logger
	dir     string
	started time.Time

	cfg     app.Config
	sandbox *sandbox.Sandbox
	kafka   *klog.Client
	worker  *procs.Process
	gate    *procs.Process
	procs   sync.WaitGroup
	stop    context.CancelFunc // stops the processes
	failed  chan error
	files   []io.Closer

	temporary []string // directories to remove
}

// Run runs a demonstration and writes what it sees to out. balanced is whether
// the ledger balances at the end.
func Run(ctx context.Context, opts Options, out io.Writer, log *slog.Logger) (balanced bool, err error) {
	d := &demo{opts: opts, out: out, log: log, started: time.Now(), failed: make(chan error, 4)}
	defer func() { err = errors.Join(err, d.close()) }()
	if opts.Input != "" {
		return d.runFile(ctx)
	}
	return d.runTraffic(ctx)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// prepare starts the sandbox and makes topics and tables.
func (d *demo) prepare(ctx context.Context, stream app.StreamConfig, topics app.Topics) (err error) {
	if d.dir = d.opts.Data; d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "weir-demo-"); err != nil {
			return err
		}
	} else if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	d.say("starting Kafka, Redis and ClickHouse in this process (data in %s)", d.dir)
	c := sandbox.Defaults()
	c.Dir = filepath.Join(d.dir, "sandbox")
	if d.sandbox, err = sandbox.New(c, d.log); err != nil {
		return err
	}
	if err := d.sandbox.Start(); err != nil {
		d.sandbox = nil
		return err
	}
	if err := d.configure(stream); err != nil {
		return err
	}
	if d.kafka, err = klog.New(d.cfg.Kafka, d.log); err != nil {
		return err
	}
	return app.Migrate(ctx, d.cfg, topics, d.log)
}

// configure points everything at the sandbox.
func (d *demo) configure(stream app.StreamConfig) (err error) {
	at := d.sandbox.Addresses()
	d.cfg = app.Defaults()
	d.cfg.Stream = stream
	if d.cfg.Stream.SecretFile, err = d.secret(); err != nil {
		return err
	}
	d.cfg.Kafka.Brokers = []string{at.Kafka}
	d.cfg.Redis.Addrs = []string{at.Redis}
	d.cfg.ClickHouse.Addrs = []string{at.ClickHouse}
	d.cfg.Geo, d.cfg.Rules = d.opts.Geo, d.opts.Rules
	d.cfg.Ingest.Format = d.opts.Format
	for _, listen := range []*string{&d.cfg.Gate.Listen, &d.cfg.Admin.Listen} {
		if *listen, err = freeAddress(); err != nil {
			return err
		}
	}
	return d.cfg.Validate()
}

// secret makes the stream's secret once, beside its data.
func (d *demo) secret() (file string, err error) {
	file = filepath.Join(d.dir, "weir.secret")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return file, os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(b)+"\n"), 0o600)
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
func (d *demo) environment(admin string) []string {
	c := d.cfg
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
		"WEIR_GATE_LISTEN=" + c.Gate.Listen,
		"WEIR_ADMIN_LISTEN=" + admin,
	}
}

// start starts the worker and, with gate, the gate.
func (d *demo) start(withGate bool) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	if d.worker, err = d.process(ctx, "weir-worker", d.cfg.Admin.Listen); err != nil {
		return err
	}
	if withGate {
		admin, err := freeAddress()
		if err != nil {
			return err
		}
		if d.gate, err = d.process(ctx, "weir-gate", admin); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) process(ctx context.Context, name, admin string) (*procs.Process, error) {
	path, err := procs.Find(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(d.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	d.files = append(d.files, file)
	p := &procs.Process{Name: name, Path: path, Env: d.environment(admin), Out: file, Log: d.log}
	d.procs.Go(func() {
		if err := p.Run(ctx); err != nil {
			d.failed <- fmt.Errorf("%w; its log is %s", err, file.Name())
		}
	})
	d.say("%s runs; its log is %s", name, file.Name())
	return p, nil
}

// stopProcesses stops worker and gate, which finish and commit what is under
// way.
func (d *demo) stopProcesses() {
	if d.stop != nil {
		d.stop()
		d.procs.Wait()
		d.stop = nil
	}
}

func (d *demo) close() error {
	d.stopProcesses()
	var errs []error
	if d.kafka != nil {
		errs = append(errs, d.kafka.Close())
	}
	if d.sandbox != nil {
		errs = append(errs, d.sandbox.Close())
	}
	for _, f := range d.files {
		errs = append(errs, f.Close())
	}
	for _, t := range d.temporary {
		errs = append(errs, os.RemoveAll(t))
	}
	if d.opts.Data == "" && d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}
