package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/canary"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/notices"
	"github.com/weirdev/weir/rules"
)

// canarying holds the flags of weir canary.
type canarying struct {
	config    *cli.Configured
	once      bool
	list      bool
	detectors []string
	every     time.Duration
	within    time.Duration
	longest   time.Duration
	from      []string
	state     string
	wait      time.Duration
}

func canaryCommand() *cobra.Command {
	c := canarying{every: time.Minute, within: 30 * time.Second, longest: 20 * time.Minute,
		from: []string{"130.149.7.201", "129.78.5.8", "133.11.0.1", "143.107.0.1"}}
	cmd := &cobra.Command{
		Use:   "canary",
		Short: "Attack the stream on purpose, and tell whether it is found",
		Long: `canary plays an attack to each detector every minute: it writes events to the raw
topic, as a gateway does, and waits for the signal. The attacks are tests of the rules.
Each has a tenant of its own, whose name begins with weir-canary, so that it touches no
state of others. What is not found in its time is an error in the log, counts in
weir_canary_attacks_total, and is told to the channels of notices.file.

Give it the rules, the geographic databases and the settings of ingest that the workers
have. The format of the stream must be weir.

With -once it plays each attack once and ends: with 0 if all were found, with 1 if not,
with 3 if Kafka does not answer.`,
		Example: `  weir canary -config weir.yaml
  weir canary -config weir.yaml -list
  weir canary -config weir.yaml -once -detector sequence -detector sliding_window`,
		Args: cobra.NoArgs,
	}
	defaults := app.Defaults()
	defaults.Admin.Listen = "127.0.0.1:9482" // beside a worker and a gate on the same machine
	c.config = cli.ConfigureSections(cmd, defaults, app.CanarySettings()...)
	f := cmd.Flags()
	f.BoolVar(&c.once, "once", false, "play each attack once, and say how it ended")
	f.BoolVar(&c.list, "list", false, "show which attack each detector gets, and play none")
	f.StringSliceVar(&c.detectors, "detector", nil, "`name` of a detector to attack; may be repeated; default: all")
	f.DurationVar(&c.every, "every", c.every, "time between two attacks on a detector; long attacks begin less often, so that at most 20 are under way")
	f.DurationVar(&c.within, "within", c.within, "time after the last event of an attack in which it must be found")
	f.DurationVar(&c.longest, "longest", c.longest, "longest attack to play, from its first event to its last")
	f.StringSliceVar(&c.from, "from", c.from, "`addresses` in cities that are far apart, for attacks that come from several places (needs geo.city)")
	f.StringVar(&c.state, "state", "", "`file` that keeps which alarms are open over a restart; default: none (needs notices.file)")
	f.DurationVar(&c.wait, "wait", untilKafka, "with -once: longest time to wait for Kafka")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return c.run(cmd) }
	return cmd
}

func (c *canarying) run(cmd *cobra.Command) error {
	if err := c.config.Read(cmd); err != nil {
		return err
	}
	if c.every < time.Second || c.within < time.Second || c.longest < 0 || c.wait <= 0 {
		return cli.UsageError(errors.New("-every and -within are at least 1s, -wait is more than 0, and -longest is not negative"))
	}
	set, err := app.LoadRules(c.config.Config.Rules)
	if err != nil {
		return cli.UsageError(err)
	}
	attacks, err := c.choose(set)
	if err != nil {
		return err
	}
	if c.list {
		listAttacks(cmd.OutOrStdout(), attacks)
		return nil
	}
	return c.play(cmd, set, attacks)
}

// choose returns the attacks on the detectors of the command line.
func (c *canarying) choose(set *rules.Set) ([]canary.Attack, error) {
	cfg := c.config.Config
	if cfg.Ingest.Format != "weir" {
		return nil, cli.UsageError(fmt.Errorf("ingest.format is %s: the canary writes events in the format weir, which the workers of this stream would not read", cfg.Ingest.Format))
	}
	places, err := geo.Open(cfg.Geo, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, c.config.Invalid(err)
	}
	from, err := canary.ParseAddresses(c.from)
	if err != nil {
		return nil, cli.UsageError(fmt.Errorf("-from: %w", err))
	}
	all, err := canary.Choose(canary.Options{Rules: set, Ingest: cfg.Ingest, Places: places.Current(), Detect: cfg.Detect.Config, Longest: c.longest, From: from})
	if err != nil {
		return nil, err
	}
	if len(c.detectors) == 0 {
		return all, nil
	}
	for _, name := range c.detectors {
		if !slices.ContainsFunc(all, func(a canary.Attack) bool { return a.Detector == name }) {
			return nil, cli.UsageError(fmt.Errorf("-detector %s: no rule has this detector; -list shows them", name))
		}
	}
	return slices.DeleteFunc(all, func(a canary.Attack) bool { return !slices.Contains(c.detectors, a.Detector) }), nil
}

