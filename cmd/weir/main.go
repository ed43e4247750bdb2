// Command weir is the tool for operators and analysts. It demonstrates Weir, sets
// up installations, checks rules, generates traffic and measures.
package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/internal/telemetry"
)

func main() { os.Exit(cli.Main(command(), os.Args[1:], os.Stderr)) }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "weir",
		Short: "Detect abuse of APIs behind mobile apps",
		Long: `Weir watches the requests to an API and keeps a risk score for every account,
address, device and token. Gateways ask weir-gate for it before they serve.

Start with 'weir demo': it runs everything on this machine, attacks itself, and
shows the attack being caught. Flags may be written with one dash or two.`,
		Example: `  weir demo                                        watch an attack being caught
  weir demo access.log*                            run a real log through the same path
  weir sandbox                                     Kafka, Redis and ClickHouse to try things on
  weir rules test rules/default                    run the tests in rules`,
		Version: app.Version(),
		Args:    cobra.NoArgs,
	}
	root.AddCommand(demoCommand(), sandboxCommand(), migrateCommand(), checkCommand(), healthCommand(), rulesCommand(), policyCommand(), switchCommand(), labelCommand(), releaseCommand(), eraseCommand(), noticesCommand(), generateCommand(), trafficCommand(), evaluateCommand(), benchCommand(), chaosCommand(),
		queryCommand(), decisionCommand(), consoleCommand(), deadCommand(), canaryCommand(), tryCommand(), geoCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// logger returns a logger for warnings and errors on the command's error output;
// with -verbose, for everything from debug on.
func logger(cmd *cobra.Command, verbose bool) *slog.Logger {
	c := telemetry.LogConfig{Level: "error", Format: "text"}
	if verbose {
		c.Level = "debug"
	}
	return telemetry.NewLogger(cmd.ErrOrStderr(), c)
}
