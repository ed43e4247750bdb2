package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/proof/chaos"
)

// errUnproven is only an exit status: the report has already explained it.
var errUnproven = errors.New("something is lost, twice or different; the report says what")

func chaosCommand() *cobra.Command {
	o := chaos.Defaults()
	verbose := false
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "Kill whatever does the work, and prove that nothing is lost and nothing counts twice",
		Long: `chaos starts Kafka, Redis, ClickHouse, workers and a gate, each as a process of its
own on the loopback interface, and sends a load that is a function of the seed,
with repeats, garbage and late events in it. Meanwhile workers are killed
(SIGKILL), stopped for longer than their session (SIGSTOP), told to end, added and
taken away; the broker, Redis and ClickHouse are killed and started again; Redis
is emptied; connections are refused, swallowed, slowed, or cut after a request
went through and before its answer came.

Then a verifier, which knows the seed, compares: every acknowledged event is once
in ClickHouse, all garbage once among the dead letters, every facet once in the
facet log; signals and scores are those that the recorded facet log leads to, and
those of a run that nothing disturbs; the ledgers balance.

The exit status is 0 only if all of that holds. Ctrl-C ends the faults early; the
verdict is then of what ran so far. With -json the last line is one JSON object.
docs/chaos.md says how to read it, and what it does not prove.`,
		Example: `  weir chaos
  weir chaos -for 30m -seed 7 -data ./chaos
  weir chaos -kafka apache -json | tail -n 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return cli.UsageError(err)
			}
			report, err := chaos.Run(cmd.Context(), o, cmd.OutOrStdout(), logger(cmd, verbose))
			if err != nil {
				return err
			}
			if !report.Proven {
				return &cli.Error{Code: cli.Failed, Err: errUnproven}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.For, "for", o.For, "how long load and faults last; settling and verifying come after it")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "seed of load and faults")
	f.StringVar(&o.Kafka, "kafka", o.Kafka, "broker: embedded, or apache (from the cache; `make kafka` fetches it)")
	f.IntVar(&o.Workers, "workers", o.Workers, "workers that run at first, and after each change of their number")
	f.Float64Var(&o.Rate, "rate", o.Rate, "raw records a second")
	f.StringVar(&o.Data, "data", o.Data, "empty directory that keeps everything; empty: a temporary one")
	f.BoolVar(&o.JSON, "json", o.JSON, "end with one JSON object on the last line")
	f.BoolVar(&verbose, "verbose", false, "log what happens to the error output")
	return cmd
}
