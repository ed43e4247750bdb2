package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/terminal"
	"github.com/weirdev/weir/app/try"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
)

func tryCommand() *cobra.Command {
	t := &trying{}
	cmd := &cobra.Command{
		Use:   "try [LINE | FILE… | -]",
		Short: "Show what becomes of records: the event, or why there is none, and what Weir sees in it",
		Long: `try reads records, one a line, from an argument, from files (.gz, too) or from
standard input, with the code that ingest reads them with, and shows for each the
event that it becomes, or why it becomes none and where in it the trouble is; the
client's address, the route, the entities that it counts for, and the rules whose
conditions it meets. It needs no server and stores nothing.

Without -format the one is used that reads the lines best. The settings of ingest
(trusted proxies, routes, a mapping), geographic databases and rules are those of
-config and of the flags.

The exit status is 1 if a record became a dead letter.`,
		Example: `  weir try -format combined '192.0.2.7 - - [15/Sep/2026:16:13:46 +0000] "GET / HTTP/1.1" 200 8 "-" "x"'
  weir try /var/log/nginx/access.log -summary
  tail -n 100 access.json | weir try -config weir.yaml -json -`,
	}
	t.config = cli.ConfigureSections(cmd, app.Defaults(), app.TrySettings()...)
	f := cmd.Flags()
	f.StringVar(&t.format, "format", "", "format of the records: "+strings.Join(format.Names(), ", ")+"; empty: found by itself")
	f.BoolVar(&t.json, "json", false, "write one JSON object a line, the last with the summary")
	f.BoolVar(&t.brief, "summary", false, "write the summary only, and the first record of each reason that became a dead letter")
	cmd.RunE = t.run
	return cmd
}

// trying is a run of try.
type trying struct {
	config      *cli.Configured
	format      string
	json, brief bool

	trier   *try.Trier
	summary try.Summary
	out     io.Writer
}

// sampleLines is the number of lines that are examined to detect their format.
const sampleLines = 300

func (t *trying) run(cmd *cobra.Command, args []string) error {
	if err := t.config.Read(cmd); err != nil {
		return err
	}
	t.out = cmd.OutOrStdout()
	if len(args) == 0 {
		if terminal.Is(cmd.InOrStdin()) {
			return cli.UsageError(errors.New("what is to be tried? Name a line, files, or - for standard input"))
		}
		args = []string{"-"}
	}
	cfg := t.config.Config.Ingest
	detect := t.settle(&cfg)
	var sample [][]byte
	begin := func() error {
		if err := t.begin(cmd, cfg, detect, sample); err != nil {
			return err
		}
		for _, line := range sample {
			if err := t.one(line); err != nil {
				return err
			}
		}
		return nil
	}
	err := try.Lines(args, cmd.InOrStdin(), func(line []byte) error {
		if cmd.Context().Err() != nil {
			return cmd.Context().Err()
		}
		if t.trier != nil {
			return t.one(line)
		}
		if sample = append(sample, bytes.Clone(line)); len(sample) < sampleLines {
			return nil
		}
		return begin()
	})
	if err == nil && t.trier == nil {
		err = begin()
	}
	if err != nil {
		return err
	}
	return t.end()
}

// settle applies -format to the configuration; detect is true if neither names a
// format.
func (t *trying) settle(cfg *ingest.Config) (detect bool) {
	if t.format == "" {
		return !t.config.Given("ingest.format") && cfg.Mapping == nil && cfg.Pattern == ""
	}
	if cfg.Format = t.format; cfg.Format != "mapping" {
		cfg.Mapping = nil
	}
	if cfg.Format != "pattern" {
		cfg.Pattern = ""
	}
	return false
}

// begin makes the trier, once the format is known.
func (t *trying) begin(cmd *cobra.Command, cfg ingest.Config, detect bool, sample [][]byte) error {
	if len(sample) == 0 {
		return cli.UsageError(errors.New("there is no line to try"))
	}
	if detect {
		guesses := format.Detect(sample)
		if len(guesses) == 0 {
			return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("no format reads these lines; -format names one of %s, and docs/formats.md shows what they read",
				strings.Join(format.Names(), ", "))}
		}
		cfg.Format = guesses[0].Format
	}
	t.config.Config.Ingest = cfg
	if err := cfg.Validate(); err != nil {
		return t.config.Invalid(err)
	}
	if detect && !t.json {
		fmt.Fprintf(t.out, "format %s, which reads these lines best; -format names another\n", cfg.Format)
	}
	set, err := app.LoadRules(t.config.Config.Rules)
	if err != nil {
		return cli.UsageError(fmt.Errorf("rules: %w", err))
	}
	places, err := geo.Open(t.config.Config.Geo, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return t.config.Invalid(err)
	}
	t.trier, err = try.New(cfg, places.Current(), set)
	return err
}

// one tries one record and writes the result.
func (t *trying) one(line []byte) error {
	r := t.trier.Try(line)
	news := r.Refusal != nil && !r.Refusal.Filtered && t.summary.Dead[r.Refusal.Reason] == 0
	t.summary.Add(&r)
	switch {
	case t.brief && !news:
	case t.json:
		return r.WriteJSON(t.out)
	default:
		r.Write(t.out)
	}
	return nil
}

func (t *trying) end() error {
	if t.json {
		if err := t.summary.WriteJSON(t.out, t.config.Config.Ingest.Format); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(t.out)
		t.summary.Write(t.out)
	}
	if n := len(t.summary.Dead); n > 0 {
		return &cli.Error{Code: cli.Failed, Err: errDead}
	}
	return nil
}

// errDead is only an exit status: the summary has already explained it.
var errDead = errors.New("some records would become dead letters")
