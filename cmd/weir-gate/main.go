// Command weir-gate answers gateways that ask, inline, what to do with a
// request.
package main

import (
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/internal/telemetry"
)

func main() { os.Exit(cli.Main(command(), os.Args[1:], os.Stderr)) }

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "weir-gate",
		Short: "Answer gateways that ask what to do with a request",
		Long: `weir-gate looks risk scores up in Redis and answers, within a time budget:

  POST /v1/decide             entities in; decision, score and reasons out
  GET  /v1/risk/{kind}/{id}   the score of one entity and why
  /v1/forward-auth/{profile}  a decision for nginx, Traefik, Caddy or Envoy

When Redis cannot be asked it still answers, by its policies, and says so.

Each setting is a flag, a key of the YAML file that -config names (gate.listen), and
a variable (WEIR_GATE_LISTEN). File and variables may hold those of other programs.`,
		Example: `  weir-gate -redis.addrs redis:6379 -stream.secret-file weir.secret
  curl -s localhost:8191/v1/decide -H 'Content-Type: application/json' \
    -d '{"entities":{"ip":"203.0.113.9"}}'`,
		Args:    cobra.NoArgs,
		Version: app.Version(),
	}
	defaults := app.Defaults()
	defaults.Admin.Listen = "127.0.0.1:9481" // beside a worker on the same machine
	c := cli.Configure(cmd, defaults, app.GateSettings(), app.CheckGate)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(app.GateGCPercent)
		}
		if done, err := c.Load(cmd); done || err != nil {
			return err
		}
		g, err := app.NewGate(c.Config, telemetry.NewLogger(cmd.ErrOrStderr(), c.Config.Log))
		if err != nil {
			return c.Invalid(err)
		}
		return g.Run(cmd.Context())
	}
	return cmd
}
