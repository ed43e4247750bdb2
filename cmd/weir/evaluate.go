package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/evaluate"
	"github.com/weirdev/weir/app/terminal"
	"github.com/weirdev/weir/app/traffic"
	"github.com/weirdev/weir/app/try"
	"github.com/weirdev/weir/internal/geo"
)

func evaluateCommand() *cobra.Command {
	x := &evaluating{shape: newShape(), grace: evaluate.Defaults().Grace, partitions: evaluate.Defaults().Partitions}
	cmd := &cobra.Command{
		Use:   "evaluate",
		Short: "Measure rules on traffic whose truth is known: what they find, how soon, whom they accuse wrongly",
		Long: `evaluate takes traffic through ingest's and the engine's code in this process, with
several facet partitions, loop-back, watermarks and scores, and holds what rules say
against the truth. For each kind of campaign (each variant with -by-variant) and each
rule it shows recall, precision, the medians of the time to the first signal and to
the first action of the gate, whether the attacker or only a victim was named, false
signals and innocent entities acted on per million clean events, and what it costs.

The traffic is invented, as 'weir generate' writes it, from -seed, -days, -rate and the
like; or it is a file (-events) with its truth (-truth), such as generate writes. Where
a file's addresses are is said by -geo.city and the like.

-rules names a directory, or two with a comma between them, which are compared on the
same events; "default" are the built-in rules. docs/evaluation.md says how to read it.

Exit status 0 says that every bar that was given is reached (-min-recall,
-min-precision, -max-false, -max-wrong), 1 that one is not; without bars it is 0.`,
		Example: `  weir evaluate
  weir evaluate -seed 7 -days 2 -by-variant -misses -html report.html
  weir evaluate -rules default,./my-rules -kinds scraping,replay
  weir evaluate -events events.jsonl -truth truth.jsonl -geo.city ./geo/city.mmdb -geo.asn ./geo/asn.mmdb
  weir evaluate -min-recall 0.97 -min-precision 0.97 -max-false 20 -json > report.json`,
		Args: cobra.NoArgs,
	}
	x.config = cli.ConfigureSections(cmd, app.Defaults(), app.EvaluateSettings()...)
	f := cmd.Flags()
	x.shape.flags(f)
	f.StringSliceVar(&x.rules, "rules", []string{builtIn}, "directories of rules, two at most; "+builtIn+": the rules that are built in")
	f.StringArrayVar(&x.events, "events", nil, "`file` of events instead of invented ones (.gz, too), or - for standard input; may be given more than once")
	f.StringVar(&x.truth, "truth", "", "`file` of the truth about -events")
	f.DurationVar(&x.grace, "grace", x.grace, "how long after a campaign's last event about somebody a signal is right")
	f.IntVar(&x.partitions, "partitions", x.partitions, "facet partitions")
	f.BoolVar(&x.table.Variants, "by-variant", false, "a line for each variant of a kind, too")
	f.BoolVar(&x.table.Misses, "misses", false, "list the campaigns that were missed")
	f.BoolVar(&x.table.Innocents, "innocents", false, "list the innocent entities acted on, with the time, the action and the rules")
	f.BoolVar(&x.json, "json", false, "write one JSON object; docs/evaluation.md describes it")
	f.StringVar(&x.html, "html", "", "`file` for a page with plots, which needs no network")
	f.Float64Var(&x.bars.Recall, "min-recall", 0, "least recall of every kind, 0 to 1")
	f.Float64Var(&x.bars.Precision, "min-precision", 0, "least precision of every kind, 0 to 1")
	f.Float64Var(&x.bars.False, "max-false", -1, "most false signals per million clean events; negative: any")
	f.IntVar(&x.bars.Wrong, "max-wrong", -1, "most innocent entities on which rules in phase enforce act; negative: any")
	cmd.RunE = x.run
	return cmd
}

// builtIn is the name of the built-in rules.
const builtIn = "default"

// evaluating is a run of evaluate.
type evaluating struct {
	config     *cli.Configured
	shape      *shape
	rules      []string
	events     []string
	truth      string
	grace      time.Duration
	partitions int
	table      evaluate.Table
	json       bool
	html       string
	bars       evaluate.Bars
}

