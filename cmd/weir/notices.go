package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/internal/printable"
	"github.com/weirdev/weir/notices"
)

func noticesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notices",
		Short: "Check who is told about signals, and try it",
		Long: `notices works on the file that says who is told about signals, and of which
(notices.file). Workers read it. docs/notices.md describes it.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(noticesTestCommand())
	return cmd
}

func noticesTestCommand() *cobra.Command {
	var only []string
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Send a test notice to each channel",
		Long: `test reads the file as a worker does, and sends one notice with the status "test" to
each channel, once. It ends with 1 where one was not taken, and with 2 where the file
is wrong.`,
		Example: `  weir notices test -config weir.yaml
  weir notices test -notices.file notices.yaml -channel oncall`,
		Args: cobra.NoArgs,
	}
	c := cli.ConfigureSections(cmd, app.Defaults(), app.NoticesSettings()...)
	cmd.Flags().StringSliceVar(&only, "channel", nil, "`id` of a channel to try; may be repeated; default: all")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := c.Read(cmd); err != nil {
			return err
		}
		if c.Config.Notices.File == "" {
			return cli.UsageError(errors.New("notices.file is not set: nobody is told about signals"))
		}
		words, err := app.LoadRules(c.Config.Rules)
		if err != nil {
			return cli.UsageError(err)
		}
		file, err := notices.Load(c.Config.Notices.File, words)
		if err != nil {
			return cli.UsageError(err)
		}
		return tryChannels(cmd, file, c.Config.Stream.Name, only)
	}
	return cmd
}

// tryChannels sends a test notice to the channels of a file.
func tryChannels(cmd *cobra.Command, file *notices.File, stream string, only []string) error {
	for _, id := range only {
		if file.Channel(id) == nil {
			return cli.UsageError(fmt.Errorf("-channel %s: the file has no such channel", id))
		}
	}
	failed := 0
	for _, one := range file.Channels {
		if len(only) > 0 && !slices.Contains(only, one.ID) {
			continue
		}
		id := "test-" + strings.ToLower(rand.Text()[:16])
		if err := one.Try(cmd.Context(), stream, id); err != nil {
			failed++
			fmt.Fprintf(cmd.OutOrStdout(), "%-20s failed: %s\n", one.ID, printable.Text(err.Error()))
			continue
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%-20s took notice %s\n", one.ID, id)
	}
	if failed > 0 {
		return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("%d of the channels did not take it", failed)}
	}
	return nil
}