func listAttacks(w io.Writer, attacks []canary.Attack) {
	for _, a := range attacks {
		if a.Why != "" {
			fmt.Fprintf(w, "%-20s not played: %s\n", a.Detector, a.Why)
			continue
		}
		fmt.Fprintf(w, "%-20s %s: %s (%d events in %v)\n", a.Detector, a.Rule, a.Name, a.Events, a.Span)
	}
}

func (c *canarying) play(cmd *cobra.Command, set *rules.Set, attacks []canary.Attack) error {
	cfg := c.config.Config
	log := telemetry.NewLogger(cmd.ErrOrStderr(), cfg.Log)
	client, err := kafka.New(cfg.Kafka, log)
	if err != nil {
		return c.config.Invalid(err)
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	settings := canary.Config{
		Events: cfg.Stream.Topic("events"), Signals: cfg.Stream.Topic("signals"), Every: c.every, Within: c.within, Log: client, Logger: log,
		Name: func() string { return strings.ToLower(rand.Text()[:10]) },
	}
	if c.once {
		if err := app.Reach(ctx, cfg, client, c.wait); err != nil {
			return err
		}
		limited, cancel := context.WithTimeoutCause(ctx, c.limit(attacks), errors.New("the events were not taken by Kafka in time"))
		defer cancel()
		one := canary.New(settings, attacks, nil)
		all, err := one.Once(limited, attacks)
		if err != nil {
			return err
		}
		return reportOnce(cmd.OutOrStdout(), all, c.within)
	}
	if cfg.Notices.File != "" {
		file, err := notices.Load(cfg.Notices.File, set)
		if err != nil {
			return cli.UsageError(err)
		}
		t := notices.NewTeller(file, log)
		serving, end := context.WithCancel(context.WithoutCancel(ctx))
		defer end()
		t.Start(serving)
		alarm := canary.NewAlarm(cfg.Stream.Name, c.within, t.Tell)
		if c.state != "" {
			if err := alarm.Keep(c.state, attacks, log); err != nil {
				return cli.UsageError(fmt.Errorf("-state: %w", err))
			}
		}
		settings.Told = alarm.Told
		defer func() {
			last, cancel := context.WithTimeout(serving, 5*time.Second)
			defer cancel()
			t.Flush(last)
		}()
	}
	admin := telemetry.NewAdmin(cfg.Admin, log)
	one := canary.New(settings, attacks, admin.Registry())
	for _, a := range attacks {
		if a.Why != "" {
			log.Warn("a detector is not attacked", "detector", a.Detector, "reason", a.Why)
		}
	}
	return one.Serve(ctx, admin, attacks)
}

// limit returns how long attacks may take that are played once: the longest of them, the
// time in which it must be found, and as long as Kafka may need to come back.
func (c *canarying) limit(attacks []canary.Attack) time.Duration {
	longest := time.Duration(0)
	for _, a := range attacks {
		longest = max(longest, a.Span)
	}
	return longest + c.within + c.wait
}

// reportOnce prints how attacks ended. Its error says that one was not found.
func reportOnce(w io.Writer, all []canary.Outcome, within time.Duration) error {
	played, missed := 0, 0
	for _, o := range all {
		played++
		switch {
		case o.Attack.Why != "":
			played--
			fmt.Fprintf(w, "%-20s not played: %s\n", o.Attack.Detector, o.Attack.Why)
		case o.Err != nil:
			missed++
			fmt.Fprintf(w, "%-20s failed: %v\n", o.Attack.Detector, o.Err)
		case !o.Caught:
			missed++
			fmt.Fprintf(w, "%-20s MISSED: %s gave no signal within %v (tenant %s)\n", o.Attack.Detector, o.Attack.Rule, within, o.Tenant)
		default:
			fmt.Fprintf(w, "%-20s caught by %s after %v\n", o.Attack.Detector, o.Attack.Rule, o.After.Round(time.Millisecond))
		}
	}
	if missed > 0 || played == 0 {
		return &cli.Error{Code: cli.Failed, Err: fmt.Errorf("%d of %d attacks were not found", missed, played)}
	}
	return nil
}
