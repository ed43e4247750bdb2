// Command weir-worker is the streaming worker: it reads request events from
// Kafka, detects abuse, and writes risk scores to Redis and an audit trail to
// ClickHouse.
package main

import (
	"errors"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/internal/watch"
)

func main() { os.Exit(cli.Main(command(), os.Args[1:], os.Stderr)) }

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "weir-worker",
		Short: "Read request events from Kafka, detect abuse, keep risk scores",
		Long: `weir-worker runs the stages ingest, detect, decisions and notices (-stages) as members of
consumer groups, so that any number of workers share the work. Topics and tables are made
by 'weir migrate'.

Each setting is a flag, a key of the YAML file that -config names (kafka.brokers),
and a variable (WEIR_KAFKA_BROKERS). Flags win over variables, and variables over
the file. File and variables may hold those of other programs.

SIGTERM finishes what is under way and commits, within -stop-timeout; a second one
ends the process at once. Exit status 4 says that a partition hung: it is to be
started again.`,
		Example: `  weir-worker -kafka.brokers kafka:9092 -redis.addrs redis:6379 \
    -clickhouse.addrs clickhouse:9000 -stream.secret-file weir.secret
  weir-worker -config weir.yaml -check`,
		Args:    cobra.NoArgs,
		Version: app.Version(),
	}
	c := cli.Configure(cmd, app.Defaults(), app.WorkerSettings(), app.CheckWorker)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if done, err := c.Load(cmd); done || err != nil {
			return err
		}
		spareMemory()
		w, err := app.NewWorker(c.Config, telemetry.NewLogger(cmd.ErrOrStderr(), c.Config.Log))
		if err != nil {
			return c.Invalid(err)
		}
		err = w.Run(cmd.Context())
		if errors.Is(err, watch.ErrStuck) {
			return &cli.Error{Code: cli.Stuck, Err: err}
		}
		return err
	}
	return cmd
}

// spareMemory makes the garbage collector run more often than by default, unless
// the operator has configured it. The state of entities contains no pointers, so a
// collection costs the same for any number of entities, while the default would
// double their memory.
func spareMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(20)
	}
}
