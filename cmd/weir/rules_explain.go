package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/explain"
	"github.com/weirdev/weir/app/try"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/rules"
)

func rulesExplainCommand() *cobra.Command {
	x := &explaining{}
	cmd := &cobra.Command{
		Use: "explain [DIR] -events FILE", Short: "Show why rules fire on events, and why they do not", Args: cobra.MaximumNArgs(1),
		Long: `explain runs events, one record a line, through ingest's and the engine's code, and
shows for each firing the events that contributed, each number beside what the rule
asks for, and what would have kept it from firing: a least set of events, and the
threshold. It shows what was held back (by a cooldown, or because it came late), and
how near tiers came that did not fire. Events are believed to have happened when they
say, in the order of the file; nothing is stored, and no server is needed.

Without -entity it shows who was caught and, of each rule that caught nobody, who
came nearest; with it, everything about one account, address or device. -from
and -to show only what happened in between: all events are read, because rules learn
from those before. Records are numbered from 1; blank lines are passed over. Without DIR, the built-in rules run,
which are also called "default". Files may be large: records beyond 64 MiB are kept
in a temporary file, and without -entity all of them are run twice.

The exit status is 1 if the rules are not right, or no record is an event.`,
		Example: `  weir rules explain ./my-rules -events today.jsonl
  weir rules explain default -events day.jsonl -geo.city ./geo/city.mmdb -entity account:ann
  weir rules explain -events access.log.gz -format combined -entity ip:203.0.113.9
  grep '"ann"' events.jsonl | weir rules explain -events - -entity account:ann -json`,
	}
	x.config = cli.ConfigureSections(cmd, app.Defaults(), app.ReplaySettings()...)
	f := cmd.Flags()
	f.StringArrayVar(&x.events, "events", nil, "`file` of events, one record a line (.gz, too), or - for standard input; may be given more than once")
	f.StringVar(&x.format, "format", "", "format of the records: "+strings.Join(format.Names(), ", ")+"; empty: that of the configuration, which is weir where it says nothing")
	f.StringVar(&x.entity, "entity", "", "explain everything about this entity, `KIND:KEY`, such as account:ann")
	f.StringVar(&x.from, "from", "", "show what happened from this `time` on, RFC 3339 or such as 2026-01-01 10:00 (UTC)")
	f.StringVar(&x.to, "to", "", "show what happened before this `time`")
	f.BoolVar(&x.all, "all", false, "with -entity, name every rule whose condition none of its events meets")
	f.IntVar(&x.parts, "partitions", 1, "facet partitions: each learns from its own entities what is usual, so with more of them rules may know less")
	f.BoolVar(&x.json, "json", false, "write one JSON object; docs/tools.md describes it")
	cmd.RunE = x.run
	return cmd
}

// explaining is a run of explain.
type explaining struct {
	config *cli.Configured
	events []string
	format string
	entity string
	from   string
	to     string
	all    bool
	json   bool
	parts  int

	sample [][]byte // for detecting another format
}

func (x *explaining) run(cmd *cobra.Command, args []string) error {
	if err := x.config.Read(cmd); err != nil {
		return err
	}
	if len(x.events) == 0 {
		return cli.UsageError(errors.New("which events are to be explained? Name a file with -events, or - for standard input"))
	}
	o, err := x.options(args)
	if err != nil {
		return err
	}
	explainer, err := explain.New(o)
	if err != nil {
		return err
	}
	defer explainer.Close()
	err = try.Lines(x.events, cmd.InOrStdin(), func(line []byte) error {
		if len(x.sample) < sampleLines {
			x.sample = append(x.sample, append([]byte(nil), line...))
		}
		return errors.Join(cmd.Context().Err(), explainer.Record(line))
	})
	if err != nil {
		return err
	}
	r, err := explainer.Report()
	if err != nil && !errors.Is(err, explain.ErrNoEvents) {
		return err
	}
	if x.json {
		if err := r.WriteJSON(cmd.OutOrStdout()); err != nil {
			return err
		}
	} else {
		r.Write(cmd.OutOrStdout(), x.all)
	}
	if err != nil {
		return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("%w of format %s; %s", err, o.Ingest.Format, x.otherFormat(o.Ingest.Format))}
	}
	return nil
}

// options combines the command line with the configuration.
func (x *explaining) options(args []string) (o explain.Options, err error) {
	set, problems, err := loadRules(args)
	if problems != nil {
		return o, findings(problems)
	}
	if err != nil {
		return o, err
	}
	cfg, places, err := replaying(x.config, x.format)
	if err != nil {
		return o, err
	}
	if x.parts < 1 || x.parts > 1024 {
		return o, cli.UsageError(fmt.Errorf("-partitions is 1 to 1024, not %d", x.parts))
	}
	o = explain.Options{Rules: set, Partitions: x.parts, Ingest: cfg.Ingest, Places: places, Detect: cfg.Detect.Config}
	if o.From, o.To, err = x.bounds(); err != nil {
		return o, cli.UsageError(err)
	}
	if x.entity != "" {
		if o.Entity, err = explain.ParseEntity(x.entity); err != nil {
			return o, cli.UsageError(err)
		}
		if !looksAt(set, o.Entity) {
			return o, cli.UsageError(fmt.Errorf("no rule looks at entities of kind %s", o.Entity.Kind))
		}
	}
	return o, nil
}

// bounds reads -from and -to.
func (x *explaining) bounds() (from, to time.Time, err error) {
	if from, err = moment("-from", x.from); err != nil {
		return from, to, err
	}
	if to, err = moment("-to", x.to); err == nil && !to.IsZero() && !to.After(from) {
		err = fmt.Errorf("-to %s is not after -from %s: nothing is in between", x.to, x.from)
	}
	return from, to, err
}

// moment reads a time as people write it, or as reports have it; the zero time if text
// is empty.
func moment(flag, text string) (t time.Time, err error) {
	if text == "" {
		return t, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err = time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return t, fmt.Errorf("%s %q is no time: write it like 2026-01-01T10:00:00Z, or 2026-01-01 10:00 for UTC", flag, text)
}

// looksAt reports whether a rule looks at entities of this kind.
func looksAt(set *rules.Set, e rules.Subject) bool {
	for _, r := range set.Rules {
		if r.Entity == e.Kind || r.Members != nil && r.Members.Entity == e.Kind {
			return true
		}
	}
	return false
}

// otherFormat returns advice for the case that the format reads no record.
func (x *explaining) otherFormat(used string) string {
	if len(x.sample) == 0 {
		return "there is no line in them"
	}
	if guesses := format.Detect(x.sample); len(guesses) > 0 && guesses[0].Format != used {
		return "try -format " + guesses[0].Format + ", which reads these lines best"
	}
	return "weir try shows what each line lacks"
}
