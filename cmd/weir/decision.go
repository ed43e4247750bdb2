package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/query"
)

func decisionCommand() *cobra.Command {
	var o query.Options
	asJSON, verbose := false, false
	cmd := &cobra.Command{
		Use:   "decision ID",
		Short: "Show all that is known about a decision of a gate",
		Long: `decision shows what a gate decided, by the decision's id or the request's: action,
score and reasons with the signals behind them, the event of the request, and what to
do if the decision is wrong. The exit status is 1 if there is none.

It reads the ClickHouse that the configuration names, or with -data what 'weir demo
-data' or 'weir sandbox -dir' has left in a directory.`,
		Example: `  weir decision 0e0b4b04-4c6f-4f39-9d59-0b2a5f6ad7f1
  weir decision gw3-01J9Z6K2W8 -json -clickhouse.addrs clickhouse:9000`,
		Args: cobra.ExactArgs(1),
	}
	c := cli.ConfigureSections(cmd, app.Defaults(), app.QuerySettings()...)
	f := cmd.Flags()
	f.StringVar(&o.Data, "data", "", "directory that a demonstration or a sandbox has left its data in")
	f.BoolVar(&asJSON, "json", false, "write one JSON object in a line for each decision")
	f.BoolVar(&verbose, "verbose", false, "log what happens to the error output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.Read(cmd); err != nil {
			return err
		}
		if args[0] == "" {
			return cli.UsageError(errors.New("the id is empty"))
		}
		o.ClickHouse, o.Output = c.Config.ClickHouse, "vertical"
		if asJSON {
			o.Output = "json"
		}
		if err := o.Validate(); err != nil {
			return c.Invalid(err)
		}
		return found(query.Decision(cmd.Context(), o, args[0], cmd.OutOrStdout(), logger(cmd, verbose)))
	}
	return cmd
}

// found gives the answers of a search that are no failures their exit status.
func found(err error) error {
	if errors.Is(err, query.ErrNoDecision) || errors.Is(err, errLeft) {
		return &cli.Error{Code: cli.Failed, Err: err}
	}
	return err
}
