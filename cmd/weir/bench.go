package main

import (
	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/proof/bench"
)

func benchCommand() *cobra.Command {
	o := bench.Defaults()
	verbose := false
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure Weir against its bars, in ratios and CPU time",
		Long: `bench measures on this machine, in one run, both sides of every ratio, and prints
the bar beside each: decoding against encoding/json; decoding, facets, windows and
verdict in one process; and the whole worker, with Kafka, ClickHouse and Redis
beside it, with a million entities. The exit status is 1 if a bar is not reached.`,
		Example: "  weir bench\n  weir bench -skip-worker",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			reached, err := bench.Run(cmd.Context(), o, cmd.OutOrStdout(), logger(cmd, verbose))
			if err != nil {
				return err
			}
			if !reached {
				return &cli.Error{Code: cli.Failed, Err: errBar}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.SkipWorker, "skip-worker", o.SkipWorker, "leave the whole worker out, which takes about a minute")
	f.IntVar(&o.Entities, "entities", o.Entities, "entities that the worker is made to track")
	f.IntVar(&o.Events, "events", o.Events, "events that the worker is measured with")
	f.BoolVar(&verbose, "verbose", false, "log what happens to the error output")
	return cmd
}
