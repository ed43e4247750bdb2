package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/cmd/internal/cli"
	"github.com/weirdev/weir/cmd/internal/demo"
)

// errUnbalanced is said with an exit status: the summary has said the rest.
var errUnbalanced = errors.New("the ledger does not balance; the summary says where")

// errBar likewise.
var errBar = errors.New("a bar is not reached")

func demoCommand() *cobra.Command {
	o := demo.Defaults()
	verbose := false
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine and watch an attack being caught",
		Long: `demo starts Kafka, Redis and ClickHouse inside its own process, and weir-worker and
weir-gate beside it. Invented people use an app; after ten seconds somebody tries
leaked passwords on them from a data centre. You see what Weir sees, what the gate
says about the attacker and about somebody innocent, and at the end a summary with
the queries that show the same.

With -input, a file of log lines takes the way of the invented traffic, as a
history stream; the run ends when its last line is through. The same file on the
same -data is the same stream: a second run changes nothing.

With -json the last line is one JSON object. The exit status is 0 only if the
ledger balances: every record is accounted for, in every stage.`,
		Example: `  weir demo
  weir demo -for 2m -rate 1000 -people 20000 -data ./demo
  weir demo -format combined -input access.log -data ./logs
  weir demo -for 30s -json | tail -n 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return cli.UsageError(err)
			}
			balanced, err := demo.Run(cmd.Context(), o, cmd.OutOrStdout(), logger(cmd, verbose))
			if err != nil {
				return err
			}
			if !balanced {
				return &cli.Error{Code: cli.Failed, Err: errUnbalanced}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.For, "for", o.For, "how long traffic flows; 0: until Ctrl-C")
	f.StringVar(&o.Data, "data", o.Data, "directory that keeps everything; empty: a temporary one")
	f.StringVar(&o.Input, "input", o.Input, "file of log lines to run instead of invented traffic")
	f.StringVar(&o.Format, "format", o.Format, "format of -input: weir, combined, nginx, envoy, traefik")
	f.BoolVar(&o.JSON, "json", o.JSON, "end with one JSON object on the last line")
	f.Float64Var(&o.Rate, "rate", o.Rate, "innocent events a second")
	f.IntVar(&o.People, "people", o.People, "people who use the app")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of the invented world")
	f.StringVar(&o.Rules, "rules", o.Rules, "directory of rules; empty: the rules that are built in")
	f.StringVar(&o.Geo.City, "geo-city", "", "MaxMind database of cities, for real addresses")
	f.StringVar(&o.Geo.ASN, "geo-asn", "", "MaxMind database of autonomous systems")
	f.StringVar(&o.Geo.Anonymous, "geo-anonymous", "", "MaxMind database of anonymisers")
	f.BoolVar(&verbose, "verbose", false, "log what happens to the error output")
	return cmd
}
