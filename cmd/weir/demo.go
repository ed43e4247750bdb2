package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/demo"
)

// errInterrupted is only an exit status: the summary has already explained it.
var errInterrupted = errors.New("interrupted before the last line was through")

// errBar is also only an exit status.
var errBar = errors.New("a bar is not reached")

func demoCommand() *cobra.Command {
	o := demo.Defaults()
	verbose := false
	cmd := &cobra.Command{
		Use:   "demo [FILE...]",
		Short: "Run everything on this machine and watch attacks being caught, or a log of yours",
		Long: `demo starts Kafka, Redis and ClickHouse inside its own process, and weir-worker and
weir-gate next to it. Simulated people use an app, and four attacks begin, one for
each kind of detector: signature mismatch, sequence anomaly, impossible travel, and
credential stuffing, which a sliding window finds. The output shows when each attack
is caught, what the gate says about the attacker and about an innocent user nearby,
and at the end why each was caught, and a summary with the queries that show the same.

First a history of 20 minutes is written, from which rules learn what is usual.
detect.lateness is 5s instead of 1m, and ingest.max_late 30m instead of 10m, unless a
setting has another value. Databases of
'weir geo fetch' (-geo-dir), or those of -geo.city, -geo.asn and -geo.anonymous, decide
where people live; without databases the map is invented, too.

With files of log lines (-input, or as arguments) those take the way of the invented
traffic, as a history stream; the run ends when the last line is through, and Ctrl-C
ends it with a summary of what came so far.

  The format is found from the first lines; -format names it.
  Files may be packed (.gz), and - is the standard input. The rotated files of a log
  are read from the oldest on (access.log.2.gz, access.log.1, access.log), whatever
  the order they are named in; lines of different logs are merged by their times.
  Routes, trusted proxies, a mapping and the like are settings: -ingest.routes,
  -ingest.trusted-proxies, or the file of -config. Its sections ingest, detect, gate,
  geo, log and rules count; servers, stream and snapshots are the demonstration's own.
  The same lines with the same settings and rules on the same -data are the same
  stream: a second run changes nothing, and one that was interrupted goes on. A line's
  id is made of its text, so it is the same in whichever file the line stands.

With -grafana, a Grafana that is installed on this machine is started beside it, with
Weir's dashboards; a prometheus on the PATH is started for the panels of metrics. At the
end they go on until Ctrl-C, unless -json is given. Both listen on this machine only, and nobody needs to
sign in. Grafana fetches its plugin for ClickHouse unless that is installed.

With -json the last line is one JSON object. Exit status 0 says that every record is
accounted for, in every stage, and that some could be read, that every attack was
caught, and no innocent stopped (attacks that ran for less than 25 s are not judged);
1 that something is wrong, which the summary tells; 2 that the command or a setting is; 3 that it could not run.`,
		Example: `  weir demo
  weir demo -for 2m -rate 1000 -people 20000 -data ./demo
  weir demo -for 0 -grafana /usr/sbin/grafana
  weir demo -data ./logs /var/log/nginx/access.log*
  weir demo -ingest.trusted-proxies 10.0.0.0/8 -ingest.routes /users/{id} access.log
  ssh web1 cat /var/log/nginx/access.log | weir demo -rules ./my-rules -
  weir demo -for 30s -json | tail -n 1`,
	}
	c := cli.ConfigureSections(cmd, app.Defaults(), "ingest", "geo", "rules")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.Read(cmd); err != nil {
			return err
		}
		o.Inputs = append(o.Inputs, args...)
		o.Settings, o.FormatGiven, o.Stdin = c.Config, c.Given("ingest.format"), cmd.InOrStdin()
		if err := o.Validate(); err != nil {
			return cli.UsageError(err)
		}
		v, err := demo.Run(cmd.Context(), o, cmd.OutOrStdout(), logger(cmd, verbose))
		if err != nil {
			return c.Explain(err)
		}
		return judgeDemo(v)
	}
	f := cmd.Flags()
	f.DurationVar(&o.For, "for", o.For, "how long traffic flows; 0: until Ctrl-C")
	f.StringVar(&o.Data, "data", o.Data, "directory that keeps everything; empty: a temporary one")
	f.StringSliceVar(&o.Inputs, "input", o.Inputs, "files of log lines to run instead of invented traffic, also packed; -: standard input")
	f.BoolVar(&o.JSON, "json", o.JSON, "end with one JSON object on the last line")
	f.Float64Var(&o.Rate, "rate", o.Rate, "innocent events a second")
	f.IntVar(&o.People, "people", o.People, "people who use the app")
	f.StringVar(&o.Grafana, "grafana", o.Grafana, "Grafana's program, to look at the run with Weir's dashboards; empty: none")
	f.StringVar(&o.GeoDir, "geo-dir", o.GeoDir, "directory of 'weir geo fetch', whose databases are used where no geo.… names one; empty: none")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the invented world")
	f.BoolVar(&verbose, "verbose", false, "log what happens to the error output")
	shorten(f, map[string]string{"format": "ingest.format", "geo-city": "geo.city", "geo-asn": "geo.asn", "geo-anonymous": "geo.anonymous"})
	return cmd
}

// shorten adds alternative names of flags.
func shorten(f *pflag.FlagSet, names map[string]string) {
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if long, ok := names[name]; ok {
			name = long
		}
		return pflag.NormalizedName(name)
	})
}

// judgeDemo converts a verdict to an exit status.
func judgeDemo(v demo.Verdict) error {
	switch {
	case len(v.Complaints) > 0:
		return &cli.Error{Code: cli.Failed, Err: errors.New("something is wrong; the summary says what: " + v.Complaints[0])}
	case v.Interrupted:
		return &cli.Error{Code: cli.Failed, Err: errInterrupted}
	}
	return nil
}