func (x *evaluating) run(cmd *cobra.Command, _ []string) error {
	if err := x.config.Read(cmd); err != nil {
		return err
	}
	o, err := x.options(cmd.InOrStdin())
	if err != nil {
		return err
	}
	if to := cmd.ErrOrStderr(); terminal.Is(to) {
		o.Progress = func(events int64, latest time.Time) {
			fmt.Fprintf(to, "\r%d events, up to %s ", events, latest.UTC().Format("2006-01-02 15:04"))
		}
	}
	r, err := evaluate.Run(cmd.Context(), o)
	if o.Progress != nil {
		fmt.Fprint(cmd.ErrOrStderr(), "\r\x1b[K") // erase the progress line
	}
	if errors.Is(err, evaluate.ErrNoEvents) {
		return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("%w of format %s; weir try shows what each line lacks", err, o.Ingest.Format)}
	}
	if err != nil {
		return err
	}
	if x.json {
		err = r.WriteJSON(cmd.OutOrStdout())
	} else {
		err = r.Write(cmd.OutOrStdout(), x.table)
	}
	if err == nil && x.html != "" {
		err = writeFile(cmd, "-html", x.html, r.WriteHTML)
	}
	if err != nil {
		return err
	}
	if short := r.Short(x.bars); len(short) > 0 {
		return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("a bar is not reached: %s", strings.Join(short, "; "))}
	}
	return nil
}

// options combines the command line with the configuration.
func (x *evaluating) options(stdin io.Reader) (o evaluate.Options, err error) {
	o = evaluate.Defaults()
	cfg := x.config.Config
	o.Ingest, o.Detect, o.Policy, o.Grace, o.Partitions = cfg.Ingest, cfg.Detect.Config, cfg.Gate.Policy, x.grace, x.partitions
	if x.partitions < 1 || x.partitions > 1024 || x.grace < 0 {
		return o, cli.UsageError(fmt.Errorf("-partitions %d, -grace %v: 1 to 1024, and no negative time, are needed", x.partitions, x.grace))
	}
	if err := errors.Join(cfg.Ingest.Validate(), cfg.Detect.Config.Validate()); err != nil {
		return o, x.config.Invalid(err)
	}
	if len(x.rules) < 1 || len(x.rules) > 2 {
		return o, cli.UsageError(fmt.Errorf("-rules: %d directories; name one, or two to compare", len(x.rules)))
	}
	for _, dir := range x.rules {
		var args []string
		if dir != builtIn {
			args = []string{dir}
		}
		set, problems, err := loadRules(args)
		if problems != nil {
			problems.In += " of " + dir
			return o, findings(problems)
		}
		if err != nil {
			return o, cli.UsageError(fmt.Errorf("-rules %s: %w", dir, err))
		}
		o.Candidates = append(o.Candidates, evaluate.Candidate{Name: dir, Rules: set})
	}
	if len(x.events) == 0 {
		return o, x.invent(&o)
	}
	return o, x.given(&o, stdin)
}

// invent configures generated traffic.
func (x *evaluating) invent(o *evaluate.Options) error {
	if x.truth != "" {
		return cli.UsageError(errors.New("-truth goes with -events; of invented traffic the truth is known"))
	}
	c, err := x.shape.config()
	if err != nil {
		return err
	}
	o.Ingest = evaluate.Defaults().Ingest
	o.Source, o.Places = evaluate.Generated(c), traffic.NewPlaces()
	return nil
}

// given configures files of events.
func (x *evaluating) given(o *evaluate.Options, stdin io.Reader) error {
	if x.truth == "" {
		return cli.UsageError(errors.New("-events without -truth: who is who? weir generate -truth writes a file that shows the form"))
	}
	f, err := os.Open(x.truth)
	if err != nil {
		return cli.UsageError(fmt.Errorf("-truth: %w", err))
	}
	defer f.Close()
	truth, err := traffic.ReadTruth(f)
	if err != nil {
		return cli.UsageError(fmt.Errorf("-truth %s: %w", x.truth, err))
	}
	places, err := geo.Open(x.config.Config.Geo, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return x.config.Invalid(err)
	}
	o.Places, o.Given = places.Current(), truth
	o.Source = func(emit func([]byte) error) (*traffic.Truth, error) { return truth, try.Lines(x.events, stdin, emit) }
	return nil
}
