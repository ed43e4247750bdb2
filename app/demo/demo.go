// Package demo demonstrates Weir on one machine. The servers that Weir needs run in
// this process, and the worker and the gate in processes of their own. The traffic is
// invented, or comes from files.
//
//	traffic ─▶ Kafka ─▶ weir-worker ─▶ Redis ◀── weir-gate ◀── "what about this one?"
//	                         └───────▶ ClickHouse ◀── summary
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/geofetch"
	"github.com/weirdev/weir/app/stack"
	"github.com/weirdev/weir/gate/listen"
	"github.com/weirdev/weir/internal/geo"
)

// Options configure a run.
type Options struct {
	For         time.Duration // duration of the traffic; 0: until the user ends it
	Data        string        // directory for all data; empty: a temporary one
	Inputs      []string      // log files to run instead of invented traffic; "-" is Stdin
	Stdin       io.Reader
	FormatGiven bool // if false, the format is detected from the first lines of Inputs
	JSON        bool // end with one JSON object
	Rate        float64
	People      int
	Seed        uint64
	Grafana     string // program to start, to look at the run; empty: none
	GeoDir      string // result of `weir geo fetch`; used if Settings name no databases

	// Settings of ingest, detect, the gate, rules and geographic databases. The
	// demonstration determines the rest.
	Settings app.Config
}

// Defaults returns options for a first look.
func Defaults() Options {
	return Options{For: time.Minute, Rate: 300, People: 3000, Seed: 1, Stdin: os.Stdin, GeoDir: geofetch.DefaultDir(), Settings: app.Defaults()}
}

// Validate returns an error if o is invalid.
func (o Options) Validate() error {
	switch {
	case o.For < 0:
		return fmt.Errorf("-for %v: must not be negative", o.For)
	case o.Rate <= 0 || o.Rate > 100_000:
		return fmt.Errorf("-rate %v: 1 to 100000 events a second are possible", o.Rate)
	case o.People < 100:
		return fmt.Errorf("-people %d: at least 100 make a population", o.People)
	case len(o.Inputs) == 0 && o.Settings.Ingest.Format != "weir":
		return errors.New("-format goes with -input, a file of log lines; invented traffic is in format weir")
	case slices.Contains(o.Inputs, ""):
		return errors.New("-input: a name is empty")
	}
	return validGrafana(o.Grafana)
}

// Verdict is the outcome of a run.
type Verdict struct {
	Complaints  []string // imbalances, and reasons why the run proves nothing
	Interrupted bool     // the user ended the run before all lines were through
}

// demo is a run of the demonstration.
type demo struct {
	opts      Options
	out       io.Writer
	log       *slog.Logger
	started   time.Time
	stack     *stack.Stack
	viewer    *viewer // nil: no Grafana
	unguard   context.CancelFunc
	temporary []string // paths to remove at the end
	earlier   int64    // number of records in the history
}

// Run runs a demonstration and reports to out. If the figures do not agree at the
// end, that is not an error: the verdict says so.
func Run(ctx context.Context, opts Options, out io.Writer, log *slog.Logger) (v Verdict, err error) {
	d := &demo{opts: opts, out: out, log: log, started: time.Now(), unguard: func() {}}
	d.adopt()
	if len(opts.Inputs) > 0 {
		v, err = d.runFiles(ctx)
	} else {
		v, err = d.runTraffic(ctx)
	}
	if err == nil {
		d.linger(ctx)
	} else if d.stack != nil && full(d.stack.Dir) {
		err = fmt.Errorf("%w; the disk with %s is full: make room there, or name a directory on another one with -data", err, d.stack.Dir)
	}
	return v, errors.Join(err, d.close())
}

// full reports whether the disk of a directory has no room for a MiB. The servers'
// protocols do not tell that.
func full(dir string) bool {
	f, err := os.CreateTemp(dir, ".room-")
	if err == nil {
		_, err = f.Write(make([]byte, 1<<20))
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return errors.Is(err, syscall.ENOSPC)
}

// adopt uses fetched databases if the user named none, and prints their credits.
func (d *demo) adopt() {
	if d.opts.Settings.Geo != (geo.Config{}) || d.opts.GeoDir == "" {
		return
	}
	fetched, config, err := geofetch.Found(d.opts.GeoDir)
	if err != nil {
		return // no databases
	}
	d.opts.Settings.Geo = config
	d.say("using the geographic databases in %s, fetched %s:", d.opts.GeoDir, fetched.Fetched.Format(time.DateOnly))
	for _, f := range fetched.Files {
		d.say("  %s, data of %s: %s", f.Holds, cmp.Or(f.Data, "an unknown day"), f.Credit)
	}
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// start starts the servers and the worker, and creates topics and tables. before,
// if not nil, is called in between. If a part fails later, the returned context is
// cancelled with the reason as its cause.
func (d *demo) start(ctx context.Context, stream app.StreamConfig, topics app.Topics, before func(context.Context) error) (_ context.Context, err error) {
	where := d.opts.Data
	if where == "" {
		where = "a temporary directory; -data DIR keeps it"
	}
	d.say("starting Kafka, Redis and ClickHouse in this process (data in %s)", where)
	d.stack, err = stack.Start(ctx, stack.Options{Dir: d.opts.Data, Stream: stream, Topics: topics, Format: d.opts.Settings.Ingest.Format, Adjust: d.adjust}, d.log)
	if err != nil {
		return nil, err
	}
	ctx, d.unguard = d.stack.Guard(ctx)
	if before != nil {
		if err := before(ctx); err != nil {
			return nil, err
		}
	}
	if err := d.stack.StartWorker(); err != nil {
		return nil, err
	}
	d.say("weir-worker runs; its log is %s", d.stack.LogFile(d.stack.Worker))
	return ctx, nil
}

// adjust copies the user's settings to the configuration of the programs.
func (d *demo) adjust(c *app.Config) {
	s := d.opts.Settings
	s.Gate.Listen = c.Gate.Listen // a free port
	c.Ingest, c.Detect, c.Gate, c.Geo, c.Rules, c.Log = s.Ingest, s.Detect, s.Gate, s.Geo, s.Rules, s.Log
	c.Log.Format = "text"
	c.Gate.Incoming.Identify = append(frontSources(), c.Gate.Incoming.Identify...)
	c.Gate.Access = listen.Defaults() // all is on this machine, and the demonstration asks without a token
}

// reason returns why ctx has ended; nil if the user ended it.
func reason(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (d *demo) close() error {
	d.unguard()
	errs := []error{d.viewer.close()}
	if d.stack != nil {
		errs = append(errs, d.stack.Close())
	}
	for _, t := range d.temporary {
		errs = append(errs, os.RemoveAll(t))
	}
	return errors.Join(errs...)
}
