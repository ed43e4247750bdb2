package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/internal/telemetry"
)

func checkCommand() *cobra.Command {
	wait := 5 * time.Second
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look at the servers as a worker does before it runs",
		Long: `check looks at the topics of the stream (stream.name), the tables in ClickHouse,
and Redis, and says what is not as it should be and how to mend it. It changes
nothing. An error is what a worker refuses to run on, since it would break the
promise that nothing is lost or counted twice; a warning is not.

Exit status 0 says that there is no error, 1 that there are some.`,
		Example: `  weir check -config weir.yaml
  weir check -kafka.brokers kafka:9092 -stream.secret-file weir.secret`,
		Args: cobra.NoArgs,
	}
	c := cli.Configure(cmd, app.Defaults(), app.CheckSettings(), app.CheckWorker)
	cmd.Flags().DurationVar(&wait, "wait", wait, "longest time to wait for each server; they are asked side by side")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if done, err := c.Load(cmd); done || err != nil {
			return err
		}
		if wait < 100*time.Millisecond {
			return cli.UsageError(fmt.Errorf("-wait %v: at least 100ms are needed", wait))
		}
		c.Config.Hurry(wait)
		w, err := app.NewWorker(c.Config, slog.New(slog.DiscardHandler))
		if err != nil {
			return c.Invalid(err)
		}
		say := func(line string) { fmt.Fprintln(cmd.OutOrStdout(), telemetry.HideSecrets(line)) }
		return judge(cmd, w.Check(cmd.Context(), wait, say))
	}
	return cmd
}

// judge returns an error if a finding would stop a worker.
func judge(cmd *cobra.Command, found []app.Finding) error {
	for _, f := range found {
		if f.Refuse {
			return &cli.Error{Code: cli.Failed, Err: errors.New("a worker would refuse to run on this")}
		}
	}
	fmt.Fprintln(cmd.OutOrStdout(), "the servers are as a worker needs them")
	return nil
}
