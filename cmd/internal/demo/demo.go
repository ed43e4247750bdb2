// Package demo shows Weir at work on one machine: everything that it stands on
// in this process, the worker and the gate as processes of their own, and
// traffic, invented or from a file, through all of it.
//
//	traffic ─▶ Kafka ─▶ weir-worker ─▶ Redis ◀── weir-gate ◀── "what about this one?"
//	                         └───────▶ ClickHouse ◀── summary
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/weirdev/weir/cmd/internal/app"
	"github.com/weirdev/weir/cmd/internal/stack"
	"github.com/weirdev/weir/internal/geo"
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
	opts      Options
	out       io.Writer
	log       *slog.Logger
	started   time.Time
	stack     *stack.Stack
	temporary []string // directories to remove
}

// Run runs a demonstration and writes what it sees to out. balanced is whether
// the ledger balances at the end.
func Run(ctx context.Context, opts Options, out io.Writer, log *slog.Logger) (balanced bool, err error) {
	d := &demo{opts: opts, out: out, log: log, started: time.Now()}
	defer func() { err = errors.Join(err, d.close()) }()
	if opts.Input != "" {
		return d.runFile(ctx)
	}
	return d.runTraffic(ctx)
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// start starts the servers and the worker, and makes topics and tables.
func (d *demo) start(ctx context.Context, stream app.StreamConfig, topics app.Topics) (err error) {
	where := d.opts.Data
	if where == "" {
		where = "a temporary directory; -data DIR keeps it"
	}
	d.say("starting Kafka, Redis and ClickHouse in this process (data in %s)", where)
	d.stack, err = stack.Start(ctx, stack.Options{
		Dir: d.opts.Data, Stream: stream, Topics: topics, Format: d.opts.Format, Geo: d.opts.Geo, Rules: d.opts.Rules,
	}, d.log)
	if err != nil {
		return err
	}
	if err := d.stack.StartWorker(); err != nil {
		return err
	}
	d.say("weir-worker runs; its log is %s", d.stack.LogFile(d.stack.Worker))
	return nil
}

func (d *demo) close() error {
	var errs []error
	if d.stack != nil {
		errs = append(errs, d.stack.Close())
	}
	for _, t := range d.temporary {
		errs = append(errs, os.RemoveAll(t))
	}
	return errors.Join(errs...)
}
