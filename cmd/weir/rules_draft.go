package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/draft"
	"github.com/weirdev/weir/app/try"
	"github.com/weirdev/weir/event/format"
)

func rulesDraftCommand() *cobra.Command {
	x := &drafting{}
	cmd := &cobra.Command{
		Use: "draft -events FILE", Short: "Propose rules that events teach: what goes before what, and limits", Args: cobra.NoArgs,
		Long: `draft reads events, one record a line, and writes a rule file: for each operation
that changes something, the operation that nearly every session has before it, as a
rule of sequence; and for each operation, limits on how often a session calls it,
from the quantiles of all sessions. Comments say what each rule was learned from, and
how often it fires on the same events. All rules are in phase observe.

Sessions are those of accounts that are signed in. The events should be those of one
app, of some days, in the order of their times. Nothing is stored, and no server is
needed.

The exit status is 1 if there is nothing to learn from.`,
		Example: `  weir rules draft -events monday.jsonl -events tuesday.jsonl > my-rules/draft.yaml
  weir rules check my-rules`,
	}
	x.config = cli.ConfigureSections(cmd, app.Defaults(), app.ReplaySettings()...)
	f := cmd.Flags()
	f.StringArrayVar(&x.events, "events", nil, "`file` of events, one record a line (.gz, too), or - for standard input; may be given more than once")
	f.StringVar(&x.format, "format", "", "format of the records: "+strings.Join(format.Names(), ", ")+"; empty: that of the configuration, which is weir where it says nothing")
	f.DurationVar(&x.gap, "session-gap", 30*time.Minute, "a pause of an account that ends its session, whole seconds")
	f.IntVar(&x.least, "least", 100, "sessions with an operation below which nothing is drafted about it")
	cmd.RunE = x.run
	return cmd
}

// drafting is a run of draft.
type drafting struct {
	config *cli.Configured
	events []string
	format string
	gap    time.Duration
	least  int
}

func (x *drafting) run(cmd *cobra.Command, _ []string) error {
	if err := x.config.Read(cmd); err != nil {
		return err
	}
	switch {
	case len(x.events) == 0:
		return cli.UsageError(errors.New("which events are rules to be drafted from? Name a file with -events, or - for standard input"))
	case x.gap < time.Second || x.gap%time.Second != 0 || x.gap > 24*time.Hour:
		return cli.UsageError(errors.New("-session-gap is 1s to 24h, in whole seconds"))
	case x.least < 10:
		return cli.UsageError(errors.New("-least is 10 or more: fewer sessions tell nothing"))
	}
	o, err := x.options()
	if err != nil {
		return err
	}
	drafter, err := draft.New(o)
	if err != nil {
		return err
	}
	err = try.Lines(x.events, cmd.InOrStdin(), func(line []byte) error {
		return errors.Join(cmd.Context().Err(), drafter.Record(line))
	})
	if errors.Is(err, draft.ErrTooMuch) {
		return cli.UsageError(err)
	}
	if err != nil {
		return err
	}
	text, err := drafter.Rules()
	if errors.Is(err, draft.ErrNoSessions) {
		return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("%w; weir try shows what an event lacks", err)}
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(cmd.OutOrStdout(), text)
	return err
}

// options combines the command line with the configuration.
func (x *drafting) options() (o draft.Options, err error) {
	cfg, places, err := replaying(x.config, x.format)
	if err != nil {
		return o, err
	}
	return draft.Options{Ingest: cfg.Ingest, Places: places, Detect: cfg.Detect.Config, Gap: x.gap, Least: x.least}, nil
}
