package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/query"
	"github.com/weirdev/weir/app/terminal"
)

func queryCommand() *cobra.Command {
	var o query.Options
	file, verbose := "", false
	cmd := &cobra.Command{
		Use:   "query [SQL | -]",
		Short: "Ask ClickHouse what was stored",
		Long: `query runs one statement, which may only read, against the ClickHouse that the
configuration names, or with -data against what 'weir demo -data' or 'weir sandbox
-dir' has left in a directory: no server needs to run. Without an argument, or with
-, the statement is read from standard input.

v_events and v_signals show each event and each signal once. docs/clickhouse.md has
their columns, and questions worth asking.

On a terminal the result is a table; anywhere else it is tab-separated.`,
		Example: `  weir query -data ./weir-data 'SELECT route, count() FROM v_events GROUP BY route ORDER BY 2 DESC LIMIT 10'
  weir query 'SELECT * FROM v_signals ORDER BY time DESC LIMIT 3' -output vertical
  weir query -file who.sql -output json -clickhouse.addrs clickhouse:9000`,
		Args: cobra.MaximumNArgs(1),
	}
	c := cli.ConfigureSections(cmd, app.Defaults(), app.QuerySettings()...)
	f := cmd.Flags()
	f.StringVar(&o.Data, "data", "", "directory that a demonstration or a sandbox has left its data in")
	f.StringVar(&o.Output, "output", "", "how to write the result: "+strings.Join(query.Outputs(), ", ")+"; empty: table on a terminal, else tsv")
	f.StringVar(&file, "file", "", "file that holds the statement")
	f.BoolVar(&verbose, "verbose", false, "log what happens to the error output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.Read(cmd); err != nil {
			return err
		}
		o.ClickHouse = c.Config.ClickHouse
		if o.Output == "" {
			o.Output = "tsv"
			if terminal.Is(cmd.OutOrStdout()) {
				o.Output = "table"
			}
		}
		if err := o.Validate(); err != nil {
			return c.Invalid(err)
		}
		sql, err := statement(cmd, file, args)
		if err != nil {
			return err
		}
		return query.Run(cmd.Context(), o, sql, cmd.OutOrStdout(), logger(cmd, verbose))
	}
	return cmd
}

// statement returns the SQL from an argument, a file or standard input.
func statement(cmd *cobra.Command, file string, args []string) (string, error) {
	given := len(args) == 1 && args[0] != "-"
	switch {
	case given && file != "":
		return "", cli.UsageError(errors.New("the statement is given twice: as an argument and as -file"))
	case given:
		return args[0], nil
	case file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			return "", cli.UsageError(fmt.Errorf("-file: %w", err))
		}
		return string(text), nil
	case len(args) == 0 && terminal.Is(cmd.InOrStdin()):
		return "", cli.UsageError(errors.New("there is no statement: give one as an argument, with -file, or on standard input"))
	}
	text, err := io.ReadAll(cmd.InOrStdin())
	return string(text), err
}
