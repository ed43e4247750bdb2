package main

import (
	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/proof/bench"
)

func benchCommand() *cobra.Command {
	o := bench.Defaults()
	s := bench.ScaleDefaults()
	verbose, costs, gate, scale := false, false, false, false
	var echo []string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure Weir against its bars, in ratios and CPU time",
		Long: `bench measures on this machine, in one run, both sides of every ratio, and prints
the bar beside each: decoding against encoding/json; decoding, facets, windows and
verdict in one process, with few rules and with many; and the whole worker, with
Kafka, ClickHouse and Redis beside it, with a million entities. The exit status is 1
if a bar is not reached.

With -detectors it prints the cost of the built-in rules of each detector instead: CPU
time for an event and bytes for an entity.

With -gate it compares decisions of the gate with GETs of a Redis that it starts
(redis-server must be installed), and a weir-gate that it starts with a server that
only echoes.

With -scale it loads -scale-events simulated events into the tables, and measures the
questions that people ask, the bytes of an event, and what inserting costs. With
-scale-dir it keeps them, and does not load them again.`,
		Example: "  weir bench\n  weir bench -skip-worker\n  weir bench -detectors\n  weir bench -gate\n  weir bench -scale -scale-dir /tmp/scale",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(echo) > 0 {
				return bench.Echo(cmd.Context(), echo)
			}
			if costs {
				return bench.Costs(cmd.Context(), cmd.OutOrStdout())
			}
			run := func() (bool, error) { return bench.Run(cmd.Context(), o, cmd.OutOrStdout(), logger(cmd, verbose)) }
			if gate {
				run = func() (bool, error) { return bench.Gate(cmd.Context(), cmd.OutOrStdout()) }
			}
			if scale {
				run = func() (bool, error) { return bench.Scale(cmd.Context(), s, cmd.OutOrStdout(), logger(cmd, verbose)) }
			}
			reached, err := run()
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
	f.BoolVar(&costs, "detectors", false, "print the cost of each detector, and measure nothing else; takes about a minute")
	f.BoolVar(&gate, "gate", false, "measure decisions of the gate, and nothing else; takes about half a minute")
	f.BoolVar(&scale, "scale", false, "measure questions to the tables, and nothing else; takes a quarter of an hour")
	f.IntVar(&s.Events, "scale-events", s.Events, "events that -scale loads, about")
	f.StringVar(&s.Dir, "scale-dir", "", "`directory` that keeps what -scale loads; empty: a temporary one")
	f.IntVar(&o.Entities, "entities", o.Entities, "entities that the worker is made to track")
	f.IntVar(&o.Events, "events", o.Events, "events that the worker is measured with")
	f.StringSliceVar(&echo, "echo", nil, "echo HTTP requests to these `addresses`, and measure nothing: what -gate starts to compare with")
	_ = f.MarkHidden("echo") // it is there
	f.BoolVar(&verbose, "verbose", false, "log what happens to the error output")
	return cmd
}
