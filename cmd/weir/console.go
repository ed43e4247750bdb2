package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/console"
	"github.com/weirdev/weir/app/query"
	"github.com/weirdev/weir/internal/sandbox"
	"github.com/weirdev/weir/internal/telemetry"
)

// consoling holds the flags of weir console.
type consoling struct {
	config *cli.Configured
	data   string
}

func consoleCommand() *cobra.Command {
	var x consoling
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Serve the analysts' page: who abuses what, why, and what to do about it",
		Long: `console serves pages for analysts: what is abused and by whom, everything about an
entity, an event, a decision or a rule, with the reasons. Analysts block and release
entities there.

It reads the ClickHouse, Redis and Kafka that the configuration names, or with -data
what 'weir demo -data' or 'weir sandbox -dir' has left in a directory. Without
-console.users-file it lets in one administrator, with a token that it prints.
docs/console.md has more.`,
		Example: `  weir console -stream.secret-file weir.secret
  weir console -data ./demo                            what a demonstration has left
  weir console token                                   a token for the file of users`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return x.run(cmd) },
	}
	defaults := app.Defaults()
	defaults.Admin.Listen = "127.0.0.1:9482" // beside a worker and a gate on the same machine
	x.config = cli.ConfigureSections(cmd, defaults, app.ConsoleSettings()...)
	cmd.Flags().StringVar(&x.data, "data", "", "directory that a demonstration or a sandbox has left its data in")
	cmd.AddCommand(consoleTokenCommand())
	return cmd
}

func consoleTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "token",
		Short: "Make a token for the file of users",
		Long: `token makes a token, and writes it and its hash. Give the token to whoever will sign
in with it, and write the hash into the file of users (console.users_file):

  ann analyst sha256:…`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, stored := console.NewToken()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "token  %s\nstored %s\n", token, stored)
			return err
		},
	}
}

func (x *consoling) run(cmd *cobra.Command) (err error) {
	if err := x.config.Read(cmd); err != nil {
		return err
	}
	cfg := &x.config.Config
	log := telemetry.NewLogger(cmd.ErrOrStderr(), cfg.Log)
	if x.data != "" {
		s, err := query.Open(x.data, sandbox.Config{ClickHouseAddr: "127.0.0.1:0", KafkaAddr: "127.0.0.1:0"}, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		cfg.ClickHouse.Addrs, cfg.Kafka.Brokers = []string{s.Addresses().ClickHouse}, []string{s.Addresses().Kafka}
		if file := filepath.Join(x.data, "weir.secret"); cfg.Stream.Secret == "" && cfg.Stream.SecretFile == "" {
			cfg.Stream.SecretFile = file
		}
	}
	loose, err := cfg.LooseFiles(app.ConsoleSettings())
	for _, l := range loose {
		cli.Warn(cmd, l)
	}
	if err == nil {
		err = cfg.ValidateFor(app.ConsoleSettings())
	}
	if err != nil {
		return x.config.Invalid(err)
	}
	users, token, err := x.users(log)
	if err != nil {
		return x.config.Invalid(err)
	}
	c, err := app.NewConsole(*cfg, users, x.data == "", log)
	if err != nil {
		return x.config.Explain(err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	l, err := c.Listen(cmd.Context())
	if err != nil {
		return x.config.Explain(err)
	}
	scheme := "http"
	if cfg.Console.CertFile != "" {
		scheme = "https"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "the console is at %s://%s\n", scheme, l.Addr())
	if token != "" {
		fmt.Fprintf(cmd.OutOrStdout(), "sign in with the token %s, which is good until this console ends\n", token)
	}
	return c.Run(cmd.Context(), l)
}

// users returns who may sign in with tokens: those of the file, or one administrator
// with a new token if nobody else may sign in.
func (x *consoling) users(log *slog.Logger) (users *console.Roster, token string, err error) {
	if file := x.config.Config.Console.UsersFile; file != "" {
		users, err = console.WatchUsers(file, log)
		return users, "", err
	}
	if x.config.Config.Console.OIDC.Issuer != "" {
		return console.NewRoster(nil), "", nil
	}
	one, token := console.Single(userName())
	return console.NewRoster(one), token, nil
}
