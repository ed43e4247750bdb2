package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/dead"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/notices"
)

func deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "List, show and replay dead letters",
		Long: `dead works on the records of a stream (stream.name) that could not be read. Each is
in the topic STREAM.dead with its own bytes, and with why, from where and when.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(deadListCommand(), deadShowCommand(), deadReplayCommand())
	return cmd
}

// deadFlags select letters.
type deadFlags struct {
	reasons   []string
	since     string
	positions []string
}

func (d *deadFlags) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&d.reasons, "reason", nil, "only letters with one of these reasons, such as syntax,bad_time")
	f.StringVar(&d.since, "since", "", "only letters received since: a duration such as 2h, or a time, RFC 3339")
}

func (d *deadFlags) filter(now time.Time) (f dead.Filter, err error) {
	f.Reasons = d.reasons
	known := append(ingest.DeadReasons(), notices.DeadReason)
	slices.Sort(known)
	for _, r := range d.reasons {
		if !slices.Contains(known, r) {
			return f, cli.UsageError(fmt.Errorf("-reason: no dead letter has the reason %q; there are %s", r, strings.Join(known, ", ")))
		}
	}
	for _, p := range d.positions {
		at, err := dead.ParsePosition(p)
		if err != nil {
			return f, cli.UsageError(fmt.Errorf("-position: %w", err))
		}
		f.Positions = append(f.Positions, at)
	}
	if d.since == "" {
		return f, nil
	}
	if ago, err := time.ParseDuration(d.since); err == nil {
		f.Since = now.Add(-ago)
		return f, nil
	}
	if f.Since, err = time.Parse(time.RFC3339, d.since); err != nil {
		return f, cli.UsageError(fmt.Errorf("-since: %q is neither a duration such as 2h nor a time such as 2026-11-28T10:00:00Z", d.since))
	}
	return f, nil
}

// deadPatience limits the wait for a missing topic, because the topic of replays
// need not exist.
const deadPatience = 1500 * time.Millisecond

// deadReads returns a command that needs Kafka and the name of the stream.
func deadReads(cmd *cobra.Command, run func(cmd *cobra.Command, args []string, client *kafka.Client, t dead.Topics) error) {
	c := cli.ConfigureSections(cmd, app.Defaults(), app.DeadSettings()...)
	wait := 30 * time.Second
	cmd.Flags().DurationVar(&wait, "wait", wait, "longest time to wait for Kafka's first answer")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := c.Read(cmd); err != nil {
			return err
		}
		client, err := kafka.New(c.Config.Kafka, slog.New(slog.DiscardHandler), kafka.WithPatience(deadPatience))
		if err != nil {
			return c.Invalid(err)
		}
		defer client.Close()
		s := c.Config.Stream
		t := dead.Topics{Events: s.Topic("events"), Dead: s.Topic("dead"), Replays: s.Topic("replays")}
		if err := reach(cmd.Context(), client, t.Dead, wait); err != nil {
			return fmt.Errorf("kafka at %v: %w\n(-kafka.brokers names others, -stream.name another stream)", c.Config.Kafka.Brokers, err)
		}
		return run(cmd, args, client, t)
	}
}

// reach waits for the first answer of Kafka, with a time limit.
func reach(ctx context.Context, client *kafka.Client, topic string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_, err := client.Partitions(ctx, topic)
	return err
}

func deadListCommand() *cobra.Command {
	var flags deadFlags
	n, asJSON := 20, false
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters: where, when, why, and how the record begins",
		Example: `  weir dead list -kafka.brokers kafka:9092
  weir dead list -reason syntax,bad_time -since 2h -n 0`,
		Args: cobra.NoArgs,
	}
	flags.bind(cmd)
	cmd.Flags().IntVar(&n, "n", n, "list the last n letters; 0: all")
	cmd.Flags().BoolVar(&asJSON, "json", asJSON, "write one JSON object a line")
	deadReads(cmd, func(cmd *cobra.Command, _ []string, client *kafka.Client, t dead.Topics) error {
		f, err := flags.filter(time.Now())
		if err != nil {
			return err
		}
		if n < 0 {
			return cli.UsageError(fmt.Errorf("-n %d: 0 or more", n))
		}
		return dead.List(cmd.Context(), client, t.Dead, f, n, asJSON, cmd.OutOrStdout())
	})
	return cmd
}

func deadShowCommand() *cobra.Command {
	raw, asJSON := false, false
	cmd := &cobra.Command{
		Use:   "show POSITION",
		Short: "Show one dead letter, all of it",
		Example: `  weir dead show 0/17
  weir dead show 0/17 -raw | weir try -format combined -`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&raw, "raw", raw, "write the record's own bytes, and nothing else")
	cmd.Flags().BoolVar(&asJSON, "json", asJSON, "write a JSON object")
	deadReads(cmd, func(cmd *cobra.Command, args []string, client *kafka.Client, t dead.Topics) error {
		at, err := dead.ParsePosition(args[0])
		if err != nil {
			return cli.UsageError(err)
		}
		err = dead.Show(cmd.Context(), client, t.Dead, at, raw, asJSON, cmd.OutOrStdout())
		if errors.Is(err, dead.ErrNone) {
			return &cli.Error{Code: cli.Failed, Err: err}
		}
		return err
	})
	return cmd
}

func deadReplayCommand() *cobra.Command {
	var flags deadFlags
	all, yes, resume, asJSON := false, false, false, false
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Put records back into their topic, after what was wrong with reading them was mended",
		Long: `replay puts the records of dead letters back into the topic that they came from,
each into its own partition, with its own key and bytes. Without -yes it only says
what would be put back.

A letter is put back once: the topic STREAM.replays keeps what was, and letters that
are there are left. Ingest tells a record that was put back from the dead one, which
has the same bytes, by the header weir-replay; so it is no repeat of it. Its time is
what its gateway wrote, so it usually counts as late: it is stored, and opens no
window again. If it still cannot be read, it becomes a dead letter of its own.

Letters that hold only the beginning of their record (over 3 MiB), and those that
stand for records nobody could read, cannot be put back.`,
		Example: `  weir dead replay -reason bad_time
  weir dead replay -reason bad_time -yes
  weir dead replay -position 0/17,0/18 -yes`,
		Args: cobra.NoArgs,
	}
	flags.bind(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&flags.positions, "position", nil, "only the letters at these positions, such as 0/17")
	f.BoolVar(&all, "all", all, "all letters")
	f.BoolVar(&yes, "yes", yes, "put them back; without it nothing is changed")
	f.BoolVar(&resume, "resume", resume, "an earlier replay was interrupted: find out what it had put back, and go on")
	f.BoolVar(&asJSON, "json", asJSON, "write the report as a JSON object")
	deadReads(cmd, func(cmd *cobra.Command, _ []string, client *kafka.Client, t dead.Topics) error {
		if !all && len(flags.reasons) == 0 && len(flags.positions) == 0 && flags.since == "" {
			return cli.UsageError(errors.New("which letters? -reason, -position or -since choose some, -all means all"))
		}
		if resume && !yes {
			return cli.UsageError(errors.New("-resume goes with -yes: it writes down what was put back"))
		}
		filter, err := flags.filter(time.Now())
		if err != nil {
			return err
		}
		p := dead.Replay{Topics: t, Filter: filter, Do: yes, Resume: resume, Now: time.Now}
		report, err := p.Run(cmd.Context(), client, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(report)
		}
		report.Write(cmd.OutOrStdout())
		if !yes && report.PutBack > 0 {
			fmt.Fprintln(cmd.OutOrStdout(), "nothing was changed; -yes puts them back")
		}
		return nil
	})
	return cmd
}
