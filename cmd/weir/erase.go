package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/cli"
	"github.com/weirdev/weir/app/controls"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/internal/printable"
)

func eraseCommand() *cobra.Command {
	var s saying
	verify, wait := false, 2*time.Minute
	cmd := &cobra.Command{
		Use: "erase KIND:KEY", Short: "Forget a subject: its rows, its score, its state", Args: cobra.ExactArgs(1),
		Long: `erase removes what Weir keeps of an account, session, token, device, ip, key or
attestation:

  state   by a control record through the log, in every worker
  score   is cleared in Redis, with the state
  tables  rows about it are deleted, rows about others lose its name

It waits until all of this has happened, and then looks for what is left. The audit
keeps that something was erased, when, why and by whom, under a digest and without the
name. Rows of requests are about everybody who took part: to erase an address removes the
requests of all accounts behind it.

With -verify it erases nothing, and only looks. It exits with 1 if something is left.
Snapshots and topics keep what they hold until it expires there; the command says when.`,
		Example: `  weir erase account:alice -reason "asked for on 2026-11-20, ticket 4711"
  weir erase account:alice -verify
  weir erase ip:203.0.113.9 -tenant shop -reason "ticket 4712"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if verify && s.said.Reason == "" {
				s.said.Reason = "-" // nothing is written
			}
			if err := s.about(args[0]); err != nil {
				return err
			}
			return s.erase(cmd, verify, wait)
		},
	}
	s.config = cli.ConfigureSections(cmd, app.Defaults(), app.EraseSettings()...)
	s.flags(cmd)
	cmd.Flags().BoolVar(&verify, "verify", false, "erase nothing; look for what is left")
	cmd.Flags().DurationVar(&wait, "wait", wait, "longest time to wait for the workers")
	return cmd
}

// errLeft means that something of the subject is left.
var errLeft = errors.New("something is left of it; if the subject is still active, erase it once more")

func (s *saying) erase(cmd *cobra.Command, verify bool, wait time.Duration) error {
	out := cmd.OutOrStdout()
	return toKafka(cmd, s.config, func(client *kafka.Client) error {
		stream, stop, err := app.ErasureOf(s.config.Config, client, slog.New(slog.DiscardHandler))
		if err != nil {
			return s.config.Explain(err)
		}
		defer stop()
		ctx, cancel := context.WithTimeout(cmd.Context(), wait)
		defer cancel()
		if !verify {
			id, traces, err := stream.Erase(ctx, s.said, func(step string) { fmt.Fprintln(out, step) })
			if invalid := new(controls.Invalid); errors.As(err, &invalid) {
				return cli.UsageError(invalid.Err)
			}
			if err != nil {
				return err
			}
			for _, t := range traces {
				what := "deleted"
				if !t.Gone {
					what = "without the name now"
				}
				fmt.Fprintf(out, "  %-16s %d rows %s\n", t.Table, t.Rows, what)
			}
			fmt.Fprintln(out, id)
		}
		kind, _ := facet.ParseKind(s.said.Kind)
		left, err := stream.Verify(ctx, facet.Entity{Kind: kind, Tenant: s.said.Tenant, Key: s.said.Key})
		if err != nil {
			return err
		}
		for _, l := range left {
			fmt.Fprintln(out, "left: "+l)
		}
		if len(left) > 0 {
			return found(errLeft)
		}
		fmt.Fprintf(out, "Nothing is left of %s:%s in tables, scores and state.\n", s.said.Kind, printable.Text(s.said.Key))
		return s.tellAge(ctx, out, client)
	})
}

// tellAge says how long snapshots and topics keep what they hold.
func (s *saying) tellAge(ctx context.Context, out io.Writer, client *kafka.Client) error {
	c := s.config.Config
	if c.Snapshots.URL == "" {
		fmt.Fprintln(out, "Snapshots: none are configured here (snapshots.url).")
	} else {
		fmt.Fprintf(out, "Snapshots hold it until %d newer ones are written: about %v while events come (detect.snapshot_keep, detect.snapshot_interval).\n",
			c.Detect.SnapshotKeep, time.Duration(c.Detect.SnapshotKeep)*c.Detect.SnapshotInterval)
	}
	for _, what := range []string{"events", "facets", "signals", "dead", "decisions", "controls"} {
		have, err := client.Describe(ctx, c.Stream.Topic(what))
		if errors.Is(err, kafka.ErrDenied) || errors.Is(err, kafka.ErrUnknownTopic) {
			fmt.Fprintf(out, "Topic %s: for as long as its retention.ms says, which may not be read.\n", c.Stream.Topic(what))
			continue
		}
		if err != nil {
			return fmt.Errorf("retention of %s: %w", c.Stream.Topic(what), err)
		}
		ms := have.Config["retention.ms"]
		if d, err := time.ParseDuration(ms + "ms"); err == nil && d >= 0 {
			fmt.Fprintf(out, "Topic %s keeps its records for %v.\n", c.Stream.Topic(what), d)
		} else {
			fmt.Fprintf(out, "Topic %s keeps its records for ever: with snapshots, set retention.ms.\n", c.Stream.Topic(what))
		}
	}
	return nil
}
